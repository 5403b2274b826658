"""Report of a latency study: tables, a picture, sentences."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from research.definition import LatencyDefinition, VariantConfig
from research.latency.streams import HEADS
from research.presentation import (
    COLOURS,
    GREY,
    INK,
    MARKERS,
    NOISE,
    new_figure,
    plain,
    points,
    rate,
    table,
)
from research.significance import Difference, difference, rate_interval
from research.training.study import measurement_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Size = tuple[int, int]
"""Encoder frames of a chunk, and of the look-ahead after it."""

WHOLE: Size = (0, 0)
"""The whole recording."""

Results = Mapping[str, Mapping[str, Any]]


class LatencyStudyReport:
    """Report of the variants and seeds that have been measured."""

    def __init__(self, definition: LatencyDefinition, results: Results) -> None:
        self._definition = definition
        self._runs = {
            variant.name: [
                result
                for name, result in sorted(results.items())
                if name.startswith(measurement_name(variant.name, 0)[:-1])  # of any seed
            ]
            for variant in definition.variants
        }
        self._variants = [one for one in definition.variants if self._runs[one.name]]
        self._minus_whole = functools.cache(self._difference_from_whole)

    @property
    def is_empty(self) -> bool:
        """True if no variant has been measured yet."""
        return not self._variants

    def markdown(self) -> list[str]:
        """Return the setting, findings and tables."""
        if self.is_empty:
            return ["No variant has been trained yet."]
        return [
            self._done(),
            self._ahead(),
            self._waits(),
            "## Errors\n\n" + self._errors_table(),
            "## Latency\n\n" + self._latency_table(),
            self._missing(),
        ]

    def summary(self) -> str:
        """Return what chunks of the usual size cost, and what dropping frames adds."""
        if self.is_empty:
            return ""
        size = (self._definition.chunk, 0)
        header = ["variant", "whole recordings, %", f"chunks of {self._name(size)}, %", "points"]
        header += ["median latency, ms", "90 % within, ms", "waits for keyframes, ms"]
        rows = [
            [
                one.label,
                rate(*self._rate(one, WHOLE)),
                rate(*self._rate(one, size)),
                points(self._minus_whole(one.name, size)),
                *(f"{self._latency(one, size, name):.0f}" for name in ("median", "p90")),
                f"{sum(self._wait(one, size)):.0f}",
            ]
            for one in self._variants
        ]
        parts = [table(header, rows), self._ahead(), self._done(), self._waits(), self._missing()]
        return "\n\n".join(filter(None, parts))

    def figure(self) -> Figure | None:
        """Draw error against latency, and what keyframes wait for, by the size of chunks."""
        if self.is_empty:
            return None
        figure = new_figure(11.0, 5.0)
        errors, waits = figure.subplots(1, 2, width_ratios=(1.5, 1))
        sizes, plain_ones = self._definition.sizes, len(self._chunks)
        for number, one in enumerate(self._variants):
            look: dict[str, Any] = {
                "color": COLOURS[number % len(COLOURS)],
                "marker": MARKERS[number % len(MARKERS)],
                "markersize": 4,
                "linewidth": 1.2,
            }
            self._draw_errors(errors, one, look, number)
            if not self._first(one)["keeps_all"]:
                totals = [sum(self._wait(one, size)) for size in sizes]
                waits.plot(range(plain_ones), totals[:plain_ones], **look)
                waits.plot(range(plain_ones, len(sizes)), totals[plain_ones:], **look)
        names = [f"{c * self._frame:g}" + f" + {a * self._frame:g}" * (a > 0) for c, a in sizes]
        waits.set_xticks(range(len(names)), names, rotation=45, ha="right")
        head = "errors, greedy, %; bar: 95 %"
        plain(errors, "Error and latency", "median latency of a token, ms", head)
        plain(waits, "What keyframes add to latency", "chunk + look-ahead, ms", "ms, mean")
        figure.legend(
            *errors.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
        )
        return figure

    def _draw_errors(
        self, axes: Axes, variant: VariantConfig, look: dict[str, Any], number: int
    ) -> None:
        sizes = self._chunks
        x = [self._latency(variant, size, "median") for size in sizes]
        rates = [[100 * part for part in self._rate(variant, size)] for size in sizes]
        for place, (_, low, high) in zip(x, rates, strict=True):
            axes.plot([place, place], [low, high], color=look["color"], linewidth=0.6, alpha=0.5)
        axes.plot(x, [value for value, _, _ in rates], label=variant.label, **look)
        value = 100 * self._rate(variant, WHOLE)[0]
        right = 1.1 * max(self._latency(self._variants[0], size, "median") for size in sizes)
        axes.plot([right + 20 * number], [value], **look)
        if number == 0:
            seen = [
                (self._definition.chunk, frames) for frames in (0, *self._definition.look_ahead)
            ]
            axes.plot(
                [self._latency(variant, size, "median") for size in seen],
                [100 * self._rate(variant, size)[0] for size in seen],
                label=f"{variant.label}, look-ahead",
                **(look | {"linestyle": ":"}),
            )
            about: dict[str, Any] = {"textcoords": "offset points", "size": 7.5, "color": INK}
            for place, size, (_, _, high) in zip(x, sizes, rates, strict=True):
                axes.annotate(self._name(size), (place, high), (0, 4), ha="center", **about)
            axes.axvline(right - 40, color=GREY, linewidth=0.8)
            axes.annotate("whole", (right, value), (0, 40), **about)

    def _done(self) -> str:
        definition, first = self._definition, self._first(self._variants[0])
        most = max(len(self._runs[one.name]) for one in self._variants)
        trainings = "one training" if most == 1 else f"up to {most} trainings"
        start = definition.start.initial if definition.start is not None else None
        begun = f"`{start}`" if start is not None else "random weights"
        return (
            f"`{definition.recipe}`, {trainings} of each variant from {begun}; "
            f"{len(first['lengths'])} utterances of the {definition.split} part with "
            f"{sum(first['lengths']):,} {first['unit']}, errors of the length head (all frames: "
            "CTC of encoder 2), greedy. Latency of a correct token: from the end of its sound to "
            "the end of the step in which it is certain; computing on one thread is included. "
            f"{NOISE}"
        )

    def _ahead(self) -> str:
        """Say what look-ahead gains the first variant."""
        one = self._variants[0]
        found = [
            f"{frames * self._frame:g} ms, {rate(*self._rate(one, (chunk, frames)))} % and "
            f"{self._latency(one, (chunk, frames), 'median'):.0f} ms"
            for chunk, frames in self._definition.sizes
            if frames
        ]
        name = self._name((self._definition.chunk, 0))
        told = f"Errors and median latency of {one.label}, with look-ahead after chunks of {name}: "
        return f"{told}{'; '.join(found)}." if found else ""

    def _waits(self) -> str:
        """Say what dropping frames adds to latency."""
        sizes = self._definition.sizes
        named = {one.name: one for one in self._variants}
        reference = named.get(self._definition.reference)
        lines = []
        for one in self._variants:
            if self._first(one)["keeps_all"]:
                continue
            parts = []
            for size in dict.fromkeys((sizes[0], (self._definition.chunk, 0), sizes[-1])):
                run, fusion = self._wait(one, size)
                part = f"{run + fusion:.0f} ms with {self._name(size)}"
                if reference is not None:
                    medians = [self._latency(which, size, "median") for which in (one, reference)]
                    part += f" (medians: {medians[0] - medians[1]:+.0f} ms)"
                parts.append(part)
            lines.append(f"- {one.label}: {'; '.join(parts)}.")
        told = (
            "What keyframes wait for, on average, where a CTC with the same chunks commits a token "
            "with the first frame of its run"
        )
        if reference is not None:
            told += f"; in brackets, median latency minus that of {reference.label}"
        return "\n".join([f"{told}:", "", *lines]) if lines else ""

    def _errors_table(self) -> str:
        header = ["variant", "chunk", "look-ahead: mean", "largest", "length head, % (95 %)"]
        header += ["minus whole", "inter-CTC, % (95 %)", "minus whole"]
        rows = []
        for one in self._variants:
            for size in (WHOLE, *self._definition.sizes):
                chunk, ahead = size
                sees = [self._frame * part for part in ((chunk - 1) / 2 + ahead, chunk - 1 + ahead)]
                row = [one.label, self._name(size)]
                row += [f"{part:.0f} ms" for part in sees] if size != WHOLE else ["all", "all"]
                for head in HEADS:
                    row.append(rate(*self._rate(one, size, head)))
                    minus = points(self._minus_whole(one.name, size, head)) if size != WHOLE else ""
                    row.append(minus)
                rows.append(row)
        return table(header, rows)

    def _latency_table(self) -> str:
        names = ("mean", "median", "p90", "p99", "first", "last")
        header = ["variant", "chunk", "mean", "median", "90 % within", "99 % within"]
        header += ["first token", "last token", "inter-CTC: median", "90 % within"]
        header += ["waits for the run", "for fusion", "computing a chunk"]
        header += ["frames of a run", "runs that start with a chunk"]
        rows = []
        for one in self._variants:
            for size in self._definition.sizes:
                row = [one.label, self._name(size)]
                row += [f"{self._latency(one, size, name):.0f}" for name in names]
                row += [f"{self._latency(one, size, name, 'inter'):.0f}" for name in names[1:3]]
                dropped = not self._first(one)["keeps_all"]
                row += [f"{part:.0f}" for part in self._wait(one, size)] if dropped else ["", ""]
                runs = self._at(one.name, size)
                row.append(f"{_mean(runs, 'step_ms'):.1f}")
                row.append(f"{_mean(runs, 'run_frames'):.2f}")
                row.append(f"{_mean(runs, 'at_start'):.0%}")
                rows.append(row)
        explained = (
            "Milliseconds. First token: median time from the start of an utterance's speech to its "
            "first token; last token: from the end of its speech to its last token."
        )
        return f"{table(header, rows)}\n\n{explained}"

    def _missing(self) -> str:
        missing = [one.label for one in self._definition.variants if one not in self._variants]
        return f"Not trained with this setting yet: {', '.join(missing)}." if missing else ""

    @property
    def _frame(self) -> float:
        """Milliseconds of an encoder frame."""
        return float(self._first(self._variants[0])["frame_ms"])

    @property
    def _chunks(self) -> list[Size]:
        """Sizes without look-ahead."""
        return [(chunk, 0) for chunk in self._definition.chunks]

    def _name(self, size: Size) -> str:
        if size == WHOLE:
            return "whole recording"
        name, ahead = (f"{frames * self._frame:g} ms" for frames in size)
        return f"{name} + {ahead} ahead" if size[1] else name

    def _at(self, name: str, size: Size) -> list[Mapping[str, Any]]:
        """Results of each training of a variant with one size of chunks."""
        if size == WHOLE:
            return [run["whole"] for run in self._runs[name]]
        return [run["sizes"][f"{size[0]}+{size[1]}"] for run in self._runs[name]]

    def _first(self, variant: VariantConfig) -> Mapping[str, Any]:
        return self._runs[variant.name][0]

    def _errors(self, name: str, size: Size, head: str) -> list[list[int]]:
        """Errors of each training on each utterance."""
        return [run[head]["errors"] for run in self._at(name, size)]

    def _rate(self, variant: VariantConfig, size: Size, head: str = "head") -> tuple[float, ...]:
        return rate_interval(
            self._errors(variant.name, size, head), self._first(variant)["lengths"]
        )

    def _difference_from_whole(self, name: str, size: Size, head: str = "head") -> Difference:
        errors = [self._errors(name, one, head) for one in (size, WHOLE)]
        return difference(errors[0], errors[1], self._runs[name][0]["lengths"])

    def _latency(self, variant: VariantConfig, size: Size, name: str, head: str = "head") -> float:
        return _mean([run[head] for run in self._at(variant.name, size)], name)

    def _wait(self, variant: VariantConfig, size: Size) -> tuple[float, float]:
        """Milliseconds for the end of a run, and for fusion; 0 if all frames are kept."""
        waits = [run["wait"] for run in self._at(variant.name, size)]
        return _mean(waits, "run"), _mean(waits, "fusion")


def _mean(of: list[Mapping[str, float]], name: str) -> float:
    """Return the mean over trainings; NaN if one has no correct token."""
    return statistics.fmean(one.get(name, math.nan) for one in of)
