"""Slow, obvious twin of `keyframe_asr.model.keyframes`: one utterance, one frame at a time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from keyframe_asr.model.keyframes import SelectionPolicy

Array = NDArray[np.floating]


def label_of(frame: Array, policy: SelectionPolicy) -> int | None:
    """The label of one frame (V,), None for blank."""
    best = None
    for label in range(len(frame)):
        if label != policy.blank and (best is None or frame[label] > frame[best]):
            best = label
    assert best is not None
    if policy.blank_threshold is None:
        is_blank = frame[policy.blank] >= frame[best]
    else:
        is_blank = frame[policy.blank] > frame.dtype.type(math.log(policy.blank_threshold))
    return None if is_blank else best


def select_one(log_probs: Array, policy: SelectionPolicy, min_keyframes: int = 1) -> list[int]:
    """The keyframes of one utterance (U, V), ascending."""
    labels = [label_of(frame, policy) for frame in log_probs]
    kept: list[int] = []
    start = 0
    while start < len(labels):
        label, end = labels[start], start
        while end < len(labels) and labels[end] == label:
            end += 1
        if label is not None:
            best = start
            for frame in range(start, end):
                if log_probs[frame, label] > log_probs[best, label]:
                    best = frame
            kept.append(best if policy.keep == "peak" else start)
        start = end
    while len(kept) < min(max(min_keyframes, 1), len(labels)):
        rest = [frame for frame in range(len(labels)) if frame not in kept]
        kept.append(min(rest, key=lambda frame: log_probs[frame, policy.blank]))
    return sorted(kept)


def select(
    log_probs: Array,
    lengths: NDArray[np.integer],
    policy: SelectionPolicy,
    min_keyframes: NDArray[np.integer] | None = None,
) -> list[list[int]]:
    """The keyframes of every utterance of a batch (B, U, V) with lengths (B,)."""
    return [
        select_one(
            log_probs[place, :length],
            policy,
            1 if min_keyframes is None else int(min_keyframes[place]),
        )
        for place, length in enumerate(lengths)
    ]
