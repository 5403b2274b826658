"""Slow, obvious twin of `keyframe_asr.model.fusion`: value, and gradient by finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parameters = dict[str, Array]


def window_of(window: int, left_only: bool) -> list[int]:
    """Offsets of the window in frames."""
    return [d - (window - 1 if left_only else window // 2) for d in range(window)]


def softmax(scores: list[float]) -> list[float]:
    """Softmax of a short list."""
    exponents = [np.exp(score - max(scores)) for score in scores]
    return [float(exponent / sum(exponents)) for exponent in exponents]


def weights_of(
    kind: str, query_frame: Array, neighbours: list[tuple[int, Array]], parameters: Parameters
) -> list[float]:
    """Weights of the (place in the window, frame) pairs that lie inside the utterance."""
    if kind == "mean":
        return [1 / len(neighbours)] * len(neighbours)
    scores = []
    for place, frame in neighbours:
        score = float(parameters["offset_bias"][place])
        if kind == "attention":
            query = parameters["query.weight"] @ query_frame + parameters["query.bias"]
            key = parameters["key.weight"] @ frame
            score += float(query @ key) / np.sqrt(len(query))
        scores.append(score)
    return softmax(scores)


def fuse_one(
    kind: str, offsets: list[int], frames: Array, keyframe: int, parameters: Parameters
) -> Array:
    """The fused vector (D,) of one keyframe in one utterance `frames` (U, D)."""
    if kind == "none":
        kept: Array = frames[keyframe]
        return kept
    if kind == "concat":
        pieces = [
            frames[keyframe + d] if 0 <= keyframe + d < len(frames) else np.zeros(frames.shape[1])
            for d in offsets
        ]
        product: Array = parameters["projection.weight"] @ np.concatenate(pieces)
        return product + parameters["projection.bias"]
    neighbours = [
        (place, frames[keyframe + d])
        for place, d in enumerate(offsets)
        if 0 <= keyframe + d < len(frames)
    ]
    weights = weights_of(kind, frames[keyframe], neighbours, parameters)
    total = np.zeros(frames.shape[1])
    for weight, (_, frame) in zip(weights, neighbours, strict=True):
        total = total + weight * frame
    return total


def fuse(
    kind: str,
    offsets: list[int],
    frames: list[Array],
    keyframes: list[list[int]],
    parameters: Parameters,
) -> list[list[Array]]:
    """Fused vectors of every keyframe of every utterance; `frames` without padding."""
    return [
        [fuse_one(kind, offsets, utterance, keyframe, parameters) for keyframe in chosen]
        for utterance, chosen in zip(frames, keyframes, strict=True)
    ]


def numerical_gradient(function: Callable[[], float], value: Array, step: float = 1e-6) -> Array:
    """Central differences of `function` with respect to `value`, which it reads in place."""
    gradient = np.zeros_like(value)
    for place in np.ndindex(value.shape):
        original = value[place]
        value[place] = original + step
        above = function()
        value[place] = original - step
        below = function()
        value[place] = original
        gradient[place] = (above - below) / (2 * step)
    return gradient
