"""Picture of a training study: error rate by variant, or against tokens per second."""

from __future__ import annotations

import statistics
import textwrap
from typing import TYPE_CHECKING, Any

from research.definition import VariantConfig
from research.presentation import COLOURS, GREY, INK, new_figure, plain
from research.training.results import TrainingResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAR = 2.0
"""Rows with an error above this multiple of the median are shown as a number only."""

LABEL_WIDTH = 36
"""Characters per line of a row's name."""

SAME_PLACE = 0.02
"""Points closer than this, in tokens per second, share one label."""


def draw(results: TrainingResults) -> Figure | None:
    """Draw the picture; None without results. Raises `KeyframeError` if matplotlib is missing."""
    if not results.variants:
        return None
    if results.definition.picture == "tokens_per_second":
        figure = new_figure(9.5, 3.6)
        errors, dropped = figure.subplots(1, 2)
        _draw_curve(results, errors, dropped)
        return figure
    height = 0.34 * len(results.variants) + 1.2
    if results.reference is None or not results.others:
        figure = new_figure(7.5, height)
        _draw_rates(results, figure.subplots())
        return figure
    figure = new_figure(9.5, height)
    rates, differences = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _draw_rates(results, rates)
    _draw_differences(results, differences)
    return figure


def _draw_rates(results: TrainingResults, axes: Axes) -> None:
    """Draw a row per variant: error rate, interval, and single trainings."""
    far = _far(results)
    for place, one in _places(results):
        value, low, high = (100 * part for part in results.rate(one))
        if one in far:
            _write_far(axes, place, f"{value:.1f}")
            continue
        colour = COLOURS[1] if one == results.reference else COLOURS[0]
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot([value], [place], "o", color=colour, markersize=6)
        for error in results.rates(one):
            axes.plot([error], [place], "|", color=INK, markersize=8)
    names = [textwrap.fill(_named(results, one), LABEL_WIDTH) for one in results.variants]
    axes.set_yticks(range(len(names))[::-1], names)
    axes.set_ylim(-0.7, len(names) - 0.3)
    if results.reference is not None:
        axes.axvline(100 * results.rate(results.reference)[0], color=GREY, linewidth=0.8)
    unit = results.any_result["unit"]
    label = f"errors in {unit}, greedy, %; bar: 95 %, |: a training, line: reference"
    plain(axes, results.definition.title, label)


def _draw_differences(results: TrainingResults, axes: Axes) -> None:
    """Draw the paired difference of each row from the reference."""
    far = _far(results)
    for place, one in _places(results):
        if one == results.reference:
            continue
        minus = results.difference(one)
        value, low, high = (100 * part for part in (minus.value, minus.low, minus.high))
        if one in far:
            _write_far(axes, place, f"{value:+.1f}")
            continue
        colour = GREY if minus.is_noise else COLOURS[0]
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot([value], [place], "o", color=colour, markersize=6)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.tick_params(axis="y", labelleft=False)
    plain(axes, "Difference from the reference", "points; bar: 95 %, grey: within noise")


def _far(results: TrainingResults) -> list[VariantConfig]:
    """Return the variants that would squeeze all others if drawn to scale."""
    rates = {one.name: results.rate(one) for one in results.variants}
    edge = FAR * statistics.median(value for value, _, _ in rates.values())
    return [one for one in results.variants if rates[one.name][1] > edge]


def _places(results: TrainingResults) -> list[tuple[int, VariantConfig]]:
    """Return the height of each variant's row; the first is at the top."""
    return list(zip(range(len(results.variants))[::-1], results.variants, strict=True))


def _write_far(axes: Axes, place: int, number: str) -> None:
    axes.annotate(
        f"{number} →",
        (0.99, place),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="center",
        size=8,
        color=INK,
    )


def _draw_curve(results: TrainingResults, errors: Axes, dropped: Axes) -> None:
    """Draw error rate and dropped frames against tokens per second."""
    x = [_tokens_per_second(results, one) for one in results.variants]
    for place, one in zip(x, results.variants, strict=True):
        value, low, high = (100 * part for part in results.rate(one))
        shares = [100 * (1 - run["keyframes"] / run["frames"]) for run in results.trainings(one)]
        errors.plot([place, place], [low, high], color=COLOURS[0], linewidth=1.6)
        errors.plot([place], [value], "o", color=COLOURS[0])
        for error in results.rates(one):
            errors.plot([place], [error], "_", color=INK, markersize=8)
        dropped.plot([place] * len(shares), shares, "s", color=COLOURS[1])
        # points at the same place share one label
        near = [
            other.label
            for other, at in zip(results.variants, x, strict=True)
            if abs(at - place) < SAME_PLACE
        ]
        if one.label == near[0]:
            names = "; ".join(near)
            look: dict[str, Any] = {"textcoords": "offset points", "size": 7.5}
            errors.annotate(names, (place, high), (0, 5), rotation=35, **look)
            dropped.annotate(names, (place, statistics.median(shares)), (6, 4), **look)
    for axes in (errors, dropped):
        axes.margins(x=0.2, y=0.2)  # room for the labels
    label = "tokens per second"
    unit = results.any_result["unit"]
    plain(errors, f"Errors in {unit}, greedy", label, "%; bar: 95 %, –: a training")
    plain(dropped, "Frames dropped", label, "%; each training")


def _tokens_per_second(results: TrainingResults, variant: VariantConfig) -> float:
    run = results.trainings(variant)[0]
    return float(run["tokens"] / run["audio_seconds"])


def _named(results: TrainingResults, variant: VariantConfig) -> str:
    """Return the label of a variant, with its latency if the picture shows that."""
    if results.definition.picture != "latency":
        return variant.label
    seconds = results.trainings(variant)[0]["latency_seconds"]
    return f"{variant.label}, {1000 * seconds:.0f} ms"
