"""Model folders that hold only what differs from another model, their base.

`config.yaml` names the base and the SHA-256 of its `model.safetensors`; the header of the folder's
own `model.safetensors` lists the weights that are the base's. A base may itself have a base.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

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
from keyframe_asr.io.quantisation import stored_parts, without_quantised

IN_BASE = "in_base"
"""Key of the header of a weights file: names of the weights that are the base's, as JSON."""

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


def read_own(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Read a weights file as it is stored, and the names of the weights that are in a base model.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            in_base = json.loads((file.metadata() or {}).get(IN_BASE, "[]"))
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {error}; copy the model again") from None
    return stored, [name for name in in_base if isinstance(name, str)]


def read_stored(path: Path) -> dict[str, Tensor]:
    """Read a weights file as it is stored, with what its header says is in the model's base.

    Raises:
        ModelError: a file cannot be read, or the base is missing, another one, or lacks a weight.
        RecipeError: a `config.yaml` is not valid.
    """
    stored, lent = read_own(path)
    if not lent:
        return stored
    files = weight_files(path)
    if len(files) == 1:
        raise ModelError(
            f"{path}: holds only what differs from a base model, but no {CONFIG_FILE} beside it "
            "names one; copy the whole model folder again"
        )
    for file in files[1:]:
        own, further = read_own(file)
        if lacking := [name for name in lent if name not in own and name not in further]:
            raise ModelError(
                f"{path}: '{lacking[0]}' should be in the base model {file.parent}, which lacks "
                "it; copy both models again"
            )
        for name in lent:
            stored |= stored_parts(own, name)
        lent = [name for name in lent if name not in own]
    return stored


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a weights file and its bases as `read_stored`, without quantisation."""
    return without_quantised(read_stored(path))


def split_from_base(
    weights: dict[str, Tensor], base: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Divide weights into those that differ from the base's, and the names of the others.

    Args:
        weights: weights of a network.
        base: weights of its base, without quantisation.
    """
    equal = [
        name
        for name, weight in weights.items()
        if name in base
        and base[name].shape == weight.shape
        and torch.equal(base[name].to(weight.dtype), weight.detach().cpu())
    ]
    return {name: weight for name, weight in weights.items() if name not in equal}, equal


def write_stored(path: Path, stored: dict[str, Tensor], in_base: list[str]) -> None:
    """Write a weights file. Raises `OSError` if it cannot be written."""
    try:
        save_file(stored, path, {IN_BASE: json.dumps(in_base)} if in_base else None)
    except SafetensorError as error:  # raised if the disk is full
        raise OSError(str(error)) from None


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
