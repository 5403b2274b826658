"""Speech recognition whose encoder shortens speech to about the length of its text."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyframe_asr.data.registry import PrepareOptions, prepare
    from keyframe_asr.errors import KeyframeError
    from keyframe_asr.fine_tuning.options import FineTuneOptions
    from keyframe_asr.fine_tuning.run import FineTuned, fine_tune
    from keyframe_asr.inference.options import RecognitionOptions, StreamOptions
    from keyframe_asr.inference.recognizer import Recognizer, load
    from keyframe_asr.inference.streaming import StreamState, StreamUpdate
    from keyframe_asr.losses import axe_align, axe_loss, til_loss
    from keyframe_asr.model.keyframes import Keyframes, select_keyframes
    from keyframe_asr.results import Segment, Token, Transcript, Word
    from keyframe_asr.training.run import train

__version__ = "0.1.0"

__all__ = [
    "FineTuneOptions",
    "FineTuned",
    "KeyframeError",
    "Keyframes",
    "PrepareOptions",
    "RecognitionOptions",
    "Recognizer",
    "Segment",
    "StreamOptions",
    "StreamState",
    "StreamUpdate",
    "Token",
    "Transcript",
    "Word",
    "__version__",
    "axe_align",
    "axe_loss",
    "fine_tune",
    "load",
    "prepare",
    "select_keyframes",
    "til_loss",
    "train",
]

_MODULES = {
    "data.registry": ["PrepareOptions", "prepare"],
    "errors": ["KeyframeError"],
    "fine_tuning.options": ["FineTuneOptions"],
    "fine_tuning.run": ["FineTuned", "fine_tune"],
    "inference.options": ["RecognitionOptions", "StreamOptions"],
    "inference.recognizer": ["Recognizer", "load"],
    "inference.streaming": ["StreamState", "StreamUpdate"],
    "losses": ["axe_align", "axe_loss", "til_loss"],
    "model.keyframes": ["Keyframes", "select_keyframes"],
    "results": ["Segment", "Token", "Transcript", "Word"],
    "training.run": ["train"],
}
"""Module of each public name; modules are imported on first access because importing torch takes
seconds."""

_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'keyframe_asr' has no attribute '{name}'")
    from keyframe_asr.packages import packages_for

    with packages_for(f"keyframe_asr.{name}"):
        value = getattr(importlib.import_module(f"keyframe_asr.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
