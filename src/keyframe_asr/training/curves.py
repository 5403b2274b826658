"""Plot a run: losses, dev errors and keyframes per token over its epochs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyframe_asr.io.atomic_write import replacing
from keyframe_asr.training.log import read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES_FILE = "curves.png"
WIDTH, HEIGHT, DOTS_PER_INCH = 9.0, 8.0, 130

LOSSES = {
    "loss": ("total", "#222222"),
    "loss_inter_ctc": ("inter-CTC", "#0072b2"),
    "loss_head": ("head", "#d55e00"),
    "loss_decoder": ("decoder", "#00845f"),
}
ERRORS = {
    "dev_error": ("head", "#d55e00"),
    "dev_inter_error": ("inter-CTC", "#0072b2"),
}
RATES = {
    "dev_keyframes_per_token": ("keyframes per token", "#0072b2"),
    "dev_frame_reduction": ("fraction of frames dropped", "#b4458c"),
    "dev_too_few_keyframes": ("utterances with too few keyframes", "#977000"),
    "waiting_share": ("fraction of time waiting for data", "#8c8c8c"),
}


def draw_curves(folder: Path) -> Path | None:
    """Plot `log.jsonl` in a run's folder to `curves.png`; None without matplotlib or epochs."""
    epochs = _epochs(folder)
    if not epochs or importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    for place, curves, title in (
        (axes[0], LOSSES, "training loss per utterance"),
        (axes[1], ERRORS, "token error on the dev set"),
        (axes[2], RATES, "keyframes"),
    ):
        _draw(place, epochs, curves, title)
    axes[0].set_yscale("log")
    axes[1].set_yscale("log")  # shows the small errors at the end of a run
    axes[1].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[1].yaxis.set_minor_formatter(PercentFormatter(1.0, decimals=0))
    axes[1].tick_params(which="minor", labelsize=7)
    axes[2].set_ylim(0, 1.6)
    axes[2].set_xlabel("epoch of the run")
    _name_stages(axes, epochs)
    target = folder / CURVES_FILE
    with replacing(target) as temporary:
        figure.savefig(temporary, format="png")
    return target


def _epochs(folder: Path) -> list[dict[str, Any]]:
    """Read the log entries of epochs; if a resumed run repeated an epoch, only the latest."""
    entries = [entry for entry in read_log(folder) if "epoch" in entry]
    return list({(entry["stage"], entry["epoch"]): entry for entry in entries}.values())


def _draw(
    axes: Axes, epochs: list[dict[str, Any]], curves: dict[str, tuple[str, str]], title: str
) -> None:
    for key, (label, colour) in curves.items():
        points = [(place, entry[key]) for place, entry in enumerate(epochs, 1) if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.4)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2)


def _name_stages(axes: Any, epochs: list[dict[str, Any]]) -> None:
    """Mark stages with lines and their names, in two rows because stages may be short."""
    starts: dict[str, int] = {}
    for place, entry in enumerate(epochs, 1):
        starts.setdefault(entry["stage"], place)
    for row, (name, place) in enumerate(starts.items()):
        for one in axes:
            one.axvline(place - 0.5, color="#8c8c8c", linewidth=0.8, linestyle=":")
        axes[0].annotate(
            name,
            (place - 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -10 - 11 * (row % 2)),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
