"""AXE the slow and obvious way: the recursion of arXiv 2004.01655 cell by cell, and brute force.

One utterance at a time, NumPy float64, no trick shared with `keyframe_asr.losses.axe`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Step = tuple[str, int, int]
"""(align | skip_prediction | skip_target, target, prediction), both 1-based as in the paper."""


def axe_reference(
    log_probs: np.ndarray, targets: Sequence[int], blank: int = 0, penalty: float = 2.0
) -> tuple[float, np.ndarray, list[Step]]:
    """Loss, its gradient (m, V), and the best path of one utterance with log_probs (m, V)."""
    predictions, count = log_probs.shape[0], len(targets)
    cost = np.full((count + 1, predictions + 1), np.inf)
    back: dict[tuple[int, int], str] = {}
    cost[0, 0] = 0.0
    for i in range(count + 1):
        for j in range(predictions + 1):
            candidates = []
            if i > 0 and j > 0:
                candidates.append((cost[i - 1, j - 1] - log_probs[j - 1, targets[i - 1]], "align"))
            if j > 0:
                candidates.append((cost[i, j - 1] - log_probs[j - 1, blank], "skip_prediction"))
            if i > 0:
                at = max(j, 1)  # A[i,0] uses the first prediction
                skip = cost[i - 1, j] - penalty * log_probs[at - 1, targets[i - 1]]
                candidates.append((skip, "skip_target"))
            if candidates:
                cost[i, j], back[i, j] = min(candidates)
    path = _trace(back, count, predictions)
    gradient = np.zeros_like(log_probs)
    for name, i, j in path:
        if name == "skip_prediction":
            gradient[j - 1, blank] -= 1.0
        else:
            gradient[j - 1, targets[i - 1]] -= 1.0 if name == "align" else penalty
    return float(cost[count, predictions]), gradient, path


def _trace(back: dict[tuple[int, int], str], i: int, j: int) -> list[Step]:
    path: list[Step] = []
    while i > 0 or j > 0:
        name = back[i, j]
        path.append((name, i, max(j, 1)))
        i -= name in ("align", "skip_target")
        j -= name in ("align", "skip_prediction")
    return path[::-1]


def all_alignments(count: int, predictions: int) -> Iterator[list[Step]]:
    """Every monotonic alignment of `count` targets and `predictions` predictions."""
    if count == 0 and predictions == 0:
        yield []
        return
    if count > 0 and predictions > 0:
        for path in all_alignments(count - 1, predictions - 1):
            yield [*path, ("align", count, predictions)]
    if predictions > 0:
        for path in all_alignments(count, predictions - 1):
            yield [*path, ("skip_prediction", count, predictions)]
    if count > 0:
        for path in all_alignments(count - 1, predictions):
            yield [*path, ("skip_target", count, max(predictions, 1))]


def path_cost(
    path: Sequence[Step],
    log_probs: np.ndarray,
    targets: Sequence[int],
    blank: int = 0,
    penalty: float = 2.0,
) -> float:
    """Cost of one alignment."""
    total = 0.0
    for name, i, j in path:
        if name == "skip_prediction":
            total -= log_probs[j - 1, blank]
        else:
            total -= (1.0 if name == "align" else penalty) * log_probs[j - 1, targets[i - 1]]
    return float(total)


def axe_brute_force(
    log_probs: np.ndarray, targets: Sequence[int], blank: int = 0, penalty: float = 2.0
) -> float:
    """The least cost over all alignments."""
    return min(
        path_cost(path, log_probs, targets, blank, penalty)
        for path in all_alignments(len(targets), log_probs.shape[0])
    )
