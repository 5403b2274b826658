"""The picture of a stress study: a column for each kind of stress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyframe_asr.evaluation.studies.figures import COLOURS, GREY, MARKERS, new_figure, plain
from keyframe_asr.evaluation.studies.stress import CLEAN, Condition
from keyframe_asr.evaluation.studies.stress_results import StressResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = {
    "noise": "signal to noise, dB",
    "room": "decay time, s",
    "speed": "times as fast",
    "telephone": "highest hertz",
    "clipping": "dB below the peak",
}
UNSTRESSED = {"noise": 30.0, "room": 0.0, "speed": 1.0, "telephone": 8000.0, "clipping": 0.0}
"""Where the clean recordings are shown."""

MOST_INTERVALS = 3
"""Intervals of more systems would hide one another, and are not drawn."""


def draw(results: StressResults) -> Figure | None:
    """Errors, differences from the first system, and keyframes per token, one below the other.

    None as long as there is nothing to compare. Raises `KeyframeError` if matplotlib is missing.
    """
    kinds = [one.kind for one in results.study.stresses if results.of_kind(one.kind)]
    if CLEAN not in results.conditions or not kinds:
        return None
    figure = new_figure(2.5 * len(kinds) + 0.6, 7.6)
    axes = figure.subplots(3, len(kinds), squeeze=False, sharey="row", height_ratios=(3, 3, 2))
    for column, kind in enumerate(kinds):
        _draw_errors(results, axes[0][column], kind)
        _draw_differences(results, axes[1][column], kind)
        _draw_keyframes(results, axes[2][column], kind)
        for one in axes[:, column]:
            _label_levels(one, results, kind)
    axes[0][0].set_ylabel("error, %", size=9)
    bars = " (95 %)" if len(results.others) <= MOST_INTERVALS else ""
    axes[1][0].set_ylabel(f"less {results.first.name}, points{bars}", size=9)
    axes[2][0].set_ylabel("keyframes per token", size=9)
    axes[0][0].set_ylim(bottom=0)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=9, frameon=False)
    return figure


def _draw_errors(results: StressResults, axes: Axes, kind: str) -> None:
    places = _places(results, kind)
    for number, system in enumerate(results.study.systems):
        errors = [100 * results.rate(system, [one])[0] for one in places.values()]
        axes.plot(list(places), errors, _line(number), **_look(number), label=system.name)
    plain(axes, kind)


def _draw_differences(results: StressResults, axes: Axes, kind: str) -> None:
    places = _places(results, kind)
    span = max(places) - min(places)
    axes.axhline(0, color=GREY, linewidth=0.8)
    for number, system in enumerate(results.others, start=1):
        found = [results.difference(system, [one]) for one in places.values()]
        x = list(places)
        if len(results.others) <= MOST_INTERVALS:
            aside = 0.02 * span * (number - (1 + len(results.others)) / 2)
            x = [place + aside for place in x]  # not on one another
            low, high = ([100 * getattr(one, side) for one in found] for side in ("low", "high"))
            axes.vlines(x, low, high, color=_look(number)["color"], linewidth=1.2)
        axes.plot(x, [100 * one.value for one in found], _line(number), **_look(number))
    plain(axes, "")


def _draw_keyframes(results: StressResults, axes: Axes, kind: str) -> None:
    places = _places(results, kind)
    selecting = results.selecting
    for number, system in enumerate(results.study.systems):
        if system in selecting:
            kept = [results.keyframes_per_token(system, one) for one in places.values()]
            axes.plot(list(places), kept, _line(number), **_look(number))
    plain(axes, "", AXES[kind])


def _places(results: StressResults, kind: str) -> dict[float, Condition]:
    """Conditions by their place on the axis, in its order."""
    found = {level: (kind, level) for _, level in results.of_kind(kind)}
    return dict(sorted((found | {UNSTRESSED[kind]: CLEAN}).items()))


def _label_levels(axes: Axes, results: StressResults, kind: str) -> None:
    places = _places(results, kind)
    clean = UNSTRESSED[kind]
    axes.set_xticks(
        list(places),
        ["clean" if x == clean and kind != "speed" else f"{x:g}" for x in places],
    )
    if kind in ("noise", "telephone"):
        axes.invert_xaxis()


def _line(number: int) -> str:
    return f"{MARKERS[number % len(MARKERS)]}-"


def _look(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "markersize": 4}
