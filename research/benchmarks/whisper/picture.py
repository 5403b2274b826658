"""Draw the errors of two systems per speaker and per length of the text.

    python -m research.benchmarks.whisper.picture RECORD.json PICTURE.png BEFORE AFTER

RECORD is a record of `compare.py`, BEFORE and AFTER are names of systems in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from research.presentation import COLOURS, GREY, new_figure, save_figure
from research.significance import rate_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = 4
"""Groups of recordings by length, of about as many tokens each."""


def draw(report: Mapping[str, Any], before: str, after: str) -> Figure:
    """Draw a column for each set with speech: speakers above, lengths below."""
    sets = [one for one in report["sets"].values() if any(one["lengths"])]
    figure = new_figure(3.6 * len(sets) + 0.4, 6.4)
    axes = figure.subplots(2, len(sets), squeeze=False)
    for column, one in enumerate(sets):
        axes[0][column].set_title(one["title"], fontsize=10, loc="left")
        _draw_speakers(axes[0][column], one, before, after)
        _draw_lengths(axes[1][column], one, (before, after))
    axes[0][0].set_ylabel(f"{after},\nerror of a speaker in %", size=9)
    axes[1][0].set_ylabel("error in % (95 %)", size=9)
    handles, labels = axes[1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=9, frameon=False)
    return figure


def _draw_speakers(axes: Axes, one: Mapping[str, Any], before: str, after: str) -> None:
    """A point for each speaker; below the diagonal the second system is better."""
    errors = [one["systems"][name]["speakers"] for name in (before, after)]
    pairs = np.array([[100 * side[name] for side in errors] for name in errors[0]])
    most = max(5.0, 1.05 * float(pairs.max()))
    axes.plot([0, most], [0, most], color=GREY, linewidth=0.8)
    axes.scatter(*pairs.T, s=14, color=COLOURS[1], alpha=0.7, linewidths=0)
    axes.set_xlim(-0.02 * most, most)
    axes.set_ylim(-0.02 * most, most)
    axes.set_xlabel(f"{before}, error of a speaker in %", size=9)


def _draw_lengths(axes: Axes, one: Mapping[str, Any], names: Sequence[str]) -> None:
    lengths = np.array(one["lengths"])
    order = np.argsort(lengths, kind="stable")
    bounds = np.linspace(0, lengths.sum(), PARTS + 1)[1:-1]
    ends = [0, *np.searchsorted(np.cumsum(lengths[order]), bounds), len(order)]
    groups = [order[start:end] for start, end in pairwise(ends)]
    groups = [group for group in groups if len(group)]
    for number, name in enumerate(names):
        errors = np.array(one["systems"][name]["errors"])
        found = [rate_interval([list(errors[g])], list(lengths[g])) for g in groups]
        rates, lows, highs = (100 * np.array(column) for column in zip(*found, strict=True))
        axes.errorbar(
            np.arange(len(groups)) + 0.12 * number,
            rates,
            (rates - lows, highs - rates),
            label=name,
            color=COLOURS[number],
            marker="os"[number % 2],
            markersize=4,
            linewidth=1,
        )
    labels = [f"{lengths[group].min()}-{lengths[group].max()}" for group in groups]
    axes.set_xticks(range(len(groups)), labels, fontsize=8)
    axes.set_xlabel("words or characters of a recording", size=9)
    axes.set_ylim(bottom=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the record, and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("before")
    parser.add_argument("after")
    given = parser.parse_args(arguments)
    report = json.loads(given.record.read_text(encoding="utf-8"))
    save_figure(draw(report, given.before, given.after), given.picture)


if __name__ == "__main__":
    main()
