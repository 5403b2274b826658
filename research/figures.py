"""The look that pictures of studies share, and writing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keyframe_asr.evaluation.inspection_picture import COLOURS, GREY, INK, PALE, require_matplotlib
from keyframe_asr.io.atomic_write import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "GREY", "INK", "MARKERS", "PALE", "new_figure", "plain", "save_figure"]

DOTS_PER_INCH = 110
MARKERS = "osD^vPX*"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches. Raises `KeyframeError` if matplotlib is missing."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """Title to the left, thin grid, no box."""
    axes.set_title(title, loc="left", size=10, color=INK)
    axes.set_xlabel(x_label, size=9, color=INK)
    axes.set_ylabel(y_label, size=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8, color=GREY, labelcolor=INK)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all. Raises `KeyframeError` if it cannot be written."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
