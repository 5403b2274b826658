"""Model folders that hold only what differs from another model, their base.

`config.yaml` names the base and the SHA-256 of its `model.safetensors`; the header of the folder's
own `model.safetensors` lists the weights that are the base's. A base may itself have a base. The
weights are read by `io.weights_file`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from keyframe_asr.config.model import BaseModelConfig, load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.hub import PREFIX, is_hub_name, pinned
from keyframe_asr.io.model_location import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    find_model,
    shipped_model,
    shipped_models,
)
from keyframe_asr.text.decoder_tokenizer import DECODER_TOKENIZER_FILE

_SHOWN = 12
"""Digits of a digest that messages show."""


def describe_base(model: str | Path, folder: Path) -> BaseModelConfig:
    """Describe a model as the base of one that will be in `folder`.

    Shipped models are named; models of the Hub are named with their revision; of others the path
    relative to `folder` is kept.

    Raises:
        ModelError: there is no such model, or it cannot be read.
    """
    found = find_model(model)
    return BaseModelConfig(model=_name_of(str(model), found, folder), sha256=digest(found))


def moved_base(base: BaseModelConfig, source: Path, folder: Path) -> BaseModelConfig:
    """Describe for `folder` the base of a model in `source`, which need not be there."""
    if not _is_path(base.model):
        return base
    return base.model_copy(update={"model": _relative(source / base.model, folder)})


def digest(folder: Path) -> str:
    """Return the SHA-256 of a model's weights file. Raises `ModelError` if it cannot be read."""
    path = folder / WEIGHTS_FILE
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); copy it again") from None


def base_folder(folder: Path) -> Path | None:
    """Find the base of a model and check its digest; None if the model has none.

    Raises:
        ModelError: the base cannot be found, or is another than the model was made from.
        RecipeError: `config.yaml` is not valid.
    """
    base = load_model_folder_config(folder / CONFIG_FILE).base
    if base is None:
        return None
    wanted = f"{folder}: needs its base model '{base.model}' (SHA-256 {base.sha256[:_SHOWN]}...)"
    try:
        found = _found(base.model, folder)
    except ModelError as error:
        advice = (
            "put it back, or use keyframe copy MODEL --standalone --out DIR where both are"
            if _is_path(base.model)
            else "make it available, or copy the model again with keyframe copy --standalone"
        )
        raise ModelError(f"{wanted}, but {error}; {advice}") from None
    if (other := digest(found)) != base.sha256:
        raise ModelError(
            f"{wanted}, but {found / WEIGHTS_FILE} has SHA-256 {other[:_SHOWN]}...; restore the "
            "version that the model was made from"
        )
    return found


def _found(model: str, folder: Path) -> Path:
    if _is_path(model):
        return find_model((folder / model).resolve())
    return shipped_model(model) or find_model(model)  # a folder of that name is something else


def weight_files(path: Path) -> list[Path]:
    """Return a weights file and, if it is a model's, those of its bases, with checked digests.

    Raises:
        ModelError: a base is missing or another one, or the bases form a circle.
        RecipeError: a `config.yaml` is not valid.
    """
    folder = path.parent
    if not (folder / CONFIG_FILE).is_file():
        return [path]
    found, seen = [path], [folder.resolve()]
    base = base_folder(folder)
    while base is not None:
        if base.resolve() in seen:
            raise ModelError(
                f"{folder}: its bases form a circle: '{base}' is its own base; repair `base` in "
                f"its {CONFIG_FILE}"
            )
        seen.append(base.resolve())
        found.append(base / WEIGHTS_FILE)
        base = base_folder(base)
    return found


def decoder_tokenizer_file(folder: Path) -> Path:
    """Path of the decoder's tokenizer: in the folder of a run or model, or in that of a base model.

    Raises:
        ModelError: the folder has none, and its base cannot be found or is another one.
    """
    own = folder / DECODER_TOKENIZER_FILE
    if own.is_file():
        return own
    places = [file.with_name(own.name) for file in weight_files(folder / WEIGHTS_FILE)]
    return next((place for place in places if place.is_file()), own)


def check_whole(path: Path) -> None:
    """Check the header and the length of a weights file, without reading weights.

    Raises:
        ModelError: the file cannot be read, or is cut off.
    """
    try:
        with safe_open(path, "np"):
            pass
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {error}; copy the model again") from None


def _name_of(model: str, found: Path, folder: Path) -> str:
    for name, place in shipped_models().items():
        if place.resolve() == found.resolve():
            return name
    if not Path(model).exists() and is_hub_name(model):
        return pinned(model, found)
    return _relative(found, folder)


def _relative(path: Path, folder: Path) -> str:
    """Return a path relative to a folder, beginning with a dot: other names are no paths."""
    try:
        relative = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return str(path.resolve())
    return relative if relative.startswith(".") else f"./{relative}"


def _is_path(model: str) -> bool:
    return not model.startswith(PREFIX) and (model.startswith(".") or os.path.isabs(model))
