"""Keyframe selection in NumPy, between two graphs: the rules of `model.keyframes`.

A test compares the two on thousands of random cases, ties included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyframe_asr.config.model import KeyframesConfig
from keyframe_asr.decoding.arrays import run_peaks

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

BLANK = 0
"""Label of blank."""


@dataclass(frozen=True)
class Keyframes:
    """The kept frames of each utterance.

    Attributes:
        index: (B, K) the kept frames in ascending order; 0 past the length. K is at least 1.
        lengths: (B,) keyframes of each utterance.
    """

    index: Integers
    lengths: Integers


def all_frames(lengths: Integers, frames: int) -> Keyframes:
    """Keep every frame of utterances of `lengths` (B,) padded to `frames` frames."""
    position = np.arange(max(frames, 1))
    inside = position < lengths[:, None]
    return Keyframes(np.where(inside, position, 0), lengths)


def select_keyframes(
    log_probs: Floats,
    lengths: Integers,
    config: KeyframesConfig,
    min_keyframes: Integers | None = None,
) -> Keyframes:
    """Select the keyframes of every utterance from CTC log-probabilities; blank is label 0.

    Args:
        log_probs: (B, U, V); values past the length are ignored.
        lengths: (B,) frames of each utterance, 0 to U.
        config: the selection rules.
        min_keyframes: (B,) minimum number of keyframes, clamped to the utterance's length.

    Raises:
        ValueError: `log_probs` contain NaN or +inf within a length, or lengths are outside 0 to U.
    """
    frames = log_probs.shape[1]
    if wrong := np.flatnonzero((lengths < 0) | (lengths > frames)).tolist():
        raise ValueError(f"lengths outside 0 to {frames} at batch indices {wrong}")
    least = np.ones_like(lengths) if min_keyframes is None else np.maximum(min_keyframes, 1)
    rows = [
        _of_one(one[:length], config, int(fewest))
        for one, length, fewest in zip(log_probs, lengths.tolist(), least, strict=True)
    ]
    if invalid := [place for place, row in enumerate(rows) if row is None]:
        raise ValueError(f"log_probs contain NaN or +inf at batch indices {invalid}")
    kept = [row for row in rows if row is not None]
    counts = np.array([len(row) for row in kept], dtype=np.int64)
    index = np.zeros((len(kept), max(1, int(counts.max(initial=0)))), dtype=np.int64)
    for place, row in enumerate(kept):
        index[place, : len(row)] = row
    return Keyframes(index, counts)


def outputs_around(
    keyframes: Keyframes, output_lengths: Integers, size: int, step: int
) -> Keyframes:
    """The outputs of the pretrained encoder around the keyframes, ascending and each once.

    Args:
        keyframes: in encoder frames.
        output_lengths: (B,) outputs of each utterance.
        size: number of outputs around a keyframe.
        step: outputs per encoder frame.
    """
    offsets = np.arange(size) + (step - size) // 2
    rows = []
    utterances = zip(
        keyframes.index, keyframes.lengths.tolist(), output_lengths.tolist(), strict=True
    )
    for index, count, length in utterances:
        places = np.unique(index[:count, None] * step + offsets)
        rows.append(places[(places >= 0) & (places < length)])
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    found = np.zeros((len(rows), max(1, int(counts.max(initial=0)))), dtype=np.int64)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return Keyframes(found, counts)


def _of_one(log_probs: Floats, config: KeyframesConfig, least: int) -> Integers | None:
    """Keyframes of one utterance (U, V); None for NaN or +inf."""
    frames = len(log_probs)
    if frames == 0:
        return np.zeros(0, dtype=np.int64)
    blank, others = log_probs[:, BLANK], log_probs[:, BLANK + 1 :]
    label = others.argmax(axis=1)
    score = others[np.arange(frames), label]
    if not ((blank < np.inf) & (score < np.inf)).all():
        return None
    threshold = config.blank_threshold
    spiking = blank < score if threshold is None else blank <= np.float32(math.log(threshold))
    starts = spiking.copy()
    starts[1:] &= (label[1:] != label[:-1]) | ~spiking[:-1]
    kept = starts
    if config.keep != "first":
        run, runs = starts.cumsum() - 1, int(starts.sum())
        kept = np.zeros_like(starts)
        kept[run_peaks(score[None], run[None], spiking[None], runs)[0]] = True
    missing = min(least, frames) - int(kept.sum())
    if missing > 0:
        order = np.where(kept, np.inf, blank).argsort(kind="stable")
        kept[order[:missing]] = True
    return np.flatnonzero(kept).astype(np.int64)
