"""Load a recogniser by the folder of its model or the name of one that the package ships."""

from __future__ import annotations

from pathlib import Path

from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.io.model_names import find_model


def load(model: str | Path, device: str | None = None) -> Recognizer:
    """Load a recogniser.

    Args:
        model: a model folder, or the name of a model that the package ships.
        device: for instance "cpu" or "cuda:1"; by default a GPU where there is one.

    Raises:
        ModelError: there is no such model, or it is incomplete or damaged.
        RecipeError: its `config.yaml` is not valid.
    """
    return Recognizer(load_model_folder(find_model(model)), device)
