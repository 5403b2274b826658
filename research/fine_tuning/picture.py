"""Picture of a fine-tuning study: error rate against minutes of speech, by decode mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from research.presentation import COLOURS, MARKERS, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """An error rate and its 95 % interval, as fractions, after some minutes of speech."""

    minutes: float
    rate: float
    low: float
    high: float


ASIDE = 0.015
"""Modes lie side by side, this fraction of their minutes apart."""


def draw(title: str, unit: str, modes: Mapping[str, Sequence[Point]]) -> Figure:
    """Draw a line per decode mode, with intervals. Raises `KeyframeError` without matplotlib."""
    figure = new_figure(7.5, 3.8)
    axes = figure.subplots()
    for number, (mode, points) in enumerate(modes.items()):
        colour = COLOURS[number % len(COLOURS)]
        shift = 1 + ASIDE * (number - (len(modes) - 1) / 2)
        ordered = sorted(points, key=lambda one: one.minutes)
        x = [one.minutes * shift for one in ordered]
        low, high = ([100 * getattr(one, side) for one in ordered] for side in ("low", "high"))
        axes.vlines(x, low, high, linewidth=1.2, alpha=0.6, color=colour)
        axes.plot(x, [100 * one.rate for one in ordered], marker=MARKERS[number], markersize=5,
                  label=mode, color=colour)  # fmt: skip
    axes.set_xscale("log")
    ticks = sorted({one.minutes for points in modes.values() for one in points})
    axes.set_xticks(ticks, [f"{one:.0f}" if one >= 1 else f"{one:.1g}" for one in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    plain(axes, title, "minutes of speech", f"wrong {unit}, % (95 %)")
    axes.legend(fontsize=9, frameon=False)
    return figure
