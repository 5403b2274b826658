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
from keyframe_asr.inference.backends import fitting_backend
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.inference.search import search_of
from keyframe_asr.io.base_model import weight_files
from keyframe_asr.io.model_location import (
    CARD_FILE,
    CONFIG_FILE,
    GRAPHS_FOLDER,
    WEIGHTS_FILE,
    find_model,
    has_graphs,
    language_model_file,
)

OF_THE_SEARCH = (
    "decode",
    "greedy",
    "beam",
    "language_model",
    "no_language_model",
    "language_model_weight",
    "token_bonus",
    "ctc_weight",
    "decoder_weight",
)
"""Options that are described by the search that they give together with the model."""

WITHOUT_EFFECT = ("batch_seconds",)
"""Options that do not change the text."""

_NAMES = ("model", "language")
"""Settings that follow from the content of the model."""


def model_settings(model: str, compute: ComputeOptions) -> dict[str, object]:
    """Describe a model: `model` as given, the SHA-256 of its files, of its base's weights and of
    its graphs if they compute, and its `language`.

    Raises:
        ModelError: there is no such model, or it or its base cannot be read, or it does not run on
            the back end.
        RecipeError: its `config.yaml` is not valid.
    """
    folder = find_model(model)
    config = load_model_folder_config(folder / CONFIG_FILE)
    backend = fitting_backend(folder, compute.backend, compute.device)
    try:
        used = [*_contents(folder), *weight_files(folder / WEIGHTS_FILE)[1:]]
        if has_graphs(folder) and backend == "onnx":
            used += _contents(folder / GRAPHS_FOLDER)
        digest = _digest(used)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be read ({error.strerror}); check it") from None
    return {"model": model, "model_sha256": digest, "language": config.language}


def recognition_settings(
    model: str, options: RecognitionOptions, compute: ComputeOptions
) -> dict[str, object]:
    """Describe a model, a decode mode, and as `options` its search and all that is not the default.

    Files of options have their SHA-256, too.

    Raises:
        KeyframeError: as `model_settings`, and as `search_of`.
    """
    known = model_settings(model, compute)
    folder = find_model(model)
    config = load_model_folder_config(folder / CONFIG_FILE)
    own = language_model_file(config)
    search = search_of(options, config, None if own is None else folder / own)
    usual = RecognitionOptions()
    changed = {
        field.name: getattr(options, field.name)
        for field in fields(options)
        if field.name not in (*OF_THE_SEARCH, *WITHOUT_EFFECT)
        and getattr(options, field.name) != getattr(usual, field.name)
    }
    return known | {"decode": search.mode, "options": described(search.used | changed)}


def described(options: Mapping[str, object]) -> dict[str, object]:
    """Return values for JSON; files have their SHA-256."""
    return {name: _described(value) for name, value in options.items()}


def _described(value: Any) -> object:
    if isinstance(value, Path):
        try:
            with value.open("rb") as file:
                return {
                    "file": str(value),
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                }
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


def _contents(folder: Path) -> list[Path]:
    """Files of a folder that decide about texts."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != CARD_FILE and not path.name.startswith(".")
    ]


def _digest(files: list[Path]) -> str:
    """SHA-256 of the content of files."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
