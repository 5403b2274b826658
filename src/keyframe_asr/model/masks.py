"""Masks that keep padding out of every result."""

from __future__ import annotations

import torch
from torch import Tensor


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """True inside each sequence: lengths (B,) to a mask (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def attention_mask(lengths: Tensor, size: int) -> Tensor:
    """Which keys may be attended to: lengths (B,) to a mask (B, 1, 1, size).

    An empty sequence keeps its first (padded) key, since a softmax over nothing is NaN; what comes
    of it is masked like all padding.
    """
    return length_mask(lengths.clamp(min=1), size)[:, None, None, :]
