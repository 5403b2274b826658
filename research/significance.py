"""Test whether two systems differ, by bootstrap over utterances and training seeds.

Both systems are measured on the same utterances, which are drawn with replacement for both at once
(Bisani and Ney, 2004). If a system has several trainings, these are drawn as well, independently
for each system. With one training each, the interval does not cover the variation between
trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REPLICATIONS, AT_ONCE = 4000, 250


@dataclass(frozen=True)
class Difference:
    """An error rate minus another, fractions, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """True if the interval contains 0."""
        return self.low <= 0 <= self.high


def difference(
    errors: Sequence[Sequence[int]],
    reference: Sequence[Sequence[int]],
    lengths: Sequence[int],
    seed: int = 0,
) -> Difference:
    """Return the error rate of a system minus that of the reference.

    Args:
        errors: (S, U) errors of each training on each utterance.
        reference: (R, U) errors of the reference.
        lengths: (U,) words or characters of the utterances.
        seed: of the bootstrap.
    """
    generator = np.random.default_rng(seed)
    size = np.asarray(lengths, dtype=np.float64)
    both = [np.asarray(one, dtype=np.float64) for one in (errors, reference)]
    value = (both[0].mean(axis=0) - both[1].mean(axis=0)).sum() / size.sum()
    found = []
    for _ in range(REPLICATIONS // AT_ONCE):
        drawn = generator.integers(len(size), size=(AT_ONCE, len(size)))
        first, second = (
            one[generator.integers(len(one), size=(AT_ONCE, len(one)))].mean(axis=1) for one in both
        )
        more = np.take_along_axis(first - second, drawn, axis=1).sum(axis=1)
        found.append(more / np.maximum(1.0, size[drawn].sum(axis=1)))
    low, high = np.percentile(np.concatenate(found), (2.5, 97.5))
    return Difference(float(value), float(low), float(high))


def rate_interval(
    errors: Sequence[Sequence[int]], lengths: Sequence[int], seed: int = 0
) -> tuple[float, float, float]:
    """Return the error rate of a system over its trainings, and its 95 % interval."""
    nothing = [[0] * len(lengths)]
    found = difference(errors, nothing, lengths, seed)
    return found.value, found.low, found.high
