"""Results of a training study: error rates, differences, and spread of seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keyframe_asr.inference.options import DECODE_MODES
from research.definition import TrainingDefinition, VariantConfig
from research.significance import Difference, difference, rate_interval
from research.training.study import highest_seed, measurement_name

ALL_FRAMES_MODE = "ctc"
"""The greedy mode of a model without keyframes, in which it is compared if it has no other."""

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Spread:
    """Spread of variants with the same start, and of trainings of one variant, in points."""

    variants: int
    seeds: int
    within: float
    """Standard deviation of a variant's trainings, without the shift that a seed gives to all."""
    between: float
    """Standard deviation of the variants' means."""

    @property
    def by_chance(self) -> float:
        """The expected value of `between` if all variants were equal."""
        return float(self.within / self.seeds**0.5)


class TrainingResults:
    """Results by variant, of the variants and seeds that have been measured."""

    def __init__(self, definition: TrainingDefinition, results: Mapping[str, Result]) -> None:
        self.definition = definition
        self._results = {
            variant.name: [
                result
                for name, result in sorted(results.items(), key=_seed)
                if name.startswith(measurement_name(variant.name, 0)[:-1])  # of any seed
            ]
            for variant in definition.variants
        }
        self.variants = [one for one in definition.variants if self._results[one.name]]
        self.missing = [one for one in definition.variants if not self._results[one.name]]
        self._differences: dict[tuple[str, str], Difference] = {}

    @cached_property
    def reference(self) -> VariantConfig | None:
        """The variant that others are compared with, or None if it is not trained yet."""
        return next((one for one in self.variants if one.name == self.definition.reference), None)

    @property
    def others(self) -> list[VariantConfig]:
        """The variants that are compared with the reference."""
        return [one for one in self.variants if one != self.reference]

    @property
    def any_result(self) -> Result:
        """Result of one training; all are measured on the same utterances."""
        return self._results[self.variants[0].name][0]

    @property
    def training_counts(self) -> list[int]:
        """The distinct numbers of trainings per variant."""
        return sorted({len(self.trainings(one)) for one in self.variants})

    def trainings(self, variant: VariantConfig) -> Sequence[Result]:
        """Return the results of all trainings of a variant."""
        return self._results[variant.name]

    def greedy(self, variant: VariantConfig) -> str:
        """Return the decode mode in which a variant is compared."""
        compare = self.definition.compare
        return compare if compare in self.modes(variant) else ALL_FRAMES_MODE

    def modes(self, variant: VariantConfig) -> list[str]:
        """Return the decode modes in which a variant was measured."""
        return [mode for mode in DECODE_MODES if mode in self.trainings(variant)[0]["decode"]]

    def rates(self, variant: VariantConfig) -> list[float]:
        """Return the greedy error rate of each training, in percent."""
        return [
            100 * run["decode"][self.greedy(variant)]["rate"] for run in self.trainings(variant)
        ]

    def rate(self, variant: VariantConfig, mode: str | None = None) -> tuple[float, float, float]:
        """Return the error rate (fraction) over all trainings and its 95 % interval."""
        mode = mode or self.greedy(variant)
        runs = self.trainings(variant)
        if len(runs) == 1:
            found = runs[0]["decode"][mode]
            return found["rate"], *found["ci95"]
        return rate_interval(self._errors(variant, mode), runs[0]["lengths"])

    def difference(self, variant: VariantConfig, mode: str | None = None) -> Difference:
        """Return the error rate of a variant minus the reference's, greedy or in a decode mode.

        The result of the bootstrap is cached.
        """
        key = variant.name, mode or "greedy"
        if key not in self._differences:
            reference = self.reference
            assert reference is not None, "difference needs a trained reference"
            errors, other = (
                self._errors(one, mode or self.greedy(one)) for one in (variant, reference)
            )
            self._differences[key] = difference(errors, other, self.any_result["lengths"])
        return self._differences[key]

    def _errors(self, variant: VariantConfig, mode: str) -> list[Sequence[int]]:
        return [run["decode"][mode]["errors"] for run in self.trainings(variant)]

    def spread(self) -> Spread | None:
        """Return the spread of variants with the same start and most trainings; None if too few."""
        most = self.training_counts[-1]
        rows = [
            self.rates(one)
            for one in self.variants
            if len(self.trainings(one)) == most and one.begins_alike
        ]
        if most < 2 or len(rows) < 3:
            return None
        means = [statistics.fmean(row) for row in rows]
        shifts = [statistics.fmean(seed) for seed in zip(*rows, strict=True)]
        middle = statistics.fmean(means)
        left = [
            rate - mean - shift + middle
            for row, mean in zip(rows, means, strict=True)
            for rate, shift in zip(row, shifts, strict=True)
        ]
        within = (sum(one**2 for one in left) / ((len(rows) - 1) * (most - 1))) ** 0.5
        return Spread(len(rows), most, within, statistics.stdev(means))


def _seed(named: tuple[str, Result]) -> int:
    """Return the seed in a measurement's name."""
    return highest_seed([named[0]])
