"""Packed n-gram models, `.ngram`: a few bytes per n-gram, and arrays that are read as they are.

    bytes 0-7    89 4E 47 52 41 4D 0A 01: "NGRAM", a line break, and the version of the format
    bytes 8-39   SHA-256 of all that follows
    bytes 40-    a safetensors file: JSON with metadata and the place of every array, then arrays

The metadata has one entry `ngram`, JSON: `sizes` (number of n-grams of each order), `unit` (word,
character or token; null if unknown) and `sources` (list of texts and their licences).

The arrays, little-endian, for each order n from 1 to the highest N:

    words        UTF-8, one word per line; the 1-grams in their order
    n.last       number of the last word of each n-gram; absent for 1-grams
    n.children   how many (n+1)-grams begin with the n-gram; absent for N
    n.log10      8-bit codes of the base-10 log-probabilities, n.log10.values the 256 values
    n.weights    the same of the back-off weights; absent for N

The n-grams of one order stand in the order of their first n-1 words, then of the last one, so the
arrays are a trie: the children of an n-gram follow those of the n-gram before it. Whole numbers
have as few bytes as they need. Codes are as in KenLM's quantised models (Federico & Bertoldi, "How
many bits are needed to store probabilities for phrase-based translation?", 2006), but the values
are equally spaced, so that no entry is off by more than half a step.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from keyframe_asr.decoding.lm.arpa import NEVER, NgramModel, Ngrams, read_arpa
from keyframe_asr.decoding.lm.automaton import Automaton, Indices, Numbers
from keyframe_asr.errors import ModelError
from keyframe_asr.io.atomic_write import write_whole

SUFFIX = ".ngram"
MAGIC = b"\x89NGRAM\n"
VERSION = 1
_DIGEST = slice(8, 40)
_HEADER_BYTES = 40

CODES = 256

ROOM_FOR_HEADER = 8192
"""Bytes set aside for metadata when a model is pruned to a size."""

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Origin:
    """What a packed file says of its model besides the n-grams.

    Attributes:
        unit: of the n-grams: word, character or token; `None` if unknown.
        sources: the texts it was made of, with their licences.
    """

    unit: str | None = None
    sources: tuple[str, ...] = ()


def is_packed(path: Path) -> bool:
    """True if the file begins as a packed model does; False also if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def write_packed(model: NgramModel, path: Path, origin: Origin | None = None) -> None:
    """Write a model atomically; n-grams whose first words are not in the model are dropped.

    Raises:
        ModelError: an n-gram is listed twice.
        KeyframeError: the file cannot be written.
    """
    origin = origin or Origin()
    arcs = Automaton.of(model)
    described = {"sizes": arcs.sizes, "unit": origin.unit, "sources": origin.sources}
    # one entry, because safetensors writes several in random order
    metadata = {"ngram": json.dumps(described, ensure_ascii=False)}
    content = save(_arrays(arcs), metadata)
    digest = hashlib.sha256(content).digest()
    write_whole(path, MAGIC + bytes([VERSION]) + digest + content)


def read_language_model(path: Path) -> NgramModel:
    """Read a packed model or an ARPA file, as its first bytes say.

    Raises:
        ModelError: the file cannot be read, is damaged, or is neither.
    """
    return read_packed(path) if is_packed(path) else read_arpa(path)


def read_packed(path: Path) -> NgramModel:
    """Read a model; each order is sorted.

    Raises:
        ModelError: the file cannot be read, is damaged, or is no packed model.
    """
    content = _content(path)
    try:
        return _model(load(content), _described(content)["sizes"])
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelError(
            f"{path}: its arrays do not fit together ({error}); create the file again"
        ) from None


