"""Weights files of model folders: read with those of their base models, and written."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from keyframe_asr.errors import ModelError
from keyframe_asr.io.base_model import weight_files
from keyframe_asr.io.model_location import CONFIG_FILE
from keyframe_asr.io.quantisation import stored_parts, without_quantised

IN_BASE = "in_base"
"""Key of the header of a weights file: names of the weights that are the base's, as JSON."""


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
