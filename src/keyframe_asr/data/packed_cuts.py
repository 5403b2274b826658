"""Cuts packed as text: a million take some hundreds of megabytes instead of gigabytes.

A cut becomes an object only while it is used. The bytes hold no Python objects, so processes that
are forked share them instead of copying them page by page.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

Indices = npt.NDArray[np.int64]

WRITTEN = "written_text"
"""Custom field of a supervision: its text before it was normalised."""


class PackedStrings(Sequence[str]):
    """Strings in one block of bytes."""

    def __init__(self, strings: Iterable[str] = ()) -> None:
        self._bytes, self._ends = bytearray(), array("q")
        for one in strings:
            self.append(one)

    def append(self, string: str) -> None:
        """Add a string at the end."""
        self._bytes += string.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return PackedStrings(self[one] for one in range(*index.indices(len(self))))
        index += len(self) * (index < 0)
        start = self._ends[index - 1] if index else 0
        return self._bytes[start : self._ends[index]].decode("utf-8", "surrogatepass")


class PackedLine(NamedTuple):
    """A cut as a line of JSON, and what is often asked of it.

    Attributes:
        line: the cut as lhotse writes it.
        id: name of the utterance.
        text: "" if it has none.
        duration: in seconds.
        rate: sample rate of its recording in hertz.
    """

    line: str
    id: str
    text: str
    duration: float
    rate: float


class PackedCuts(Sequence[Cut]):
    """Cuts of one supervision each, in their order; every access makes a new object.

    What is derived from others shares their bytes.

    Attributes:
        durations: seconds of each utterance.
        rates: sample rate in hertz of each recording.
    """

    durations: npt.NDArray[np.float64]
    rates: npt.NDArray[np.float64]

    def __init__(self, lines: Iterable[PackedLine] = ()) -> None:
        self._lines, self._ids, self._texts = PackedStrings(), PackedStrings(), PackedStrings()
        durations, rates = array("d"), array("d")
        for one in lines:
            self._lines.append(one.line)
            self._ids.append(one.id)
            self._texts.append(one.text)
            durations.append(one.duration)
            rates.append(one.rate)
        self.durations, self.rates = np.array(durations), np.array(rates)
        self._order: Indices = np.arange(len(self._ids))
        self._text_order = self._order
        self._has_new_texts = self._keeps_written = False

    @classmethod
    def of(cls, cuts: Iterable[Cut]) -> PackedCuts:
        """Pack cuts."""
        return cls(map(packed_line, cuts))

    @classmethod
    def joined(cls, several: Sequence[PackedCuts]) -> PackedCuts:
        """Join cuts, one after the other."""
        return cls(itertools.chain.from_iterable(one.packed_lines() for one in several))

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Cut: ...
    @overload
    def __getitem__(self, index: slice) -> PackedCuts: ...
    def __getitem__(self, index: int | slice) -> Cut | PackedCuts:
        if isinstance(index, slice):
            return self.chosen(range(*index.indices(len(self))))
        cut: Cut = deserialize_item(self._data(index))
        return cut

    def __iter__(self) -> Iterator[Cut]:
        return (self[index] for index in range(len(self)))

    def line(self, index: int) -> str:
        """Return a cut as a line of JSON, for another process."""
        if not self._has_new_texts:
            return self._lines[int(self._order[index])]
        return json.dumps(self._data(index), ensure_ascii=False)

    def packed_lines(self) -> Iterator[PackedLine]:
        """Yield every cut as it is packed."""
        lines = map(self.line, range(len(self)))
        numbers = self.durations.tolist(), self.rates.tolist()
        return map(PackedLine, lines, self.ids, self.texts, *numbers)

    @property
    def ids(self) -> Iterator[str]:
        """Names of the utterances."""
        return map(self._ids.__getitem__, self._order.tolist())

    @property
    def texts(self) -> Iterator[str]:
        """Texts of the utterances; "" where there is none."""
        return map(self._texts.__getitem__, self._text_order.tolist())

    def id_at(self, index: int) -> str:
        """Name of an utterance."""
        return self._ids[int(self._order[index])]

    def chosen(self, indices: Iterable[int]) -> PackedCuts:
        """Return the cuts at these indices, in this order."""
        places = np.fromiter(indices, np.int64)
        names = ("durations", "rates", "_order", "_text_order")
        return self._with(**{name: getattr(self, name)[places] for name in names})

    def with_texts(self, texts: Iterable[str], keep_written: bool = False) -> PackedCuts:
        """Return the cuts with other texts, one each.

        Args:
            texts: in the order of the cuts.
            keep_written: remember each text as it was, for `data.manifest.written_text`.
        """
        packed = PackedStrings(texts)
        return self._with(
            _texts=packed,
            _text_order=np.arange(len(packed)),
            _has_new_texts=True,
            _keeps_written=keep_written,
        )

    def _with(self, **changes: Any) -> PackedCuts:
        other = PackedCuts.__new__(PackedCuts)
        other.__dict__ |= self.__dict__ | changes
        return other

    def _data(self, index: int) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self._lines[int(self._order[index])])
        if self._has_new_texts:
            said = data["supervisions"][0]
            if self._keeps_written:
                said["custom"] = {WRITTEN: said.get("text") or ""} | (said.get("custom") or {})
            said["text"] = self._texts[int(self._text_order[index])]
        return data


def packed_line(cut: Cut) -> PackedLine:
    """Return a cut as a line of JSON."""
    line = json.dumps(cut.to_dict(), ensure_ascii=False)
    return PackedLine(line, cut.id, cut.supervisions[0].text or "", cut.duration, cut.sampling_rate)
