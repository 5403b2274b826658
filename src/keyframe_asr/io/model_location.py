"""Where models are: a folder, a shipped model, or the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from contextlib import suppress
from importlib import resources
from pathlib import Path

from keyframe_asr.config.model import ModelFolderConfig, load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.hub import fetch, is_hub_name

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model.safetensors"
GRAPH_SUFFIX = ".onnx"
CARD_FILE = "README.md"
GRAPHS_FOLDER, WEIGHTS_OF_GRAPHS = "graphs", "weights.json"
"""Folder of a model's graphs beside its weights, and the file in it that says how they use them."""

OTHER_NAMES = dict.fromkeys(("english", "english-l2", "mandarin"), "english-mandarin")
"""Names by which shipped models are also found: those of the models that it replaced."""

WITHOUT_EFFECT_ON_GRAPHS = (
    *("dropout", "language", "languages", "source"),
    *("chunk", "look_ahead", "left_chunks", "largest_chunk", "left_keyframes"),
)
"""Keys of `config.model` that say how a model is trained, where weights came from, or how it
streams unless something else is asked for."""


def find_model(model: str | Path) -> Path:
    """Find the folder of a model by path, shipped name, or name on the Hugging Face Hub.

    A path comes before a shipped name, and this before the Hub (`owner/name`); `hf://owner/name`
    is always the Hub, and `hf://owner/name@revision` one revision. Models of the Hub are fetched
    into its cache.

    Raises:
        ModelError: there is none, or it cannot be opened or fetched.
    """
    try:
        return _found(model)
    except (OSError, ValueError) as error:  # a folder without permission, a name that is too long
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(
            f"{model}: cannot be opened ({reason}); check its permissions, or give another model"
        ) from None


def _found(model: str | Path) -> Path:
    folder = Path(model)
    if os.path.isfile(folder / CONFIG_FILE):  # False for a path that is too long, too
        return folder
    if (found := shipped_model(str(model))) is not None:
        return found
    shipped = shipped_models()
    names = ", ".join(shipped) or "none"
    if os.path.isfile(folder / "model" / CONFIG_FILE):
        raise ModelError(f"{model}: the folder of a training run; give {folder / 'model'}")
    if os.path.isdir(folder):
        with suppress(FileNotFoundError):
            os.stat(folder / CONFIG_FILE)  # raises where permissions hide the file
        raise ModelError(
            f"{model}: contains no {CONFIG_FILE}; give a model folder, or one of: {names}"
        )
    if isinstance(model, str) and is_hub_name(model):
        return fetch(model)
    raise ModelError(f"{model}: no such model; give a model folder, or one of: {names}")


def is_exported(folder: Path) -> bool:
    """True if the folder of a model holds graphs instead of weights: `keyframe export` wrote it."""
    return not (folder / WEIGHTS_FILE).exists() and any(folder.glob("*" + GRAPH_SUFFIX))


def has_graphs(folder: Path) -> bool:
    """True if graphs lie beside the weights of a model, so that it runs without torch, too."""
    return (folder / GRAPHS_FOLDER / WEIGHTS_OF_GRAPHS).is_file()


def graphs_folder(folder: Path) -> Path:
    """Where the graphs of an export, or of a model, lie."""
    return folder if is_exported(folder) else folder / GRAPHS_FOLDER


def graphs_fit(folder: Path, config: ModelFolderConfig) -> bool:
    """True if the graphs beside a model's weights are also those of a model of this `config`."""
    if not has_graphs(folder):
        return False
    own = load_model_folder_config(folder / CONFIG_FILE)
    return architecture_digest(own) == architecture_digest(config)


def architecture_digest(config: ModelFolderConfig) -> str:
    """SHA-256 of what decides about the graphs of a model, whatever its weights."""
    # without defaults, so that later versions with further keys give the same
    model = config.model.model_dump(mode="json", exclude_defaults=True)
    sizes = config.features.num_mel_bins, config.vocab_size
    whole = _without(model, WITHOUT_EFFECT_ON_GRAPHS), sizes, config.keyframes, config.fusion
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _without(value: object, keys: Collection[str]) -> object:
    if not isinstance(value, dict):
        return value
    return {key: _without(one, keys) for key, one in value.items() if key not in keys}


def shipped_model(name: str) -> Path | None:
    """Return the folder of a shipped model by any of its names; None if there is none."""
    return shipped_models().get(OTHER_NAMES.get(name, name))


def shipped_models() -> dict[str, Path]:
    """Return the folders of the models shipped with the package, by name."""
    root = Path(str(resources.files("keyframe_asr"))) / "models"
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {folder.name: folder for folder in folders if (folder / CONFIG_FILE).is_file()}


def language_model_file(config: ModelFolderConfig) -> str | None:
    """Return the file name of a model's own language model; None if it has none.

    Raises:
        ModelError: the name leads out of the model folder.
    """
    name = None if config.decoding is None else config.decoding.language_model
    if name is not None and (not name or Path(name).name != name or "\\" in name):
        raise ModelError(
            f"model '{config.name}': decoding.language_model is '{name}', which is no file name; "
            "name a file of the model folder"
        )
    return name
