"""The most probable path that spells a text, one cell of the trellis at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BLANK = 0


def best_path(
    log_probs: npt.NDArray[np.float64], targets: Sequence[int], collapse: bool
) -> tuple[float, list[int]]:
    """Score and state of each frame of (U, V) log-probabilities; states as in the module.

    Of equal ways the one that stays wins, then the one that goes on by one state; at the end the
    last target wins over the blank after it. Without any path: -inf and no states. Without
    `collapse` a target lasts one frame, and equal ones may follow each other.
    """
    labels = [BLANK]
    for target in targets:
        labels += [target, BLANK]
    frames, states = len(log_probs), len(labels)
    if frames == 0:
        return (0.0, []) if not targets else (-np.inf, [])
    score = np.full((frames, states), -np.inf)
    came_from = np.zeros((frames, states), dtype=int)
    for frame in range(frames):
        for state in range(states):
            if frame == 0:
                if state <= 1:
                    score[0, state] = log_probs[0, labels[state]]
                continue
            previous = [state] if collapse or labels[state] == BLANK else []
            if state >= 1:
                previous.append(state - 1)
            repeated = collapse and state >= 2 and labels[state] == labels[state - 2]
            if state >= 2 and labels[state] != BLANK and not repeated:
                previous.append(state - 2)
            best = max(previous, key=lambda one: score[frame - 1, one])  # the first of equals
            score[frame, state] = score[frame - 1, best] + log_probs[frame, labels[state]]
            came_from[frame, state] = best
    ends = [states - 2, states - 1] if targets else [0]
    state = max(ends, key=lambda one: score[-1, one])
    total = float(score[-1, state])
    if total == -np.inf:
        return total, []
    path = []
    for frame in reversed(range(frames)):
        path.append(state)
        state = came_from[frame, state]
    return total, path[::-1]
