"""Report of a fine-tuning study: a table per group of cases, and a picture of error by minutes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keyframe_asr.inference.options import DECODE_MODES
from research.definition import FineTuningCaseConfig, FineTuningDefinition
from research.fine_tuning.picture import Point, draw
from research.fine_tuning.study import before_name
from research.presentation import rate, table
from research.significance import rate_interval
from research.training.study import highest_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result = dict[str, Any]


class FineTuningStudyReport:
    """Report of the cases and seeds that have been measured."""

    def __init__(self, definition: FineTuningDefinition, results: Mapping[str, Result]) -> None:
        self._definition, self._results = definition, results
        self._runs = {
            case.name: [
                result
                for name, result in sorted(results.items(), key=lambda one: highest_seed([one[0]]))
                if name.startswith(f"{case.name}, seed ")
            ]
            for case in definition.cases
        }

    @property
    def is_empty(self) -> bool:
        """True if no case has been measured yet."""
        return not self._cases

    def markdown(self) -> list[str]:
        """Return a table of errors and one of costs for each group."""
        if self.is_empty:
            return ["No case has been measured yet."]
        parts = [self._measured()]
        for group, cases in self._groups.items():
            parts += [f"## {group}", self._errors(cases), self._costs(cases)]
        return [*parts, self._missing()]

    def summary(self) -> str:
        """Return the table of errors for each group."""
        if self.is_empty:
            return ""
        tables = [f"**{group}**\n\n{self._errors(cases)}" for group, cases in self._groups.items()]
        return "\n\n".join([self._measured(), *tables, self._missing()]).strip()

    def figure(self) -> Figure | None:
        """Draw error by minutes of the first group with several amounts; None if there is none."""
        for group, cases in self._groups.items():
            drawn: dict[str, list[Point]] = {
                mode: [self._point(case, mode) for case in cases]
                for mode in DECODE_MODES
                if all(mode in run["decode"] for case in cases for run in self._runs[case.name])
            }
            if len({one.minutes for one in next(iter(drawn.values()))}) > 1:
                unit = self._runs[cases[0].name][0]["unit"]
                return draw(group, unit, drawn)
        return None

    @property
    def _cases(self) -> list[FineTuningCaseConfig]:
        return [case for case in self._definition.cases if self._runs[case.name]]

    @property
    def _groups(self) -> dict[str, list[FineTuningCaseConfig]]:
        groups: dict[str, list[FineTuningCaseConfig]] = {}
        for case in self._cases:
            groups.setdefault(case.group, []).append(case)
        return groups

    def _measured(self) -> str:
        counts = sorted({len(self._runs[case.name]) for case in self._cases})
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        return (
            f"Each row is the mean of {seeds} trainings with other seeds, which draw other "
            "recordings and train in another order; 95 % intervals are over utterances and "
            "trainings. *Minutes* include the recordings that fine-tuning holds out to choose "
            "epoch and decoding. *Default* is what `keyframe transcribe` does without options."
        )

    def _errors(self, cases: Sequence[FineTuningCaseConfig]) -> str:
        modes = [
            mode
            for mode in DECODE_MODES
            if all(mode in run["decode"] for case in cases for run in self._runs[case.name])
        ]
        unseen = any(any(run["seen"]) for case in cases for run in self._runs[case.name])
        header = ["training speech", "minutes", "default, % (95 %)", "per seed, %"]
        header += [f"`{mode}`, %" for mode in modes]
        header += ["texts not in training, default, %"] if unseen else []
        if forgets := any(self._forgetting(case) for case in cases):
            header.append("earlier speech, default: before, after, %")
        rows = []
        for case in self._befores(cases):
            result = self._results[before_name(case)]
            cells = [
                f"none (`{case.model.rpartition('/')[2] or case.model}`)",
                "0",
                rate(result["decode"][result["default"]]["rate"],
                     *result["decode"][result["default"]]["ci95"]),
                "",
                *(_percent(result["decode"][mode]["rate"]) for mode in modes),
            ]  # fmt: skip
            rows.append([*cells, *[""] * (unseen + forgets)])
        for case in cases:
            runs = self._runs[case.name]
            cells = [
                case.label,
                _mean(runs, lambda run: run["minutes"]),
                rate(*_default_rate(runs)),
                ", ".join(_percent(_rate_of(run)) for run in runs),
                *(_percent(_mode_rate(runs, mode)) for mode in modes),
            ]
            cells += [_unseen(runs)] if unseen else []
            cells += [self._forgetting(case)] if forgets else []
            rows.append(cells)
        return table(header, rows)

    def _costs(self, cases: Sequence[FineTuningCaseConfig]) -> str:
        header = ["training speech", "recordings", "held out", "CPU seconds", "seconds"]
        header += ["kept the start"]
        rows = []
        for case in cases:
            runs = self._runs[case.name]
            rows.append(
                [
                    case.label,
                    _mean(runs, lambda run: run["recordings"], 0),
                    _mean(runs, lambda run: run["recordings"] - run["report"]["recordings"], 0),
                    _mean(runs, lambda run: run["fine_tuning_cpu_seconds"], 0),
                    _mean(runs, lambda run: run["fine_tuning_seconds"], 0),
                    f"{sum(bool(run['report']['start_is_kept']) for run in runs)} of {len(runs)}",
                ]
            )
        return table(header, rows)

    def _befores(self, cases: Sequence[FineTuningCaseConfig]) -> list[FineTuningCaseConfig]:
        """The first case of each distinct measurement before."""
        known = {before_name(case): case for case in reversed(cases)}
        return [known[name] for name in reversed(known) if name in self._results]

    def _forgetting(self, case: FineTuningCaseConfig) -> str:
        for run in self._runs[case.name]:
            if found := run["forgetting"]:
                return (
                    f"{_percent(_rate_of(found['before']))}, {_percent(_rate_of(found['after']))}"
                )
        return ""

    def _point(self, case: FineTuningCaseConfig, mode: str) -> Point:
        runs = self._runs[case.name]
        minutes = statistics.fmean(run["minutes"] for run in runs)
        errors = [run["decode"][mode]["errors"] for run in runs]
        return Point(minutes, *rate_interval(errors, runs[0]["lengths"]))

    def _missing(self) -> str:
        missing = [case.label for case in self._definition.cases if not self._runs[case.name]]
        return f"Not measured yet: {', '.join(missing)}." if missing else ""


def _default_rate(runs: Sequence[Result]) -> tuple[float, float, float]:
    errors = [run["decode"][run["default"]]["errors"] for run in runs]
    return rate_interval(errors, runs[0]["lengths"])


def _rate_of(run: Result) -> float:
    found: float = run["decode"][run["default"]]["rate"]
    return found


def _mode_rate(runs: Sequence[Result], mode: str) -> float:
    return statistics.fmean(run["decode"][mode]["rate"] for run in runs)


def _unseen(runs: Sequence[Result]) -> str:
    """Error on the test texts that stand in no training text, and how many others there are."""
    rates, seen = [], []
    for run in runs:
        kept = [place for place, known in enumerate(run["seen"]) if not known]
        errors, lengths = run["decode"][run["default"]]["errors"], run["lengths"]
        rates.append(sum(errors[one] for one in kept) / sum(lengths[one] for one in kept))
        seen.append(sum(run["seen"]))
    return f"{_percent(statistics.fmean(rates))} ({statistics.fmean(seen):.0f} left out)"


def _mean(runs: Sequence[Result], of: Callable[[Result], float], digits: int = 1) -> str:
    return f"{statistics.fmean(of(run) for run in runs):.{digits}f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
