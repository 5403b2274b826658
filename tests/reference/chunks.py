"""Slow, obvious twins of what chunks let a frame see: one frame and one neighbour at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def sees(query: int, key: int, size: int | None, left: int) -> bool:
    """May frame `query` attend to frame `key`; a size of None: the utterance is whole."""
    if size is None:
        return True
    first_of_chunk = query - query % size
    return first_of_chunk - left * size <= key < first_of_chunk + size


def attention_mask(
    lengths: list[int], frames: int, window: int | None, chunks: list[tuple[int, int] | None]
) -> NDArray[np.bool_]:
    """Which of the keys (B, N, N) the frames of an utterance attend to; a frame sees itself."""
    mask = np.zeros((len(lengths), frames, frames), dtype=bool)
    for row, length in enumerate(lengths):
        size, left = chunks[row] or (None, 0)
        for query in range(frames):
            for key in range(frames):
                near = window is None or abs(query - key) <= window
                is_real = key < max(1, length)
                seen = is_real and near and sees(query, key, size, left)
                mask[row, query, key] = seen or query == key
    return mask


def convolution(frames: Array, kernel: Array, bias: Array, size: int | None) -> Array:
    """Depthwise convolution of one utterance (N, D) with a kernel (D, taps), without what lies
    after the chunk of a frame."""
    count, dim = frames.shape
    reach = kernel.shape[1] // 2
    found = np.zeros_like(frames)
    for frame in range(count):
        for channel in range(dim):
            total = bias[channel]
            for tap in range(-reach, reach + 1):
                other = frame + tap
                is_later_chunk = size is not None and other // size > frame // size
                if 0 <= other < count and not is_later_chunk:
                    total += frames[other, channel] * kernel[channel, tap + reach]
            found[frame, channel] = total
    return found
