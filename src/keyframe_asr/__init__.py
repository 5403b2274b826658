"""Speech recognition whose encoder shortens speech to about the length of its text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keyframe_asr.data.registry import PrepareOptions, prepare
from keyframe_asr.results import Token, Transcript

if TYPE_CHECKING:
    from keyframe_asr.inference.recognizer import Recognizer

__version__ = "0.1.0"

__all__ = ["PrepareOptions", "Token", "Transcript", "__version__", "load", "prepare"]


def load(model: str | Path, device: str | None = None) -> Recognizer:
    """Load a recogniser from a model folder, or by the name of a model that the package ships.

    Args:
        model: for instance "demo", "an4" or the path of a folder that `keyframe train` wrote.
        device: for instance "cpu" or "cuda"; by default a GPU where there is one.

    Raises:
        keyframe_asr.errors.KeyframeError: there is no such model, or it is damaged.
    """
    # Imported here because it brings torch, which takes seconds.
    from keyframe_asr.inference.loading import load as load_recognizer

    return load_recognizer(model, device)
