"""What the trainings of each variant of a study came to: rates, differences, spread of seeds."""

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
"""What a model without keyframes is compared by: its greedy mode."""

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Spread:
    """How far variants that begin alike lie apart, beside trainings of one variant; in points."""

    variants: int
    seeds: int
    within: float
    """Standard deviation of a variant's trainings, without the shift that a seed gives all."""
    between: float
    """Standard deviation of the variants' means."""

    @property
    def by_chance(self) -> float:
        """What `between` would be if all variants were alike."""
        return float(self.within / self.seeds**0.5)


class TrainingResults:
    """Results by variant, of the variants and seeds that there are any of."""

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
        """What the others are compared with, None while it has not been trained."""
        return next((one for one in self.variants if one.name == self.definition.reference), None)

    @property
    def others(self) -> list[VariantConfig]:
        """What is compared with the reference."""
        return [one for one in self.variants if one != self.reference]

    @property
    def any_result(self) -> Result:
        """Of one of the trainings: all are measured on the same utterances."""
        return self._results[self.variants[0].name][0]

    @property
    def training_counts(self) -> list[int]:
        """How many trainings variants have had, each number once."""
        return sorted({len(self.trainings(one)) for one in self.variants})

    def trainings(self, variant: VariantConfig) -> Sequence[Result]:
        """Results of all trainings of a variant."""
        return self._results[variant.name]

    def greedy(self, variant: VariantConfig) -> str:
        """The decode mode by which a variant is compared."""
        return (
            ALL_FRAMES_MODE if self.trainings(variant)[0]["keeps_all"] else self.definition.compare
        )

    def modes(self, variant: VariantConfig) -> list[str]:
        """The decode modes that a variant was measured in."""
        return [mode for mode in DECODE_MODES if mode in self.trainings(variant)[0]["decode"]]

    def rates(self, variant: VariantConfig) -> list[float]:
        """The greedy error rate of each training, percent."""
        return [
            100 * run["decode"][self.greedy(variant)]["rate"] for run in self.trainings(variant)
        ]

    def rate(self, variant: VariantConfig, mode: str | None = None) -> tuple[float, float, float]:
        """Error rate over all trainings and its 95 % interval, fractions; greedy or in a mode."""
        mode = mode or self.greedy(variant)
        runs = self.trainings(variant)
        if len(runs) == 1:
            found = runs[0]["decode"][mode]
            return found["rate"], *found["ci95"]
        return rate_interval(self._errors(variant, mode), runs[0]["lengths"])

    def difference(self, variant: VariantConfig, mode: str | None = None) -> Difference:
        """Error rate of a variant less the reference's, greedy or in a decode mode.

        The bootstrap behind it runs once, however often it is asked for.
        """
        key = variant.name, mode or "greedy"
        if key not in self._differences:
            reference = self.reference
            assert reference is not None, "asked for a difference before there is a reference"
            errors, other = (
                self._errors(one, mode or self.greedy(one)) for one in (variant, reference)
            )
            self._differences[key] = difference(errors, other, self.any_result["lengths"])
        return self._differences[key]

    def _errors(self, variant: VariantConfig, mode: str) -> list[Sequence[int]]:
        return [run["decode"][mode]["errors"] for run in self.trainings(variant)]

    def spread(self) -> Spread | None:
        """Of variants that begin alike and were trained most often; None if too few are left."""
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
    """Of a measurement's name and its result."""
    return highest_seed([named[0]])
