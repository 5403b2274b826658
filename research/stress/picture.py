"""Picture of a stress study, with a column per kind of stress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from research.definition import StressName
from research.presentation import COLOURS, GREY, MARKERS, new_figure, plain
from research.stress.results import StressResults
from research.stress.study import CLEAN, Condition

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS_LABELS = {
    "noise": "signal to noise, dB",
    "room": "decay time, s",
    "speed": "times as fast",
    "telephone": "highest hertz",
    "clipping": "dB below the peak",
}
UNSTRESSED = {"noise": 30.0, "room": 0.0, "speed": 1.0, "telephone": 8000.0, "clipping": 0.0}
"""Position of the clean recordings on each axis; for noise, apart from the line."""

MOST_INTERVALS = 3
"""Intervals are drawn for up to this many systems; more would hide each other."""


def draw(results: StressResults) -> Figure | None:
    """Draw rows of error rates, differences from the first system, and keyframes per token.

    Returns None if there is nothing to compare. Raises `KeyframeError` if matplotlib is missing.
    """
    kinds = [one.kind for one in results.definition.stresses if results.of_kind(one.kind)]
    if CLEAN not in results.conditions or not kinds:
        return None
    figure = new_figure(2.5 * len(kinds) + 0.6, 7.6)
    axes = figure.subplots(
        3, len(kinds), squeeze=False, sharex="col", sharey="row", height_ratios=(3, 3, 2)
    )
    for column, kind in enumerate(kinds):
        _draw_errors(results, axes[0][column], kind)
        _draw_differences(results, axes[1][column], kind)
        _draw_keyframes(results, axes[2][column], kind)
        _label_levels(axes[-1][column], results, kind)
    axes[0][0].set_ylabel("error, %", size=9)
    bars = " (95 %)" if len(results.others) <= MOST_INTERVALS else ""
    axes[1][0].set_ylabel(f"difference from\n{results.reference.name}, points{bars}", size=9)
    axes[2][0].set_ylabel("keyframes per token", size=9)
    axes[0][0].set_ylim(bottom=0)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=9, frameon=False)
    return figure


def _draw_errors(results: StressResults, axes: Axes, kind: StressName) -> None:
    places = _places(results, kind)
    for number, system in enumerate(results.definition.systems):
        errors = [100 * results.rate(system, [one])[0] for one in places.values()]
        _plot(axes, kind, list(places), errors, number, system.name)
    plain(axes, kind)


def _draw_differences(results: StressResults, axes: Axes, kind: StressName) -> None:
    places = _places(results, kind)
    span = max(places) - min(places)
    axes.axhline(0, color=GREY, linewidth=0.8)
    for number, system in enumerate(results.others, start=1):
        found = [results.difference(system, [one]) for one in places.values()]
        x = list(places)
        if len(results.others) <= MOST_INTERVALS:
            aside = 0.02 * span * (number - (1 + len(results.others)) / 2)
            x = [place + aside for place in x]  # side by side
            low, high = ([100 * getattr(one, side) for one in found] for side in ("low", "high"))
            axes.vlines(x, low, high, color=COLOURS[number % len(COLOURS)], linewidth=1.2)
        _plot(axes, kind, x, [100 * one.value for one in found], number)
    plain(axes, "")


def _draw_keyframes(results: StressResults, axes: Axes, kind: StressName) -> None:
    places = _places(results, kind)
    dropping = results.dropping_frames
    for number, system in enumerate(results.definition.systems):
        if system in dropping:
            kept = [results.keyframes_per_token(system, one) for one in places.values()]
            _plot(axes, kind, list(places), kept, number)
    plain(axes, "", AXIS_LABELS[kind])


def _places(results: StressResults, kind: StressName) -> dict[float, Condition]:
    """Return conditions by their position on the axis, in order."""
    found = {level: (name, level) for name, level in results.of_kind(kind)}
    return dict(sorted((found | {UNSTRESSED[kind]: CLEAN}).items()))


def _label_levels(axes: Axes, results: StressResults, kind: StressName) -> None:
    places = _places(results, kind)
    clean = UNSTRESSED[kind]
    axes.set_xticks(
        list(places),
        ["clean" if x == clean and kind != "speed" else f"{x:g}" for x in places],
    )
    if kind in ("noise", "telephone"):
        axes.invert_xaxis()


def _plot(
    axes: Axes,
    kind: StressName,
    x: Sequence[float],
    y: Sequence[float],
    number: int,
    name: str = "",
) -> None:
    """Plot a line in the style of a system, given by its number."""
    look: dict[str, Any] = {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
    }
    levels = len(x) - 1 if kind == "noise" else len(x)  # the clean one is the last
    axes.plot(x[:levels], y[:levels], "-", label=name, **look)
    axes.plot(x[levels:], y[levels:], **look)
