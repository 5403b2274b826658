"""Whether one of two outputs for the same utterances has fewer errors: paired bootstrap.

The utterances are drawn with replacement, for both outputs at once (Bisani and Ney, ICASSP 2004),
and the interval lies between percentiles of the difference of the error rates. kaldialign draws
the same way but returns no interval of the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.evaluation.metrics import BOOTSTRAP_REPLICATIONS, count_errors, split_units
from keyframe_asr.text.forms import normaliser

_PERCENTILES = (2.5, 97.5)

_DRAWN_AT_ONCE = 2_000_000
"""Drawn utterances in memory at once."""

FEWEST_DIFFERING = 6
"""Utterances with more errors in one output than in the other that a difference needs to count. If
all of fewer favour the same output, chance does that in more than 5 % of cases (sign test); a
bootstrap of so few would show a difference."""


@dataclass(frozen=True)
class Comparison:
    """The error rates of outputs A and B on the same utterances, as fractions.

    Attributes:
        difference: error rate of B minus that of A; negative if B makes fewer errors.
        low: lower end of its 95 % interval.
        high: upper end.
        better: the output with fewer errors; None if no difference is shown.
    """

    difference: float
    low: float
    high: float
    better: Literal["a", "b"] | None

    def described(self, a: str = "A", b: str = "B") -> str:
        """Say which output is better and by how many points, or that no difference is shown."""
        low, high = 100 * self.low, 100 * self.high
        if self.better is None:
            return (
                f"no difference shown: {b} has {100 * self.difference:+.1f} points "
                f"({low:+.1f} to {high:+.1f})"
            )
        name, least, most = (b, -high, -low) if self.better == "b" else (a, low, high)
        return (
            f"{name} is better by {abs(100 * self.difference):.1f} points ({least:.1f}-{most:.1f})"
        )


def compare(
    references: Sequence[str],
    hypotheses_a: Sequence[str],
    hypotheses_b: Sequence[str],
    form: TextForm,
    seed: int = 0,
) -> Comparison:
    """Compare two outputs in the unit of a text form; all texts are brought into the form.

    Args:
        references: text of each utterance; one at least is not empty.
        hypotheses_a: of the same utterances, in the same order.
        hypotheses_b: likewise.
        form: the text form.
        seed: of the bootstrap.
    """
    normalise = normaliser(form)
    units, units_a, units_b = (
        [split_units(normalise(text), form) for text in texts]
        for texts in (references, hypotheses_a, hypotheses_b)
    )
    errors_a, errors_b = (
        [count_errors([one], [other]).total for one, other in zip(units, found, strict=True)]
        for found in (units_a, units_b)
    )
    return compare_errors(errors_a, errors_b, [len(one) for one in units], seed)


def compare_errors(
    errors_a: Sequence[int], errors_b: Sequence[int], lengths: Sequence[int], seed: int = 0
) -> Comparison:
    """Compare the errors (N,) of two outputs; `lengths` (N,) are those of the references.

    Raises:
        ValueError: the counts are not of the same utterances, or all references are empty.
    """
    more, sizes = _counts(errors_b) - _counts(errors_a), _counts(lengths)
    if more.shape != sizes.shape or not sizes.sum():
        raise ValueError(f"{more.shape} and {sizes.shape}: not the errors of the same utterances")
    rates = _resampled(more, sizes, np.random.default_rng(seed))
    low, high = map(float, np.percentile(rates, _PERCENTILES))
    shown = (low > 0 or high < 0) and np.count_nonzero(more) >= FEWEST_DIFFERING
    better: Literal["a", "b"] = "a" if low > 0 else "b"
    return Comparison(float(more.sum() / sizes.sum()), low, high, better if shown else None)


_Counts = np.ndarray[tuple[int], np.dtype[np.float64]]


def _counts(values: Sequence[int]) -> _Counts:
    return np.asarray(values, dtype=np.float64).reshape(len(values))


def _resampled(more: _Counts, sizes: _Counts, generator: np.random.Generator) -> _Counts:
    """Return the difference of the rates in each replication (R,)."""
    found: list[_Counts] = []
    count = max(1, min(BOOTSTRAP_REPLICATIONS, _DRAWN_AT_ONCE // sizes.size))
    for first in range(0, BOOTSTRAP_REPLICATIONS, count):
        rows = min(count, BOOTSTRAP_REPLICATIONS - first)
        drawn = generator.integers(sizes.size, size=(rows, sizes.size))
        found.append(more[drawn].sum(axis=1) / np.maximum(1.0, sizes[drawn].sum(axis=1)))
    return np.concatenate(found)