def read_origin(path: Path) -> Origin:
    """Read what the file says of its model. Raises `ModelError` as `read_packed` does."""
    try:
        described = _described(_content(path))
        return Origin(described["unit"], tuple(described["sources"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: its metadata cannot be read ({error}); create the file again"
        ) from None


def _described(content: bytes) -> dict[str, Any]:
    """Return the metadata of a safetensors file that begins with the size of its header."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    described: dict[str, Any] = json.loads(header["__metadata__"]["ngram"])
    return described


def _content(path: Path) -> bytes:
    """Return the safetensors part. Raises `ModelError` if its digest is another."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or str(failure)
        raise ModelError(f"{path}: cannot be read: {reason}; give a packed model") from None
    if content[: len(MAGIC)] != MAGIC or len(content) < _HEADER_BYTES:
        raise ModelError(f"{path}: not a packed language model; give a {SUFFIX} or ARPA file")
    if content[len(MAGIC)] != VERSION:
        raise ModelError(
            f"{path}: version {content[len(MAGIC)]} of the format, this program reads {VERSION}; "
            "create the file again, or update the program"
        )
    if hashlib.sha256(content[_HEADER_BYTES:]).digest() != content[_DIGEST]:
        raise ModelError(f"{path}: the file is damaged or truncated; copy it again")
    return content[_HEADER_BYTES:]


def packed_bytes(arcs: Automaton) -> tuple[int, list[int]]:
    """Bytes of a packed file without n-grams above order 1, and of each n-gram of each order."""
    each = []
    for order in range(1, len(arcs.sizes) + 1):
        number = _width(len(arcs.words) - 1) if order > 1 else 0
        if order < len(arcs.sizes):
            number += 1 + _width(int(_children(arcs, order).max(initial=0)))
        each.append(number + 1)
    fixed = ROOM_FOR_HEADER + len(arcs.sizes) * 2 * CODES * 4
    return fixed + len("\n".join(arcs.words).encode()) + each[0] * arcs.sizes[0], each


def _arrays(arcs: Automaton) -> Arrays:
    arrays: Arrays = {
        "words": np.frombuffer("\n".join(arcs.words).encode(), dtype=np.uint8),
    }
    highest = len(arcs.sizes)
    for order in range(1, highest + 1):
        place = arcs.places(order)
        if order > 1:
            arrays[f"{order}.last"] = _narrow(arcs.word_ids[place])
        arrays |= _coded(f"{order}.log10", arcs.log10[place])
        if order < highest:
            arrays[f"{order}.children"] = _narrow(_children(arcs, order))
            arrays |= _coded(f"{order}.weights", arcs.weights[place])
    return arrays


def _model(arrays: Arrays, sizes: list[int]) -> NgramModel:
    words = arrays["words"].tobytes().decode().split("\n")
    rows = np.arange(len(words), dtype=np.int32)[:, None]
    orders: list[Ngrams] = []
    for order, size in enumerate(sizes, 1):
        if order > 1:
            first = np.repeat(rows, arrays[f"{order - 1}.children"].astype(np.int64), axis=0)
            rows = np.column_stack((first, arrays[f"{order}.last"].astype(np.int32)))
        log10 = _decoded(f"{order}.log10", arrays)
        top = order == len(sizes)
        weights = np.zeros(len(log10)) if top else _decoded(f"{order}.weights", arrays)
        if not len(rows) == len(log10) == len(weights) == size:
            raise ValueError(f"order {order} has arrays of different lengths")
        if rows.size and rows[:, -1].max() >= len(words):
            raise ValueError(f"order {order} has words beyond the vocabulary")
        orders.append(Ngrams(rows, log10, weights))
    return NgramModel(tuple(words), tuple(orders))


def _coded(name: str, numbers: Numbers) -> Arrays:
    """Codes of numbers, and the values that they stand for."""
    values = _values(numbers)
    # the nearest value: numbers between two values belong to the one on their side of the middle
    codes = np.searchsorted((values[1:] + values[:-1]) / 2, numbers)
    return {name: codes.astype(np.uint8), f"{name}.values": values.astype("<f4")}


def _values(numbers: Numbers) -> Numbers:
    """At most `CODES` ascending values: the numbers themselves if they are few, or equally spaced.

    `NEVER` keeps a value of its own, else it would leave the others a hundred times as coarse.
    """
    distinct = np.unique(numbers)
    if len(distinct) <= CODES:
        return distinct
    rare = distinct[distinct <= NEVER]
    usual = distinct[distinct > NEVER]
    return np.concatenate((rare[:1], np.linspace(usual[0], usual[-1], CODES - len(rare[:1]))))


def _decoded(name: str, arrays: Arrays) -> Numbers:
    values: Numbers = arrays[f"{name}.values"].astype(np.float64)
    return values[arrays[name].astype(np.int64)]


def _children(arcs: Automaton, order: int) -> Indices:
    """How many n-grams of the next order begin with each n-gram of one order."""
    first_state = sum(arcs.sizes[: order - 1]) + 1
    states = arcs.contexts[arcs.places(order + 1)] - first_state
    return np.bincount(states, minlength=arcs.sizes[order - 1])


def _narrow(numbers: Indices) -> NDArray[np.generic]:
    """The numbers in the narrowest unsigned type."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


def _width(largest: int) -> int:
    """Bytes of a whole number up to `largest`, as `_narrow` stores it."""
    return np.min_scalar_type(largest).itemsize
