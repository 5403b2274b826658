"""Results of a stress study: error rates, differences, keyframes per token."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from research.definition import StressDefinition, StressName, SystemConfig
from research.significance import Difference, difference, rate_interval
from research.stress.study import CLEAN, Condition, conditions_of, measurement_name
from research.training.study import FIRST_SEED, highest_seed

Result = Mapping[str, Any]


class StressResults:
    """Results of the conditions that every system was measured under.

    Attributes:
        reference: the first system of the study, which the others are compared with.
        conditions: the conditions with results, the clean one first.
        stressed: the same without the clean one.
        seeds: seeds of each system, by name, that were measured under all conditions.
    """

    def __init__(self, definition: StressDefinition, results: Mapping[str, Result]) -> None:
        self.definition, self._results = definition, results
        self.reference, *self.others = definition.systems
        self.conditions = [
            condition
            for condition in conditions_of(definition)
            if all(
                measurement_name(one, condition, FIRST_SEED) in results
                for one in definition.systems
            )
        ]
        self.stressed = [one for one in self.conditions if one != CLEAN]
        self.seeds = {one.name: self._measured_seeds(one) for one in definition.systems}

    def _measured_seeds(self, system: SystemConfig) -> list[int]:
        seeds: list[int] = []
        while self.conditions and not (seeds and system.variant is None):
            seed = FIRST_SEED + len(seeds)
            names = [measurement_name(system, one, seed) for one in self.conditions]
            if not all(name in self._results for name in names):
                break
            seeds.append(seed)
        return seeds

    @property
    def incomplete(self) -> list[str]:
        """Names of measurements that are left out until the missing ones are made."""
        asked = {
            measurement_name(system, condition, seed)
            for system in self.definition.systems
            for condition in conditions_of(self.definition)
            for seed in range(FIRST_SEED, highest_seed(self._results) + 1)
        }
        used = {
            measurement_name(system, condition, seed)
            for system in self.definition.systems
            for condition in self.conditions
            for seed in self.seeds[system.name]
        }
        return [name for name in self._results if name in asked - used]

    def of_kind(self, kind: StressName) -> list[Condition]:
        """Return the conditions of a kind of stress."""
        return [one for one in self.stressed if one[0] == kind]

    @property
    def groups(self) -> dict[str, list[Condition]]:
        """Conditions by kind of stress; slow and fast speech are separate groups."""
        found: dict[str, list[Condition]] = {}
        for kind, level in self.stressed:
            name = ("slow speech" if level < 1 else "fast speech") if kind == "speed" else kind
            found.setdefault(name, []).append((kind, level))
        return found

    def trainings(self, system: SystemConfig, condition: Condition) -> list[Result]:
        """Return the results of all trainings of a system under a condition."""
        names = [measurement_name(system, condition, seed) for seed in self.seeds[system.name]]
        return [self._results[name] for name in names]

    def rate(
        self, system: SystemConfig, conditions: Sequence[Condition]
    ) -> tuple[float, float, float]:
        """Return the error rate (fraction) over trainings and conditions, and its 95 % interval."""
        results = self.trainings(system, conditions[0])
        if len(conditions) == 1 and len(results) == 1:
            found = results[0]["decode"][system.decode]
            return found["rate"], *found["ci95"]
        return rate_interval(self._errors(system, conditions), self._lengths(conditions))

    def difference(self, system: SystemConfig, conditions: Sequence[Condition]) -> Difference:
        """Return the error rate of a system minus that of the reference."""
        errors, reference = (self._errors(one, conditions) for one in (system, self.reference))
        return difference(errors, reference, self._lengths(conditions))

    def added_by_stress(self, system: SystemConfig, conditions: Sequence[Condition]) -> Difference:
        """Return the increase of a system's error rate by stress, minus the reference's increase.

        It shows whether a system is more fragile; `difference` shows whether it is worse.
        """
        errors, reference = (
            self._beyond_clean(one, conditions) for one in (system, self.reference)
        )
        return difference(errors, reference, self._lengths(conditions))

    def keyframes_per_token(self, system: SystemConfig, condition: Condition) -> float:
        """Return the number of keyframes divided by the number of tokens."""
        results = self.trainings(system, condition)
        return statistics.fmean(one["keyframes"] / max(1, one["tokens"]) for one in results)

    @property
    def dropping_frames(self) -> list[SystemConfig]:
        """Systems that drop frames, without those that drop the same frames as an earlier one."""
        found: dict[tuple[str | float | None, ...], SystemConfig] = {}
        for system in self.definition.systems:
            result = self.trainings(system, self.conditions[0])[0]
            if result["keyframes"] < result["frames"]:
                found.setdefault((system.model, system.variant, system.blank_threshold), system)
        return list(found.values())

    def _errors(self, system: SystemConfig, conditions: Sequence[Condition]) -> list[list[int]]:
        """Return the errors of each training on each utterance, summed over conditions."""
        every = [
            [one["decode"][system.decode]["errors"] for one in self.trainings(system, condition)]
            for condition in conditions
        ]
        return [
            [sum(counts) for counts in zip(*of_training, strict=True)]
            for of_training in zip(*every, strict=True)
        ]

    def _beyond_clean(
        self, system: SystemConfig, conditions: Sequence[Condition]
    ) -> list[list[int]]:
        """Return the errors of each training on each utterance minus those without stress."""
        both = (self._errors(system, conditions), self._errors(system, [CLEAN]))
        return [
            [one - len(conditions) * clean for one, clean in zip(*of_training, strict=True)]
            for of_training in zip(*both, strict=True)
        ]

    def _lengths(self, conditions: Sequence[Condition]) -> list[int]:
        lengths = self.trainings(self.reference, conditions[0])[0]["lengths"]
        return [len(conditions) * length for length in lengths]
