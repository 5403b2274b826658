"""What the layers of an encoder keep of the frames that a stream has had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class EncoderCache:
    """The past of one stream, for L layers; a value that is never changed.

    Attributes:
        frames: number of frames that the stream has had.
        keys: (L, H, M, D / H) of its last M frames, rotated.
        values: (L, H, M, D / H).
        inputs: (L, reach, D) last inputs of the convolutions, zeros before the start.
    """

    frames: int
    keys: Tensor
    values: Tensor
    inputs: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(one.nbytes for one in (self.keys, self.values, self.inputs))


@dataclass(frozen=True)
class BatchCache:
    """The pasts of B streams, the M last frames of each at the end of its row.

    Attributes:
        frames: (B,) number of frames that each has had.
        known: (B,) number of frames whose keys are real.
        keys: (L, B, H, M, D / H).
        values: (L, B, H, M, D / H).
        inputs: (L, B, reach, D).
    """

    frames: Tensor
    known: Tensor
    keys: Tensor
    values: Tensor
    inputs: Tensor

    @classmethod
    def of(cls, caches: Sequence[EncoderCache]) -> BatchCache:
        """Join the pasts of at least one stream."""
        device = caches[0].keys.device
        known = [one.keys.size(2) for one in caches]
        missing = [max(known) - count for count in known]
        keys, values = (
            torch.stack(
                [pad(one, (0, 0, more, 0)) for one, more in zip(part, missing, strict=True)]
            )
            for part in ([one.keys for one in caches], [one.values for one in caches])
        )
        return cls(
            torch.tensor([one.frames for one in caches], device=device),
            torch.tensor(known, device=device),
            keys.transpose(0, 1),
            values.transpose(0, 1),
            torch.stack([one.inputs for one in caches], dim=1),
        )

    def places(self, size: int) -> tuple[Tensor, Tensor]:
        """Places of the next `size` frames (B, size), and of cached and next frames (B, M + size).

        They count from the start of each stream.
        """
        first = self.frames.unsqueeze(1)
        past = self.keys.size(3)
        every = first + torch.arange(-past, size, device=first.device)
        return every[:, past:], every

    def followed_by(
        self, lengths: Tensor, keys: Tensor, values: Tensor, inputs: Tensor, most: int
    ) -> list[EncoderCache]:
        """The pasts after the next frames.

        Args:
            lengths: (B,) number of next frames.
            keys: (L, B, H, M + N, D / H) of cached and next frames.
            values: (L, B, H, M + N, D / H).
            inputs: (L, B, reach + N, D).
            most: keys that are kept.
        """
        past, reach = self.keys.size(3), self.inputs.size(2)
        caches = []
        rows = zip(self.frames.tolist(), self.known.tolist(), lengths.tolist(), strict=True)
        for row, (frames, known, new) in enumerate(rows):
            end = past + new
            kept = slice(end - min(most, known + new), end)
            # copies: a part of a batch would keep all of it in memory
            caches.append(
                EncoderCache(
                    frames + new,
                    keys[:, row, :, kept].clone(),
                    values[:, row, :, kept].clone(),
                    inputs[:, row, new : new + reach].clone(),
                )
            )
        return caches
