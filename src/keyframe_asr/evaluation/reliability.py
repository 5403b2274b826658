"""Calibration of confidences: expected calibration error and reliability diagram.

Uses bins of equal width (Guo et al., 2017, arXiv 1706.04599).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keyframe_asr.decoding.confidence import CERTAIN, Array
from keyframe_asr.io.atomic_write import replacing

BINS = 10


@dataclass(frozen=True)
class ScoredConfidences:
    """Confidences (N,) of tokens or words, and `right` (N,): True where correct."""

    confidences: Array
    right: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence, in bins of equal width from 0 to 1.

    Attributes:
        count: (BINS,) tokens per bin.
        confidence: (BINS,) mean confidence; 0 in an empty bin.
        accuracy: (BINS,) fraction of correct tokens; 0 in an empty bin.
        error: expected calibration error: mean of |confidence - accuracy|, weighted by count.
        nats: mean negative log-likelihood per token.
    """

    count: npt.NDArray[np.int64]
    confidence: Array
    accuracy: Array
    error: float
    nats: float


def reliability(scored: ScoredConfidences) -> Reliability:
    """Compute bins, calibration error and log-likelihood; all 0 without tokens."""
    confidences, right = scored.confidences, scored.right
    place = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    some = np.maximum(count, 1)
    confidence = np.bincount(place, confidences, BINS) / some
    accuracy = np.bincount(place, right, BINS) / some
    error = float((count * np.abs(confidence - accuracy)).sum() / max(1, count.sum()))
    kept = np.clip(np.where(right, confidences, 1 - confidences), CERTAIN, 1)
    nats = float(-np.log(kept).mean()) if len(kept) else 0.0
    return Reliability(count, confidence, accuracy, error, nats)


def draw_reliability(
    panels: Mapping[str, tuple[ScoredConfidences, ScoredConfidences]], path: Path
) -> None:
    """Write reliability diagrams as PNG: one panel per entry, before and after calibration.

    Raises:
        KeyframeError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.7 * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, pair) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        axes.plot([0, 1], [0, 1], color="#8c8c8c", linewidth=1, linestyle=":")
        styles = (("before", "#d55e00", "o"), ("after", "#0072b2", "s"))
        for scored, (name, colour, marker) in zip(pair, styles, strict=True):
            found = reliability(scored)
            some = found.count > 0
            sizes = 12 + 240 * found.count[some] / max(1, found.count.sum())
            x, y = found.confidence[some], found.accuracy[some]
            label = f"{name}: {100 * found.error:.1f} %"
            axes.plot(x, y, color=colour, linewidth=1, alpha=0.7)
            axes.scatter(x, y, sizes, color=colour, marker=marker, alpha=0.7, linewidth=0)
            axes.plot([], [], color=colour, marker=marker, linewidth=1, label=label)
        axes.set(xlim=(0, 1.03), ylim=(-0.03, 1.03), title=title, aspect="equal")
        axes.set(xlabel="confidence", ylabel="accuracy")
        axes.legend(title="calibration error", loc="lower right", fontsize=8, title_fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
