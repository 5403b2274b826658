"""Report of a stress study: tables of its conditions, and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from research.definition import StressDefinition, SystemConfig
from research.presentation import NOISE, in_words, points, rate, table
from research.stress.picture import draw
from research.stress.results import Result, StressResults
from research.stress.study import CLEAN, Condition

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = {
    "clean": "as recorded",
    "noise": "noise, {:g} dB",
    "room": "room, RT60 {:g} s",
    "speed": "speed {:g}",
    "telephone": "telephone, 300-{:g} Hz",
    "clipping": "clipped {:g} dB below the peak",
}

ADDED = "*Added by stress*: the difference less that on the recordings as they are."

MOST_IN_SUMMARY = 2
"""The summary has a table by kind of stress for up to this many systems besides the first."""


class StressStudyReport:
    """Report of the conditions that every system was measured under."""

    def __init__(self, definition: StressDefinition, results: Mapping[str, Result]) -> None:
        self._results = StressResults(definition, results)

    @property
    def is_empty(self) -> bool:
        """True if no condition has been measured with every system yet."""
        return not self._results.conditions

    def markdown(self) -> list[str]:
        """Return the findings, then the tables."""
        if self.is_empty:
            return ["No condition has been measured with every system yet."]
        sentences = "\n".join([*self._overall(), *self._worst()])
        tables = [self._kinds(), self._conditions(), self._keyframes()]
        return [f"{self._measured()}. {NOISE} {ADDED}", sentences, *tables, self._incomplete()]

    def summary(self) -> str:
        """Compare the systems over all stresses, and by kind of stress."""
        if self.is_empty:
            return ""
        said = "\n".join([f"- {self._measured()}. {ADDED}", *self._overall()])
        if len(self._results.others) > MOST_IN_SUMMARY:
            return said
        return f"{said}\n\n{self._kinds()}".strip()

    def figure(self) -> Figure | None:
        """Draw error rate, differences and keyframes per token, one column per kind of stress."""
        return draw(self._results)

    def _measured(self) -> str:
        results = self._results
        any_one = results.trainings(results.reference, results.conditions[0])[0]
        said = (
            f"{any_one['utterances']} utterances ({any_one['audio_seconds'] / 60:.1f} minutes) of "
            f"`{results.definition.manifest}`; error in {any_one['unit']}"
        )
        counts = {name: len(seeds) for name, seeds in results.seeds.items()}
        if set(counts.values()) == {1}:
            trained = any(one.variant for one in results.definition.systems)
            return f"{said}; one training of each system" if trained else said
        if len(set(counts.values())) == 1:
            many = f"{counts[results.reference.name]} trainings of each system"
        else:
            many = "trainings: " + ", ".join(f"{name} {count}" for name, count in counts.items())
        return f"{said}; {many}, which the intervals take in; rates are their means"

    def _overall(self) -> list[str]:
        """Compare the systems over all stresses."""
        results, stressed = self._results, self._results.stressed
        if not stressed:
            return []
        rates = "; ".join(
            f"{one.name} {rate(*results.rate(one, stressed))} %"
            for one in results.definition.systems
        )
        return [
            f"- Over all {len(stressed)} stresses together {rates}.",
            *(f"- All together, {self._compared(one, stressed)}." for one in results.others),
        ]

    def _compared(self, system: SystemConfig, conditions: Sequence[Condition]) -> str:
        """Compare a system with the first one, and give the part of the difference from stress."""
        results = self._results
        said = in_words(results.difference(system, conditions), system.name, results.reference.name)
        if CLEAN not in results.conditions:
            return said
        return f"{said}; added by stress {points(results.added_by_stress(system, conditions))}"

    def _worst(self) -> list[str]:
        """Describe the level of each kind of stress at which the first system is worst."""
        results, lines = self._results, []
        for stress in results.definition.stresses:
            levels = results.of_kind(stress.kind)
            if not levels:
                continue
            worst = max(levels, key=lambda one: results.rate(results.reference, [one])[0])
            errors = ", ".join(
                f"{one.name} {100 * results.rate(one, [worst])[0]:.1f} %"
                for one in results.definition.systems
            )
            said = (
                f"- {stress.kind.capitalize()}, where {results.reference.name} is worst "
                f"({_named(worst)}): {errors}."
            )
            if CLEAN in results.conditions and results.dropping_frames:
                before, after = (
                    results.keyframes_per_token(results.dropping_frames[0], one)
                    for one in (CLEAN, worst)
                )
                said += f" Keyframes per token go from {before:.2f} to {after:.2f}."
            lines.append(said)
        return lines

    def _kinds(self) -> str:
        """Return a table of differences by kind of stress, over all levels."""
        results = self._results
        if CLEAN not in results.conditions or not results.stressed or not results.others:
            return ""
        header = ["stress (levels, together)"]
        for one in results.others:
            header += [f"{one.name}: difference", "added by stress"]
        rows = []
        for name, levels in [*results.groups.items(), ("all", results.stressed)]:
            cells = [f"{name} ({len(levels)})"]
            for one in results.others:
                found = (results.difference(one, levels), results.added_by_stress(one, levels))
                cells += [points(difference) for difference in found]
            rows.append(cells)
        return table(header, rows)

    def _conditions(self) -> str:
        """Return a table of error rates and differences from the first system."""
        results = self._results
        rows = []
        for condition in results.conditions:
            cells = [_named(condition), rate(*results.rate(results.reference, [condition]))]
            for one in results.others:
                value = 100 * results.rate(one, [condition])[0]
                cells.append(f"{value:.1f}, {points(results.difference(one, [condition]))}")
            rows.append(cells)
        header = ["condition", f"{results.reference.name}: error % (95 %)"]
        return table(header + [f"{one.name}: error %, difference" for one in results.others], rows)

    def _keyframes(self) -> str:
        results = self._results
        rows = [
            [
                _named(condition),
                *(
                    f"{results.keyframes_per_token(one, condition):.2f}"
                    for one in results.dropping_frames
                ),
            ]
            for condition in results.conditions
        ]
        names = [f"{one.name}: keyframes per token" for one in results.dropping_frames]
        return table(["condition", *names], rows) if names else ""

    def _incomplete(self) -> str:
        left_out = self._results.incomplete
        return f"Left out until others are measured: {'; '.join(left_out)}." if left_out else ""


def _named(condition: Condition) -> str:
    return LEVELS[condition[0]].format(condition[1])
