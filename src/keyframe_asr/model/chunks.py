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

    def index(self, order: Tensor) -> Tensor:
        """The chunk (B, N) of each frame, given its place (B or 1, N) in the utterance."""
        return order // self.size.unsqueeze(1)

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """Mask (B, 1, N, M): may a frame at `query` (B or 1, N) attend to one at `key` (B or 1, M).

        Places count from the start of the utterance.
        """
        before = self.index(query).unsqueeze(2) - self.index(key).unsqueeze(1)
        return ((before >= 0) & (before <= self.left.view(-1, 1, 1))).unsqueeze(1)

    def of_keyframes(self, left: int) -> Chunks:
        """For encoder 2: each keyframe alone, with `left` before it; whole utterances stay so."""
        whole = self.size == WHOLE
        return Chunks(self.size.where(whole, 1), self.left.where(whole, left))
