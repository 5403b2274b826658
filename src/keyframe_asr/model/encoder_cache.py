"""What the layers of an encoder keep of the frames that streams have had, as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from keyframe_asr.streams.state import EncoderCache, NewFrames

LayerPast = tuple[Tensor, Tensor, Tensor]
"""Keys and values (B, H, M, D / H), and inputs of the convolution (B, N, D), of one layer or, with
one more axis, of L."""


@dataclass(frozen=True)
class Past:
    """The pasts of B streams, the M last frames of each at the end of its row.

    Attributes:
        known: (B, M) True for keys that are real.
        keys: (L, B, H, M, D / H).
        values: (L, B, H, M, D / H).
        inputs: (L, B, reach, D).
    """

    known: Tensor
    keys: Tensor
    values: Tensor
    inputs: Tensor

    @classmethod
    def of(cls, caches: Sequence[EncoderCache], device: torch.device) -> Past:
        """Join the pasts of at least one stream."""
        sizes = [one.keys.shape[2] for one in caches]
        layers, heads, _, width = caches[0].keys.shape
        known = np.zeros((len(caches), max(sizes)), dtype=bool)
        keys = np.zeros((layers, len(caches), heads, max(sizes), width), dtype=np.float32)
        values = np.zeros_like(keys)
        for row, (cache, size) in enumerate(zip(caches, sizes, strict=True)):
            first = max(sizes) - size
            known[row, first:] = True
            keys[:, row, :, first:], values[:, row, :, first:] = cache.keys, cache.values
        inputs = np.stack([one.inputs for one in caches], axis=1)
        return cls(*(torch.from_numpy(one).to(device) for one in (known, keys, values, inputs)))


def new_frames(found: LayerPast, lengths: Sequence[int]) -> list[NewFrames]:
    """What is kept of the next frames of each stream, given their numbers."""
    keys, values, inputs = (one.float().cpu().numpy() for one in found)
    return [
        NewFrames(keys[:, row, :, :size], values[:, row, :, :size], inputs[:, row, :size])
        for row, size in enumerate(lengths)
    ]
