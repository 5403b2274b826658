"""What a stress study found: a table, a picture, sentences."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keyframe_asr.evaluation.significance import Difference, difference, rate_interval
from keyframe_asr.evaluation.studies.definition import StressStudy, SystemConfig
from keyframe_asr.evaluation.studies.figures import COLOURS, MARKERS, new_figure, plain
from keyframe_asr.evaluation.studies.markdown import NOISE, in_words, points, rate, table
from keyframe_asr.evaluation.studies.stress import CLEAN, Condition, part_name
from keyframe_asr.evaluation.studies.training import FIRST_SEED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = {
    "clean": "as recorded",
    "noise": "noise, {:g} dB",
    "room": "room, RT60 {:g} s",
    "speed": "speed {:g}",
    "telephone": "telephone, 300-{:g} Hz",
    "clipping": "clipped {:g} dB below the peak",
}
AXES = {
    "noise": "signal to noise, dB",
    "room": "decay time, s",
    "speed": "times as fast",
    "telephone": "highest hertz",
    "clipping": "dB below the peak",
}
UNSTRESSED = {"noise": 30.0, "room": 0.0, "speed": 1.0, "telephone": 8000.0, "clipping": 0.0}
"""Where a picture shows the clean recordings."""

Results = Mapping[str, Mapping[str, Any]]


class StressReport:
    """Of the results that there are: a system or condition without any is left out."""

    def __init__(self, study: StressStudy, results: Results) -> None:
        self._study, self._results = study, results
        every = [CLEAN] + [(one.kind, level) for one in study.stresses for level in one.levels]
        self._conditions = [
            condition
            for condition in every
            if all(part_name(one, condition, FIRST_SEED) in results for one in study.systems)
        ]
        self._seeds = {one.name: self._measured_seeds(one) for one in study.systems}

    def markdown(self) -> list[str]:
        """Sentences, then the table."""
        if not self._conditions:
            return ["No condition has been measured with every system yet."]
        return [f"{self._measured()}. {NOISE}", self._sentences(), self._table()]

    def summary(self) -> str:
        """How the systems compare over all stresses."""
        if not self._conditions:
            return ""
        return "\n".join([f"- {self._measured()}.", *self._overall()])

    def figure(self) -> Figure | None:
        """Error above, keyframes per token below, one column a kind of stress."""
        kinds = [
            stress.kind
            for stress in self._study.stresses
            if any(kind == stress.kind for kind, _ in self._conditions)
        ]
        if CLEAN not in self._conditions or not kinds:
            return None
        figure = new_figure(2.5 * len(kinds) + 0.6, 5.6)
        axes = figure.subplots(2, len(kinds), squeeze=False, sharey="row")
        for column, kind in enumerate(kinds):
            self._draw(axes[0][column], axes[1][column], kind)
        axes[0][0].set_ylabel("error, % (95 %)", size=9)
        axes[1][0].set_ylabel("keyframes per token", size=9)
        axes[0][0].set_ylim(bottom=0)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=9, frameon=False)
        return figure

    def _measured_seeds(self, system: SystemConfig) -> list[int]:
        """Those that were measured under all conditions; models that were named have one."""
        most = [FIRST_SEED] if system.variant is None else itertools.count(FIRST_SEED)
        return list(
            itertools.takewhile(
                lambda seed: (
                    self._conditions
                    and all(
                        part_name(system, one, seed) in self._results for one in self._conditions
                    )
                ),
                most,
            )
        )

    def _measured(self) -> str:
        first = self._all(self._study.systems[0], self._conditions[0])[0]
        said = (
            f"{first['utterances']} utterances ({first['audio_seconds'] / 60:.1f} minutes) of "
            f"`{self._study.manifest}`; error in {first['unit']}"
        )
        trained = {len(self._seeds[one.name]) for one in self._study.systems if one.variant}
        if not trained:
            return said
        span = "-".join(str(one) for one in sorted({min(trained), max(trained)}))
        many = f"{span} trainings" if trained != {1} else "one training"
        return f"{said}; {many} of each system, whose mean is given"

    def _table(self) -> str:
        """Errors with the difference from the first system beside them, then keyframes."""
        first, *others = self._study.systems
        errors = []
        for condition in self._conditions:
            cells = [_named(condition), rate(*self._rate(first, [condition]))]
            for one in others:
                value = 100 * self._rate(one, [condition])[0]
                cells.append(f"{value:.1f}, {points(self._minus(one, [condition]))}")
            errors.append(cells)
        header = ["condition", f"{first.name}: error % (95 %)"]
        header += [f"{one.name}: error %, difference" for one in others]
        selecting = [one for one in _selecting(self._study.systems) if self._keeps_fewer(one)]
        kept = [
            [_named(condition), *(f"{self._per_token(one, condition):.2f}" for one in selecting)]
            for condition in self._conditions
        ]
        names = [f"{one.name}: keyframes per token" for one in selecting]
        return table(header, errors) + "\n\n" + table(["condition", *names], kept)

    def _overall(self) -> list[str]:
        """Over all stresses together."""
        first, *others = self._study.systems
        stressed = [one for one in self._conditions if one != CLEAN]
        if not stressed:
            return []
        rates = "; ".join(
            f"{one.name} {rate(*self._rate(one, stressed))} %" for one in self._study.systems
        )
        found = [in_words(self._minus(one, stressed), one.name, first.name) for one in others]
        return [
            f"- Over all {len(stressed)} stresses together {rates}.",
            *(f"- All together, {one}." for one in found),
        ]

    def _sentences(self) -> str:
        stressed = [one for one in self._conditions if one != CLEAN]
        lines = self._overall()
        for stress in self._study.stresses:
            of_kind = [one for one in stressed if one[0] == stress.kind]
            if of_kind:
                lines.append(f"- {self._of_kind(stress.kind, of_kind)}")
        return "\n".join(lines)

    def _of_kind(self, kind: str, conditions: Sequence[Condition]) -> str:
        first, *others = self._study.systems
        worst = max(conditions, key=lambda one: self._rate(first, [one])[0])
        errors = ", ".join(
            f"{one.name} {100 * self._rate(one, [worst])[0]:.1f} %" for one in self._study.systems
        )
        said = f"{kind.capitalize()}, where {first.name} is worst ({_named(worst)}): {errors}"
        differences = "; ".join(
            in_words(self._minus(one, conditions), one.name, first.name) for one in others
        )
        if differences:
            said += (
                f". Over its {len(conditions)} level{'s' * (len(conditions) > 1)}: {differences}"
            )
        said += "."
        selecting = [one for one in _selecting(self._study.systems) if self._keeps_fewer(one)]
        for one in selecting[:1]:
            if CLEAN in self._conditions:
                before, after = (self._per_token(one, condition) for condition in (CLEAN, worst))
                said += f" Keyframes per token go from {before:.2f} to {after:.2f}."
        return said

    def _draw(self, errors: Axes, rates: Axes, kind: str) -> None:
        levels = sorted(level for one, level in self._conditions if one == kind)
        clean = UNSTRESSED[kind]
        places = {level: level for level in levels} | {clean: clean}
        for number, system in enumerate(self._study.systems):
            colour = COLOURS[number % len(COLOURS)]
            line = f"{MARKERS[number % len(MARKERS)]}-"
            x = sorted(places)
            conditions = [CLEAN if level == clean else (kind, level) for level in x]
            found = [[100 * part for part in self._rate(system, [one])] for one in conditions]
            value, low, high = zip(*found, strict=True)
            errors.plot(x, value, line, color=colour, markersize=4, label=system.name)
            errors.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
            if self._keeps_fewer(system) and system in _selecting(self._study.systems):
                kept = [self._per_token(system, one) for one in conditions]
                rates.plot(x, kept, line, color=colour, markersize=4)
        plain(errors, kind)
        plain(rates, "", AXES[kind])
        for axes in (errors, rates):
            axes.set_xticks(sorted(places))
            axes.set_xticklabels(
                ["clean" if x == clean and kind != "speed" else f"{x:g}" for x in sorted(places)]
            )
            if kind in ("noise", "telephone"):
                axes.invert_xaxis()

    def _all(self, system: SystemConfig, condition: Condition) -> list[Mapping[str, Any]]:
        """Results of all trainings of a system."""
        names = [part_name(system, condition, seed) for seed in self._seeds[system.name]]
        return [self._results[name] for name in names]

    def _errors(self, system: SystemConfig, conditions: Sequence[Condition]) -> list[list[int]]:
        """Of each training and utterance, added up over conditions."""
        every = [
            [run["decode"][system.decode]["errors"] for run in self._all(system, condition)]
            for condition in conditions
        ]
        return [
            [sum(counts) for counts in zip(*of_training, strict=True)]
            for of_training in zip(*every, strict=True)
        ]

    def _lengths(self, conditions: Sequence[Condition]) -> list[int]:
        lengths = self._all(self._study.systems[0], conditions[0])[0]["lengths"]
        return [len(conditions) * length for length in lengths]

    def _rate(
        self, system: SystemConfig, conditions: Sequence[Condition]
    ) -> tuple[float, float, float]:
        runs = self._all(system, conditions[0])
        if len(conditions) == 1 and len(runs) == 1:
            found = runs[0]["decode"][system.decode]
            return found["rate"], *found["ci95"]
        return rate_interval(self._errors(system, conditions), self._lengths(conditions))

    def _minus(self, system: SystemConfig, conditions: Sequence[Condition]) -> Difference:
        first = self._study.systems[0]
        errors, reference = (self._errors(one, conditions) for one in (system, first))
        return difference(errors, reference, self._lengths(conditions))

    def _per_token(self, system: SystemConfig, condition: Condition) -> float:
        runs = self._all(system, condition)
        return statistics.fmean(run["keyframes"] / max(1, run["tokens"]) for run in runs)

    def _keeps_fewer(self, system: SystemConfig) -> bool:
        found = self._all(system, self._conditions[0])[0]
        return bool(found["keyframes"] < found["frames"])


def _selecting(systems: Sequence[SystemConfig]) -> list[SystemConfig]:
    """Without those that select the same keyframes as one before them."""
    found: dict[tuple[str | float | None, ...], SystemConfig] = {}
    for system in systems:
        found.setdefault((system.model, system.variant, system.blank_threshold), system)
    return list(found.values())


def _named(condition: Condition) -> str:
    return LEVELS[condition[0]].format(condition[1])
