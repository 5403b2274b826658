"""Report of a cost study: fractions of a step, curves against length, sentences."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from research.cost.study import LENGTH, STEP
from research.cost.training_step import PIECES
from research.definition import CostDefinition
from research.presentation import COLOURS, GREY, new_figure, plain, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SYSTEMS = ("all frames", "keyframes")
BUSY = 1.5
"""A load above this means that other work ran on the machine."""

Results = Mapping[str, Mapping[str, Any]]


class CostStudyReport:
    """Report of the results so far, those of the CPU first."""

    def __init__(self, definition: CostDefinition, results: Results) -> None:
        self._definition = definition
        self._steps, self._lengths = (
            {name: one for name, one in results.items() if name.startswith(f"{kind}, ")}
            for kind in (STEP, LENGTH)
        )

    @property
    def is_empty(self) -> bool:
        """True if nothing has been measured yet."""
        return not self._steps and not self._lengths

    def markdown(self) -> list[str]:
        """Return findings and tables for each device."""
        definition = self._definition
        found = [
            f"The network of `{definition.recipe}` with random weights, "
            f"vocabulary {definition.vocabulary:,}, {definition.tokens_per_second:g} tokens a "
            "second and as many keyframes, float32, "
            f"{definition.threads} thread{'s' * (definition.threads > 1)} on a CPU."
        ]
        for name, result in self._steps.items():
            found += self._step_text(name, result)
        for name, result in self._lengths.items():
            found += self._length_text(name, result)
        if not any(name.endswith("cuda") for name in (*self._steps, *self._lengths)):
            found.append(
                "There was no GPU where this was measured; where there is one, the same command "
                "measures it as well."
            )
        return found

    def summary(self) -> str:
        """Return the times of a training step and of an utterance for each device."""
        found = [self._step_text(*one)[0] for one in self._steps.items()]
        return "\n\n".join(found + [self._length_text(*one)[0] for one in self._lengths.items()])

    def figure(self) -> Figure | None:
        """Draw time against length, its ratio, and the components of a step; last device only."""
        if not self._lengths or not self._steps:
            return None
        figure = new_figure(11.5, 3.9)
        times, ratio, pieces = figure.subplots(1, 3, width_ratios=(1.2, 1, 1.3))
        rows = list(self._lengths.values())[-1]["rows"]
        self._draw_times(times, rows)
        self._draw_ratio(ratio, rows)
        self._draw_pieces(pieces, list(self._steps.values())[-1]["stages"])
        return figure

    def _step_text(self, name: str, result: Mapping[str, Any]) -> list[str]:
        stages = result["stages"]
        medians = {stage: _medians(steps) for stage, steps in stages.items()}
        totals = {stage: sum(pieces.values()) for stage, pieces in medians.items()}
        rows = [
            [piece]
            + [
                f"{1000 * medians[stage][piece]:.0f} ms, {_share(medians[stage], piece)}"
                for stage in stages
            ]
            for piece in PIECES
        ]
        rows.append(["all", *(f"{1000 * totals[stage]:.0f} ms" for stage in stages)])
        axe, every = "keyframes + AXE", "all frames"
        said = (
            f"**{name}.** Batches of {self._definition.batch_seconds:g} s with lengths of "
            f"AISHELL-1, median of {self._definition.steps} steps of each piece, forward and "
            f"backward, losses included ({_circumstances(result)}). "
            f"A step with keyframes and AXE takes "
            f"{totals[axe] / totals[every]:.2f} of the time of one with all frames. Of it "
            f"subsampling takes {_share(medians[axe], 'subsampling')}, the inter-CTC "
            f"{_share(medians[axe], 'inter-CTC')}, the length head with AXE "
            f"{_share(medians[axe], 'length head')} (with TIL "
            f"{_share(medians['keyframes + TIL'], 'length head')}; CTC on all frames "
            f"{_share(medians[every], 'length head')}), encoder 1 "
            f"{_share(medians[axe], 'encoder 1')}, encoder 2 {_share(medians[axe], 'encoder 2')} "
            f"(all frames: {_share(medians[every], 'encoder 2')}), the decoder "
            f"{_share(medians[axe], 'decoder')}, the optimiser {_share(medians[axe], 'optimiser')}."
        )
        return [said, table(["piece", *stages], rows)]

    def _length_text(self, name: str, result: Mapping[str, Any]) -> list[str]:
        rows = result["rows"]
        cells = []
        for row in rows:
            products = [row[one]["multiply_adds"]["total"] / 1e9 for one in SYSTEMS]
            times = [statistics.median(row[one]["times"]) for one in SYSTEMS]
            cells.append(
                [f"{row['seconds']:g} s"]
                + [f"{one:.2f}" for one in products]
                + [f"{products[1] / products[0]:.2f}"]
                + [f"{1000 * one:.0f}" for one in times]
                + [f"{times[1] / times[0]:.2f}"]
            )
        first, last = rows[0], rows[-1]
        said = (
            f"**{name}.** Both encoders and heads on one utterance, recognition, median of "
            f"{self._definition.rounds} rounds in turn ({_circumstances(result)}). With keyframes "
            f"the multiply-adds are {_ratio(first, 'theory'):.2f} of those with all frames at "
            f"{first['seconds']:g} s and {_ratio(last, 'theory'):.2f} at {last['seconds']:g} s; "
            f"the time is {_ratio(first, 'time'):.2f} and {_ratio(last, 'time'):.2f}. Encoder 1, "
            "the subsampling and the inter-CTC still see every frame, which bounds what can be "
            "saved; encoder 2 and the head all but vanish "
            f"({_part(last, 'encoder2', 'head'):.1%} of what is left at {last['seconds']:g} s)."
        )
        header = ["utterance", "10⁹ multiply-adds: all frames", "keyframes", "ratio"]
        header += ["ms: all frames", "keyframes", "ratio"]
        return [said, table(header, cells)]

    def _draw_times(self, axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
        seconds = [row["seconds"] for row in rows]
        speed = _seconds_a_product(rows)
        for number, name in enumerate(SYSTEMS):
            colour = COLOURS[number]
            measured = [statistics.median(row[name]["times"]) for row in rows]
            theory = [speed * row[name]["multiply_adds"]["total"] for row in rows]
            axes.plot(seconds, theory, color=colour, linewidth=1.1, linestyle="--")
            axes.plot(seconds, measured, "os"[number], color=colour, markersize=5, label=name)
        axes.plot([], [], "--", color=GREY, label="multiply-adds, one speed for both")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(seconds, [f"{one:g}" for one in seconds])
        axes.minorticks_off()
        axes.legend(fontsize=8, frameon=False)
        plain(axes, "Encoding one utterance", "seconds of audio", "seconds of processor")

    def _draw_ratio(self, axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
        seconds = [row["seconds"] for row in rows]
        axes.plot(seconds, [_ratio(row, "theory") for row in rows], "--", color=GREY)
        axes.plot(seconds, [_ratio(row, "time") for row in rows], "o", color=COLOURS[1])
        axes.plot([], [], "o", color=COLOURS[1], label="time")
        axes.plot([], [], "--", color=GREY, label="multiply-adds")
        axes.set_xscale("log")
        axes.set_ylim(0, 1.05)
        axes.set_xticks(seconds, [f"{one:g}" for one in seconds])
        axes.minorticks_off()
        axes.legend(fontsize=8, frameon=False, loc="lower left")
        plain(axes, "Keyframes over all frames", "seconds of audio", "ratio")

    def _draw_pieces(self, axes: Axes, stages: Mapping[str, Any]) -> None:
        names = list(stages)[::-1]
        left = [0.0] * len(names)
        for number, piece in enumerate(PIECES):
            widths = [_medians(stages[name])[piece] for name in names]
            colour = COLOURS[number % len(COLOURS)]
            axes.barh(names, widths, 0.62, left=left, color=colour, label=piece)
            left = [one + width for one, width in zip(left, widths, strict=True)]
        plain(axes, "One training step", "seconds")
        axes.grid(axis="y", visible=False)
        axes.set_ylim(-0.5, len(names) + 1.1)
        axes.legend(fontsize=7, frameon=False, ncols=3, loc="upper left", columnspacing=0.8)


def _medians(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {piece: statistics.median(step[piece] for step in steps) for piece in PIECES}


def _share(pieces: Mapping[str, float], piece: str) -> str:
    return f"{pieces[piece] / sum(pieces.values()):.1%}"


def _ratio(row: Mapping[str, Any], of: str) -> float:
    """Return keyframes over all frames, of multiply-adds (`theory`) or of time."""
    if of == "theory":
        first, second = (row[name]["multiply_adds"]["total"] for name in SYSTEMS)
    else:
        first, second = (statistics.median(row[name]["times"]) for name in SYSTEMS)
    return float(second / first)


def _part(row: Mapping[str, Any], *pieces: str) -> float:
    products = row["keyframes"]["multiply_adds"]
    return float(sum(products[piece] for piece in pieces) / products["total"])


def _seconds_a_product(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the median time per multiply-add."""
    speeds = [
        statistics.median(row[name]["times"]) / row[name]["multiply_adds"]["total"]
        for row in rows
        for name in SYSTEMS
    ]
    return float(statistics.median(speeds))


def _circumstances(result: Mapping[str, Any]) -> str:
    load = result.get("load")
    if load is None:
        return "processor time"
    beside = ": other work ran beside" if load > BUSY else ""
    return f"processor time; load of the machine {load:g}{beside}"
