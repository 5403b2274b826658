"""Chunks of frames: what an encoder that streams may see of an utterance.

A frame sees its own chunk and a number of chunks before it, nothing after its chunk (dynamic chunk
training, arXiv 2012.05481). Here every utterance of a batch has its own size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WHOLE = 2**40
"""Size of the chunk of an utterance that is not divided; number of left chunks if all are seen."""


MOST_FRAMES = 2**20
"""More frames than any utterance has."""


@dataclass(frozen=True)
class Chunks:
    """The chunks of each utterance of a batch.

    Attributes:
        size: (B,) frames per chunk; `WHOLE` for an utterance that is one chunk.
        left: (B,) number of chunks before its own that a frame sees.
    """

    size: Tensor
    left: Tensor

    @classmethod
    def of(
        cls, sizes: Sequence[tuple[int, int] | None], device: torch.device | str = "cpu"
    ) -> Chunks:
        """From size and number of left chunks of each utterance; None: the utterance is whole."""
        pairs = [(WHOLE, WHOLE) if one is None else one for one in sizes]
        size, left = torch.tensor(pairs, device=device).long().view(-1, 2).unbind(dim=1)
        return cls(size, left)

    def to(self, device: torch.device) -> Chunks:
        """Copy to a device, without waiting for it."""
        size, left = torch.stack((self.size, self.left)).to(device, non_blocking=True)
        return Chunks(size, left)

    def index(self, order: Tensor) -> Tensor:
        """The chunk (B, N) of each frame, given its place (B or 1, N) in the utterance."""
        return order // self.size.unsqueeze(1)

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """Mask (B, 1, N, M): may a frame at `query` (B or 1, N) attend to one at `key` (B or 1, M).

        Places count from the start of the utterance.
        """
        before = self.index(query).unsqueeze(2) - self.index(key).unsqueeze(1)
        return ((before >= 0) & (before <= self.left.view(-1, 1, 1))).unsqueeze(1)

    def of_keyframes(self, ready: Tensor, left: int | None) -> KeyframeChunks:
        """The chunks of keyframes that are ready for encoder 2 with these frames (B, K).

        Args:
            ready: frames of the utterance.
            left: number of keyframes before its chunk that a keyframe sees; None: as many as the
                chunks before a frame have frames.
        """
        if left is not None:
            return KeyframeChunks(self.index(ready), torch.full_like(self.left, left))
        frames = self.left.clamp(max=MOST_FRAMES) * self.size.clamp(max=MOST_FRAMES)
        return KeyframeChunks(self.index(ready), frames)


@dataclass(frozen=True)
class KeyframeChunks:
    """The chunks of the keyframes of each utterance of a batch.

    Attributes:
        chunk: (B, K) index of the chunk of each keyframe, ascending; the same for all keyframes of
            an utterance that is not divided.
        left: (B,) number of keyframes before its chunk that a keyframe sees.
    """

    chunk: Tensor
    left: Tensor

    def index(self, order: Tensor) -> Tensor:
        """The chunk (B, K) of each keyframe."""
        del order
        return self.chunk

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """Mask (B, 1, K, K): may a keyframe attend to another, given their order (1, K)?"""
        begins = torch.ones_like(self.chunk, dtype=torch.bool)
        begins[:, 1:] = self.chunk[:, 1:] != self.chunk[:, :-1]
        first = query.masked_fill(~begins, 0).cummax(dim=1).values  # of the chunk of each
        before = first.unsqueeze(2) - key.unsqueeze(1)
        same = self.chunk.unsqueeze(2) == self.chunk.unsqueeze(1)
        return (same | ((before > 0) & (before <= self.left.view(-1, 1, 1)))).unsqueeze(1)
