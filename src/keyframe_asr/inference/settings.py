"""What made a transcript: the model, the decode mode and the options that matter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions
from keyframe_asr.io.base_model import weight_files
from keyframe_asr.io.model_folder import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, find_model

WITHOUT_EFFECT = ("batch_seconds",)
"""Options that do not change the text."""

_NAMES = ("model", "language")
"""Settings that follow from the content of the model."""


def model_settings(model: str) -> dict[str, object]:
    """Describe a model: `model` as given, the SHA-256 of its files and of its base's
    weights, and its `language`.

    Raises:
        ModelError: there is no such model, or it or its base cannot be read.
        RecipeError: its `config.yaml` is not valid.
    """
    folder = find_model(model)
    config = load_model_folder_config(folder / CONFIG_FILE)
    try:
        own = [path for path in sorted(folder.iterdir()) if _matters(path)]
        digest = _digest([*own, *weight_files(folder / WEIGHTS_FILE)[1:]])
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({error.strerror}); check it") from None
    return {"model": model, "model_sha256": digest, "language": config.language}


def recognition_settings(model: str, options: RecognitionOptions) -> dict[str, object]:
    """Describe a model, a decode mode, and the `options` that are not the default.

    Files of options have their SHA-256, too.

    Raises:
        KeyframeError: as `model_settings`.
    """
    known = model_settings(model)
    usual = RecognitionOptions()
    changed = {
        field.name: _described(getattr(options, field.name))
        for field in fields(options)
        if field.name not in ("decode", *WITHOUT_EFFECT)
        and getattr(options, field.name) != getattr(usual, field.name)
    }
    return known | {"decode": options.decode or greedy_mode(model), "options": changed}


def greedy_mode(model: str) -> DecodeMode:
    """Return the mode in which a model decodes if none is chosen."""
    config = load_model_folder_config(find_model(model) / CONFIG_FILE)
    return "axe" if config.keyframes else "ctc"


def _described(value: Any) -> object:
    if isinstance(value, Path):
        try:
            return {"file": str(value), "sha256": _digest([value])}
        except OSError:
            return {"file": str(value)}  # whoever reads it will tell
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def fingerprint(settings: Mapping[str, object]) -> str:
    """Return a short key that is the same for settings that give the same texts."""
    told = json.dumps({k: _content(v) for k, v in settings.items() if k not in _NAMES})
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _content(value: object) -> object:
    """Leave the names of files out, whose content is known."""
    if isinstance(value, dict):
        return {k: _content(v) for k, v in sorted(value.items()) if k != "file"}
    return value


def _matters(path: Path) -> bool:
    return path.is_file() and path.name != CARD_FILE and not path.name.startswith(".")


def _digest(files: list[Path]) -> str:
    """SHA-256 of the content of files."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
