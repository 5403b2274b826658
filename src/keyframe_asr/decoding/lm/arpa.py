"""Reading and writing n-gram models as ARPA files, the text format of SRILM and KenLM.

A line contains a base-10 log-probability, the n-gram and, below the highest order, its back-off
weight. The readers on pip need a compiler (kenlm) or are no longer maintained.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keyframe_asr.errors import ModelError
from keyframe_asr.io.atomic_write import replacing
from keyframe_asr.io.text_file import read_lines

START, STOP, UNKNOWN_WORD = "<s>", "</s>", "<unk>"

NEVER = -99.0
"""Base-10 log-probability that stands for probability zero, as in SRILM."""

Words = tuple[str, ...]
Entry = tuple[float, float]
"""Base-10 logarithms of an n-gram's probability and of its back-off weight."""


@dataclass(frozen=True, eq=False)
class Ngrams:
    """All n-grams of one order, as arrays: a million tuples would take half a gigabyte.

    Attributes:
        word_ids: (N, n) indices into the model's vocabulary.
        log10: (N,) base-10 log-probabilities.
        weights: (N,) base-10 back-off weights, 0 if there is none.
    """

    word_ids: NDArray[np.int32]
    log10: NDArray[np.float64]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.log10)


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A back-off model.

    Attributes:
        words: the vocabulary, including special words, in the order of the file.
        orders: `orders[n - 1]` contains every n-gram of n words.
    """

    words: tuple[str, ...]
    orders: tuple[Ngrams, ...]

    @staticmethod
    def of(orders: Sequence[Mapping[Words, Entry]]) -> NgramModel:
        """Build a model from one mapping of n-grams to entries per order.

        Every word must be among the 1-grams.
        """
        known = {ngram[0]: number for number, ngram in enumerate(orders[0])}
        columns = [_Columns() for _ in orders]
        for column, ngrams in zip(columns, orders, strict=True):
            for ngram, entry in ngrams.items():
                column.append([known[word] for word in ngram], *entry)
        return NgramModel(tuple(known), _packed(columns))

    def __contains__(self, ngram: Words) -> bool:
        if not 0 < len(ngram) <= len(self.orders) or not set(ngram) <= set(self.words):
            return False
        numbers = [self.words.index(word) for word in ngram]
        return bool((self.orders[len(ngram) - 1].word_ids == numbers).all(axis=1).any())


@dataclass
class _Columns:
    """Compact growing storage for the n-grams of one order."""

    word_ids: array[int] = field(default_factory=lambda: array("i"))
    log10: array[float] = field(default_factory=lambda: array("d"))
    weights: array[float] = field(default_factory=lambda: array("d"))

    def append(self, word_ids: Sequence[int], log10: float, weight: float) -> None:
        self.word_ids.extend(word_ids)
        self.log10.append(log10)
        self.weights.append(weight)


def _packed(orders: Sequence[_Columns]) -> tuple[Ngrams, ...]:
    return tuple(
        Ngrams(
            np.array(column.word_ids, dtype=np.int32).reshape(-1, order),
            np.array(column.log10, dtype=np.float64),
            np.array(column.weights, dtype=np.float64),
        )
        for order, column in enumerate(orders, 1)
    )


def _listed(ngrams: Ngrams) -> tuple[list[list[int]], list[float], list[float]]:
    return ngrams.word_ids.tolist(), ngrams.log10.tolist(), ngrams.weights.tolist()


def write_arpa(model: NgramModel, path: Path) -> None:
    """Write the model atomically. Raises `KeyframeError` if it cannot be written."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(f"{line}\n" for line in _lines(model))


def _lines(model: NgramModel) -> Iterator[str]:
    yield "\\data\\"
    for order, ngrams in enumerate(model.orders, 1):
        yield f"ngram {order}={len(ngrams)}"
    for order, ngrams in enumerate(model.orders, 1):
        yield ""
        yield f"\\{order}-grams:"
        for numbers, log10, weight in zip(*_listed(ngrams), strict=True):
            end = f"\t{weight:.7f}" if order < len(model.orders) else ""
            yield f"{log10:.7f}\t{' '.join(model.words[number] for number in numbers)}{end}"
    yield ""
    yield "\\end\\"


def read_arpa(path: Path) -> NgramModel:
    """Read an ARPA file, plain or gzipped.

    Raises:
        ModelError: the file cannot be read or is not an ARPA file; names the line.
    """
    lines = read_lines(path, "give an ARPA file", ModelError)
    return _parse(path, enumerate(map(str.strip, lines), 1))


def _parse(path: Path, lines: Iterator[tuple[int, str]]) -> NgramModel:
    announced: list[int] = []
    known: dict[str, int] = {}
    orders: list[_Columns] = []
    begun = ended = False
    for number, line in lines:
        if line == "\\data\\":
            begun = True
        elif not line or not begun:
            continue
        elif line == "\\end\\":
            ended = True
            break
        elif found := re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", line):
            announced.append(int(found[2]))
        elif re.fullmatch(r"\\\d+-grams:", line):
            orders.append(_Columns())
        elif not orders:
            raise ModelError(
                f"{path}:{number}: unexpected line before the n-grams; give an ARPA file"
            )
        else:
            words, log10, weight = _entry(path, number, line, len(orders))
            if len(orders) == 1:
                if words[0] in known:
                    raise ModelError(
                        f"{path}:{number}: '{words[0]}' is a duplicate 1-gram; create the file "
                        "again"
                    )
                known[words[0]] = len(known)
            orders[-1].append(_word_ids(path, number, words, known), log10, weight)
    if not begun or not orders:
        raise ModelError(f"{path}: no \\data\\ section or no n-grams; give an ARPA file")
    packed = _packed(orders)
    sizes = [len(ngrams) for ngrams in packed]
    if not ended or sizes != announced:
        raise ModelError(
            f"{path}: the header announces {announced} n-grams, found {sizes}; "
            "the file is truncated or was modified, copy it again"
        )
    return NgramModel(tuple(known), packed)


def _word_ids(path: Path, number: int, words: list[str], known: dict[str, int]) -> list[int]:
    try:
        return [known[word] for word in words]
    except KeyError as lost:
        raise ModelError(
            f"{path}:{number}: '{lost.args[0]}' in the n-gram '{' '.join(words)}' is not a 1-gram; "
            "give a complete ARPA file"
        ) from None


def _entry(path: Path, number: int, line: str, order: int) -> tuple[list[str], float, float]:
    """Parse a line: fields separated by tabs or spaces, the back-off weight is optional."""
    fields = line.split()
    try:
        if len(fields) not in (order + 1, order + 2):
            raise ValueError
        weight = float(fields[order + 1]) if len(fields) == order + 2 else 0.0
        log10 = float(fields[0])
        if not (math.isfinite(log10) and math.isfinite(weight)):
            raise ValueError
        return fields[1 : order + 1], log10, weight
    except ValueError:
        raise ModelError(
            f"{path}:{number}: expected a log-probability, {order} words and an optional back-off "
            "weight; give an ARPA file"
        ) from None
