"""Padding masks, and the most probable frame of runs of frames."""

from __future__ import annotations

import torch
from torch import Tensor

from keyframe_asr.model.chunks import Chunks, KeyframeChunks


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Mask (B, size) from lengths (B,): True inside each sequence."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def attention_mask(
    lengths: Tensor,
    size: int,
    window: int | None = None,
    chunks: Chunks | KeyframeChunks | None = None,
) -> Tensor:
    """Mask of keys for attention: (B, 1, 1, size), or (B, 1, size, size) with window or chunks.

    A query without keys would yield NaN in the softmax. Therefore an empty sequence keeps its first
    (padded) key, and with a window or chunks each query keeps itself; the results are masked like
    all padding.

    Args:
        lengths: (B,) of the sequences.
        size: padded length N.
        window: maximum distance of keys, to each side.
        chunks: of each sequence.
    """
    keys = length_mask(lengths.clamp(min=1), size)[:, None, None, :]
    if window is None and chunks is None:
        return keys
    place = torch.arange(size, device=lengths.device)
    distance = (place - place.unsqueeze(1)).abs()
    if window is not None:
        keys = keys & (distance <= window)
    if chunks is not None:
        keys = keys & chunks.sees(place.unsqueeze(0), place.unsqueeze(0))
    return keys | (distance == 0)


def run_peaks(scores: Tensor, run: Tensor, inside: Tensor, runs: int) -> Tensor:
    """The frame (B, runs) of the highest score of each run, the earliest in a tie.

    Args:
        scores: (B, U).
        run: (B, U) index of the run of each frame.
        inside: (B, U) mask of the frames to consider; a run without any gets U.
        runs: number of runs.
    """
    frames = scores.shape[1]
    scores = scores.masked_fill(~inside, -torch.inf)
    best = scores.new_full((len(scores), runs), -torch.inf).scatter_reduce(1, run, scores, "amax")
    tied = inside & (scores == best.gather(1, run))
    candidate = torch.arange(frames, device=run.device).masked_fill(~tied, frames)
    return run.new_full((len(scores), runs), frames).scatter_reduce(1, run, candidate, "amin")
