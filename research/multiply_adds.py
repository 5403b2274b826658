"""Multiply-adds of the encoders on one utterance, as torch counts them.

The network's own modules run under `FlopCounterMode`; a multiply-add is two of its operations. It
counts matrix products and convolutions as they are computed: attention over a window multiplies all
pairs of frames and masks most of them. Element by element operations, a percent or less, are not
counted. The counter of torch 2.13 has no formula for the CPU's fused attention, which is therefore
forced to plain matrix products; they are as many.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from keyframe_asr.model.keyframes import Keyframes
from keyframe_asr.model.network import KeyframeNetwork


@dataclass(frozen=True)
class MultiplyAdds:
    """Of the pieces of a network on one utterance."""

    subsampling: int
    encoder1: int
    inter_ctc: int
    """With self-conditioning, if there is any."""
    fusion: int
    encoder2: int
    head: int

    @property
    def total(self) -> int:
        """All pieces together."""
        return (
            self.subsampling
            + self.encoder1
            + self.inter_ctc
            + self.fusion
            + self.encoder2
            + self.head
        )


@dataclass(frozen=True)
class Growth:
    """Multiply-adds of a piece on N frames: `linear` * N + `quadratic` * N², exactly."""

    linear: int
    quadratic: int

    @classmethod
    def of(cls, run: Callable[[Tensor, Keyframes], object], width: int, device: str) -> Growth:
        """From what a piece computes on one and on two frames of a width."""
        counts = []
        for size in (1, 2):
            every = Keyframes.all_frames(torch.tensor([size], device=device), size)
            frames = torch.zeros(1, size, width, device=device)
            with _counting() as counter:
                run(frames, every)
            counts.append(counter.get_total_flops() // 2)
        quadratic = (counts[1] - 2 * counts[0]) // 2
        return cls(counts[0] - quadratic, quadratic)

    def __call__(self, frames: int) -> int:
        """Multiply-adds on so many frames."""
        return self.linear * frames + self.quadratic * frames**2


class MultiplyAddsCounter:
    """Counts for utterances of one network, of all but its pretrained encoder and its decoder."""

    def __init__(self, network: KeyframeNetwork) -> None:
        dim, device = network.inter_ctc.in_features, str(network.inter_ctc.weight.device)
        conditioning = network.conditioning
        self._encoder1 = Growth.of(
            lambda frames, every: network.encoder1(frames, every.lengths, every.index), dim, device
        )
        self._inter_ctc = Growth.of(
            lambda frames, every: (
                network.inter_ctc(frames)
                if conditioning is None
                else conditioning(network.inter_ctc(frames))
            ),
            dim,
            device,
        )
        self._fusion = Growth.of(
            lambda frames, every: network.fusion(frames, every.lengths, every), dim, device
        )
        self._encoder2 = Growth.of(
            lambda frames, every: network.encoder2(frames, every.lengths, every.index), dim, device
        )
        self._head = Growth.of(lambda frames, every: network.head(frames), dim, device)
        # of whole utterances, for which shapes are enough
        self._width = network.normalisation.mean.numel()
        self._subsampling = copy.deepcopy(network.subsampling).to("meta")
        self._subsampled = functools.cache(self._count_subsampling)

    def count(self, frames: int, keyframes: int | None, *, fused: bool) -> MultiplyAdds:
        """Multiply-adds of one utterance in recognition.

        Args:
            frames: of what enters the subsampling, 100 a second, 50 of a pretrained encoder.
            keyframes: frames that encoder 2 sees; None if none are dropped.
            fused: whether frames are fused.
        """
        encoded, subsampling = self._subsampled(frames)
        kept = encoded if keyframes is None else keyframes
        return MultiplyAdds(
            subsampling=subsampling,
            encoder1=self._encoder1(encoded),
            inter_ctc=self._inter_ctc(encoded),
            fusion=self._fusion(kept) if fused else 0,
            encoder2=self._encoder2(kept),
            head=self._head(kept),
        )

    def _count_subsampling(self, frames: int) -> tuple[int, int]:
        """Encoder frames of so many frames, and multiply-adds."""
        features = torch.empty(1, frames, self._width, device="meta")
        lengths = torch.empty(1, dtype=torch.long, device="meta")
        with _counting() as counter:
            encoded, _ = self._subsampling(features, lengths)
        return encoded.size(1), counter.get_total_flops() // 2


@contextmanager
def _counting() -> Iterator[FlopCounterMode]:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter
