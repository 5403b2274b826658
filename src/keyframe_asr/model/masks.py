"""Masks that keep padding out of every result, and the peaks of runs of frames under one."""

from __future__ import annotations

import torch
from torch import Tensor


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """True inside each sequence: lengths (B,) to a mask (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def attention_mask(lengths: Tensor, size: int, window: int | None = None) -> Tensor:
    """Which keys each query may attend to: (B, 1, 1, size), with a window (B, 1, size, size).

    A query without any key would be NaN in a softmax. So an empty sequence keeps its first
    (padded) key, and with a window each query keeps itself; what comes of it is masked like all
    padding.

    Args:
        lengths: (B,) of the sequences.
        size: N, what they are padded to.
        window: how far keys may be away, to each side.
    """
    keys = length_mask(lengths.clamp(min=1), size)[:, None, None, :]
    if window is None:
        return keys
    place = torch.arange(size, device=lengths.device)
    distance = (place - place.unsqueeze(1)).abs()
    return (keys & (distance <= window)) | (distance == 0)


def run_peaks(scores: Tensor, run: Tensor, inside: Tensor, runs: int) -> Tensor:
    """The frame (B, runs) of the highest score of each run, the earliest of equals.

    Args:
        scores: (B, U).
        run: (B, U) number of the run that each frame belongs to.
        inside: (B, U) frames that take part; a run of which none does gets U.
        runs: how many there are.
    """
    frames = scores.shape[1]
    scores = scores.masked_fill(~inside, -torch.inf)
    best = scores.new_full((len(scores), runs), -torch.inf).scatter_reduce(1, run, scores, "amax")
    tied = inside & (scores == best.gather(1, run))
    candidate = torch.arange(frames, device=run.device).masked_fill(~tied, frames)
    return run.new_full((len(scores), runs), frames).scatter_reduce(1, run, candidate, "amin")
