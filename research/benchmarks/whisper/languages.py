"""Languages of a model."""

from __future__ import annotations

from keyframe_asr.config.model import ModelFolderConfig


def languages_of(config: ModelFolderConfig) -> tuple[str, ...]:
    """The languages of a model, without regions."""
    parts = (one for tag in config.languages for one in tag.split("+"))
    return tuple(dict.fromkeys(one.split("-")[0] for one in parts))
