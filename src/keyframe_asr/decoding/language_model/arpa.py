"""N-gram models as ARPA files, the text format that SRILM, KenLM and others read and write.

A line holds a base-10 log-probability, the n-gram and, below the highest order, its back-off
weight. Read here because the readers on pip need a compiler (kenlm) or are no longer maintained.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keyframe_asr.data.whole_file import replacing
from keyframe_asr.errors import ModelError

START, STOP, UNKNOWN_WORD = "<s>", "</s>", "<unk>"

NEVER = -99.0
"""Base-10 log-probability that stands for zero, as SRILM writes it."""

Words = tuple[str, ...]
Entry = tuple[float, float]
"""Base-10 logarithms: probability of an n-gram, and back-off weight of it as a context."""


@dataclass(frozen=True)
class NgramModel:
    """A back-off model: `orders[n - 1]` maps every n-gram of n words to its entry."""

    orders: tuple[dict[Words, Entry], ...]

    @property
    def words(self) -> list[str]:
        """The vocabulary, special words included, in the order of the file."""
        return [words[0] for words in self.orders[0]]

    def log10(self, history: Words, word: str) -> float:
        """Base-10 log-probability of a word after a history, one n-gram at a time."""
        history = history[max(0, len(history) - len(self.orders) + 1) :]
        ngram = (*history, word)
        if ngram in self.orders[len(history)]:
            return self.orders[len(history)][ngram][0]
        if not history:
            return NEVER if word == UNKNOWN_WORD else self.log10((), UNKNOWN_WORD)
        weight = self.orders[len(history) - 1].get(history, (0.0, 0.0))[1]
        return weight + self.log10(history[1:], word)


def write_arpa(model: NgramModel, path: Path) -> None:
    """Write the model, whole or not at all. Raises `KeyframeError` if it cannot be written."""
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
        for words, (log10, weight) in ngrams.items():
            end = f"\t{weight:.7f}" if order < len(model.orders) else ""
            yield f"{log10:.7f}\t{' '.join(words)}{end}"
    yield ""
    yield "\\end\\"


def read_arpa(path: Path) -> NgramModel:
    """Read an ARPA file, also a gzipped one.

    Raises:
        ModelError: it cannot be read or is not an ARPA file; the line is named.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            return _parse(path, enumerate((line.strip() for line in file), 1))
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is damaged, or no UTF-8 text"
        raise ModelError(f"{path}: cannot be read: {reason}; give an ARPA file") from None


def _parse(path: Path, lines: Iterator[tuple[int, str]]) -> NgramModel:
    announced: list[int] = []
    orders: list[dict[Words, Entry]] = []
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
            orders.append({})
        elif not orders:
            raise ModelError(f"{path}:{number}: stands before the n-grams; give an ARPA file")
        else:
            words, entry = _entry(path, number, line, len(orders))
            orders[-1][words] = entry
    if not begun or not orders:
        raise ModelError(f"{path}: has no \\data\\ and n-grams; give an ARPA file")
    if not ended or [len(one) for one in orders] != announced:
        raise ModelError(
            f"{path}: its n-grams are not those it announces ({announced}, found "
            f"{[len(one) for one in orders]}); it was cut short or changed: copy it again"
        )
    known = {words[0] for words in orders[0]}
    for words in (words for ngrams in orders[1:] for words in ngrams):
        if lost := [word for word in words if word not in known]:
            raise ModelError(
                f"{path}: '{lost[0]}' of the n-gram '{' '.join(words)}' is not among its 1-grams; "
                "give a complete ARPA file"
            )
    return NgramModel(tuple(orders))


def _entry(path: Path, number: int, line: str, order: int) -> tuple[Words, Entry]:
    """Fields are separated by tabs or spaces; the back-off weight may be left out."""
    fields = line.split()
    try:
        if len(fields) not in (order + 1, order + 2):
            raise ValueError
        weight = float(fields[order + 1]) if len(fields) == order + 2 else 0.0
        log10 = float(fields[0])
        if not (math.isfinite(log10) and math.isfinite(weight)):
            raise ValueError
        return tuple(fields[1 : order + 1]), (log10, weight)
    except ValueError:
        raise ModelError(
            f"{path}:{number}: is not a log-probability, {order} words and at most a back-off "
            "weight; give an ARPA file"
        ) from None
