"""Masks that keep padding out of every result."""

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
