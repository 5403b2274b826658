"""The weights of a model folder as the inputs of its graphs, in NumPy.

Graphs that lie in a model folder hold no weights. `graphs/weights.json` says which weight each of
their constants is made from, and how: one of `FORMS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.base_model import weight_files
from keyframe_asr.io.model_location import (
    CONFIG_FILE,
    GRAPHS_FOLDER,
    WEIGHTS_FILE,
    WEIGHTS_OF_GRAPHS,
    architecture_digest,
)

Array = npt.NDArray[Any]

SCALE_SUFFIX = ".row_scale"
"""Suffix of the name of the scales of a weight that is stored as integers (`io.quantisation`)."""

NORM, DIRECTION = (f"parametrizations.{{}}.original{part}" for part in (0, 1))
"""Names of the parts of a weight whose norm is a parameter of its own (arXiv 1602.07868)."""

LARGEST = 127
"""Largest integer of 8 bits that is used."""

BLOCK = 32
"""Inputs of a row that share a scale in `MatMulNBits`."""

ZERO_POINT = 128
"""Of `MatMulNBits`, which takes unsigned integers."""


def quantise(weight: Array) -> tuple[Array, Array]:
    """Quantise a weight (R, C) to int8 and scales (R,) float32, as `io.quantisation` does."""
    rows = np.asarray(weight, dtype=np.float32)
    tiny = np.finfo(np.float32).tiny
    scale = np.maximum(np.abs(rows).max(axis=1), tiny) / np.float32(LARGEST)
    return np.rint(rows / scale[:, None]).astype(np.int8), scale


def in_blocks(integers: Array) -> Array:
    """Integers (R, C) as `MatMulNBits` takes them: unsigned, (R, ceil(C / 32), 32)."""
    rows, columns = integers.shape
    blocks = -(-columns // BLOCK)
    packed = np.full((rows, blocks * BLOCK), ZERO_POINT, dtype=np.uint8)
    packed[:, :columns] = integers.view(np.uint8) ^ ZERO_POINT  # adds it, modulo 256
    return packed.reshape(rows, blocks, BLOCK)


FORMS: dict[str, Callable[[StoredWeights, str], Array]] = {
    "floats": lambda stored, name: stored._floats(name),
    "floats transposed": lambda stored, name: stored._floats(name).T,
    "integers transposed": lambda stored, name: stored._integers(name)[0].T,
    "integers in blocks": lambda stored, name: in_blocks(stored._integers(name)[0]),
    "scales": lambda stored, name: stored._integers(name)[1],
    "scales of rows": lambda stored, name: stored._integers(name)[1][:, None],
}
"""How a constant of a graph is made from a weight."""


class StoredWeights:
    """Weights of a model folder and its bases, read one at a time.

    Args:
        folder: of the model.

    Raises:
        ModelError: a file or a base is missing, another one, or damaged, or the graphs are those
            of another architecture.
        RecipeError: a `config.yaml` is not valid.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = weight_files(folder / WEIGHTS_FILE)
        architecture, self._constants = _table(folder / GRAPHS_FOLDER / WEIGHTS_OF_GRAPHS)
        if architecture != architecture_digest(load_model_folder_config(folder / CONFIG_FILE)):
            raise ModelError(
                f"{folder}: its {GRAPHS_FOLDER} are those of another architecture than its "
                f"{CONFIG_FILE}; write them again with keyframe export MODEL, or remove them"
            )
        self._latest: tuple[str, tuple[Array, Array]] | None = None
        self._places: dict[str, Any] = {}

    def constants(self, graph: str) -> dict[str, Array]:
        """Return the constants of a graph, by name.

        Raises:
            ModelError: the weights do not have one, or cannot be read.
        """
        with ExitStack() as opened:
            self._open(opened)
            return {
                constant: np.asarray(FORMS[form](self, weight), order="C")
                for constant, (weight, form) in self._constants.get(graph, {}).items()
            }

    def _floats(self, name: str) -> Array:
        """Return a weight as float32; one with a norm of its own is made from its parts."""
        place, _, part = name.rpartition(".")
        if f"{place}.{NORM.format(part)}" in self._places:
            norm = self._floats(f"{place}.{NORM.format(part)}")
            weight = self._floats(f"{place}.{DIRECTION.format(part)}")
            summed = tuple(axis for axis, size in enumerate(norm.shape) if size == 1)
            scaled: Array = weight * (norm / np.sqrt(np.square(weight).sum(summed, keepdims=True)))
            return scaled
        weight, scale = self._stored(name)
        if scale is None:
            return weight.astype(np.float32)
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))

    def _integers(self, name: str) -> tuple[Array, Array]:
        """Return a matrix as int8 and scales: those that are stored, else made from floats."""
        if self._latest is None or self._latest[0] != name:
            weight, scale = self._stored(name)
            self._latest = name, quantise(weight) if scale is None else (weight, scale)
        return self._latest[1]

    def _open(self, opened: ExitStack) -> None:
        try:
            files = [opened.enter_context(safe_open(path, "np")) for path in self._files]
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{self._folder}: its weights cannot be read: {error}; copy the model again"
            ) from None
        self._places = {}
        for file in reversed(files):  # what the model itself stores comes before its bases
            self._places |= dict.fromkeys(file.keys(), file)

    def _stored(self, name: str) -> tuple[Array, Array | None]:
        if name not in self._places:
            raise ModelError(
                f"{self._folder}: its graphs need the weight '{name}', which {WEIGHTS_FILE} lacks; "
                f"write them again with keyframe export MODEL, or remove {GRAPHS_FOLDER}"
            )
        file = self._places[name]
        scale = name + SCALE_SUFFIX
        # of the same file: a base may store as integers what the model stores as floats
        own_scale = self._places.get(scale) is file
        return file.get_tensor(name), file.get_tensor(scale) if own_scale else None


def _table(path: Path) -> tuple[str, dict[str, dict[str, tuple[str, str]]]]:
    """The digest of the architecture, and the weight and the form of each constant, by graph."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        constants = {
            graph: {constant: (str(weight), form) for constant, (weight, form) in several.items()}
            for graph, several in found["graphs"].items()
        }
        for several in constants.values():
            for _, form in several.values():
                FORMS[form]
        return str(found["architecture"]), constants
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelError(
            f"{path}: cannot be read ({error}); write the graphs again with keyframe export MODEL, "
            f"or remove {GRAPHS_FOLDER}"
        ) from None
