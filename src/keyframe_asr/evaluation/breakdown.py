"""Which errors a model makes, and where: confusions, and error rates of groups of utterances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from keyframe_asr.evaluation.comparison import compare_errors
from keyframe_asr.evaluation.details import Details

UnitT = TypeVar("UnitT", str, tuple[str, str])
"""What is counted: a unit, or one of the reference with one of the hypothesis."""

BINS = 5
"""Groups by a measured value; each has about as many utterances."""


@dataclass(frozen=True)
class Confusions:
    """How often each error was made, the most frequent first.

    Attributes:
        substitutions: (reference, hypothesis) units and their number.
        deletions: units of the reference.
        insertions: units of the hypothesis.
        spoken: how often each unit occurs in the references.
    """

    substitutions: list[tuple[tuple[str, str], int]]
    deletions: list[tuple[str, int]]
    insertions: list[tuple[str, int]]
    spoken: Mapping[str, int]


@dataclass(frozen=True)
class Group:
    """Errors of a group of utterances.

    Attributes:
        name: such as a speaker, or a range of values.
        utterances: their number.
        length: units of their references.
        errors: of one decode mode.
        interval: 95 % interval of the error rate, by bootstrap over the utterances; None without
            references.
    """

    name: str
    utterances: int
    length: int
    errors: int
    interval: tuple[float, float] | None


def confusions(details: Sequence[Details], mode: str) -> Confusions:
    """Count the errors of scored utterances in a decode mode."""
    substituted: Counter[tuple[str, str]] = Counter()
    deleted: Counter[str] = Counter()
    inserted: Counter[str] = Counter()
    spoken: Counter[str] = Counter()
    for one in details:
        for expected, found in one["decode"][mode]["alignment"]:
            if expected is not None:
                spoken[expected] += 1
            if expected is None:
                inserted[found] += 1
            elif found is None:
                deleted[expected] += 1
            elif expected != found:
                substituted[expected, found] += 1
    return Confusions(
        _most_frequent(substituted), _most_frequent(deleted), _most_frequent(inserted), spoken
    )


def _most_frequent(counts: Counter[UnitT]) -> list[tuple[UnitT, int]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def by_speaker(details: Sequence[Details], mode: str) -> list[Group]:
    """Group scored utterances by speaker, the highest error rate first; [] without speakers."""
    members: dict[str, list[Details]] = {}
    for one in details:
        members.setdefault(one["speaker"], []).append(one)
    if not any(members):
        return []
    groups = [_group(name, some, mode) for name, some in members.items()]
    return sorted(groups, key=lambda one: -one.errors / max(1, one.length))


def by_value(
    details: Sequence[Details], mode: str, values: Sequence[float | None], digits: int = 0
) -> list[Group]:
    """Group scored utterances by a value of each, in ascending order.

    Args:
        details: of the utterances.
        mode: decode mode.
        values: one per utterance; None leaves it out.
        digits: decimals of the values in the names.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not known.size:
        return []
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    members: dict[int, list[int]] = {}
    for place, value in enumerate(values):
        if value is not None:
            members.setdefault(int(np.searchsorted(edges, value)), []).append(place)
    found = []
    for _, places in sorted(members.items()):
        inside = [value for place in places if (value := values[place]) is not None]
        least, most = (f"{end:.{digits}f}" for end in (min(inside), max(inside)))
        name = least if least == most else f"{least} to {most}"
        found.append(_group(name, [details[place] for place in places], mode))
    return found


def _group(name: str, details: Sequence[Details], mode: str) -> Group:
    lengths = [one["length"] for one in details]
    errors = [one["decode"][mode]["errors"] for one in details]
    interval = None
    if any(lengths):
        found = compare_errors([0] * len(errors), errors, lengths)
        interval = (found.low, found.high)
    return Group(name, len(details), sum(lengths), sum(errors), interval)
