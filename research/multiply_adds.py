"""Count the multiply-adds of the encoders on one utterance.

The modules of the network run under torch's `FlopCounterMode`, which counts a multiply-add as two
operations. Matrix products and convolutions are counted as they are computed: windowed attention
multiplies all pairs of frames and masks most of them. Element-wise operations, one percent or less,
are not counted. The counter of torch 2.13 has no formula for fused attention on the CPU, so
attention is computed by plain matrix products, of which there are as many. Older records count
self-conditioning on all frames, up to 2 % more.
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
    """Multiply-adds of the components of a network on one utterance."""

    subsampling: int
    encoder1: int
    inter_ctc: int
    """Includes self-conditioning, if any, of the frames around the keyframes."""
    fusion: int
    encoder2: int
    head: int

    @property
    def total(self) -> int:
        """Sum over all components."""
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
    """Multiply-adds of a component on N frames: exactly `linear` * N + `quadratic` * N²."""

    linear: int
    quadratic: int

    @classmethod
    def of(cls, run: Callable[[Tensor, Keyframes], object], width: int, device: str) -> Growth:
        """Derive both terms from counts on one and on two frames of this width."""
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
        """Return the multiply-adds on this many frames."""
        return self.linear * frames + self.quadratic * frames**2


class MultiplyAddsCounter:
    """Counts multiply-adds of one network, without its pretrained encoder and its decoder."""

    def __init__(self, network: KeyframeNetwork) -> None:
        dim, device = network.inter_ctc.in_features, str(network.inter_ctc.weight.device)
        conditioning = network.conditioning
        self._encoder1 = Growth.of(
            lambda frames, every: network.encoder1(frames, every.lengths, every.index), dim, device
        )
        self._inter_ctc = Growth.of(lambda frames, every: network.inter_ctc(frames), dim, device)
        self._conditioning = Growth(0, 0)
        if conditioning is not None:
            self._conditioning = Growth.of(
                lambda frames, every: conditioning(frames), network.vocab_size, device
            )
        self._window = len(network.fusion.offsets)
        self._fusion = Growth.of(
            lambda frames, every: network.fusion(frames, every.lengths, every), dim, device
        )
        self._encoder2 = Growth.of(
            lambda frames, every: network.encoder2(frames, every.lengths, every.index), dim, device
        )
        self._head = Growth.of(lambda frames, every: network.head(frames), dim, device)
        # on the meta device: the count needs only shapes
        self._width = network.normalisation.mean.numel()
        self._subsampling = copy.deepcopy(network.subsampling).to("meta")
        self._subsampled = functools.cache(self._count_subsampling)

    def count(self, frames: int, keyframes: int | None, *, fused: bool) -> MultiplyAdds:
        """Return the multiply-adds of one utterance in recognition.

        Args:
            frames: input frames of the subsampling: 100 per second, or 50 after a pretrained
                encoder.
            keyframes: number of frames that encoder 2 sees; None if none are dropped.
            fused: True if frames are fused.
        """
        encoded, subsampling = self._subsampled(frames)
        kept = encoded if keyframes is None else keyframes
        conditioned = min(encoded, kept * (self._window if fused else 1))
        return MultiplyAdds(
            subsampling=subsampling,
            encoder1=self._encoder1(encoded),
            inter_ctc=self._inter_ctc(encoded) + self._conditioning(conditioned),
            fusion=self._fusion(kept) if fused else 0,
            encoder2=self._encoder2(kept),
            head=self._head(kept),
        )

    def _count_subsampling(self, frames: int) -> tuple[int, int]:
        """Return the number of encoder frames, and the multiply-adds."""
        features = torch.empty(1, frames, self._width, device="meta")
        lengths = torch.empty(1, dtype=torch.long, device="meta")
        with _counting() as counter:
            encoded, _ = self._subsampling(features, lengths)
        return encoded.size(1), counter.get_total_flops() // 2


def pretrained_multiply_adds(
    network: KeyframeNetwork, features: int, keyframes: int
) -> tuple[int, int]:
    """Multiply-adds of a pretrained encoder on one utterance: on all frames, and on keyframes.

    Args:
        network: a network with a pretrained encoder.
        features: length of the encoder's input: mel frames of 10 ms, or samples.
        keyframes: number of keyframes that its upper layers run on, if it has such layers.
    """
    encoder, upper = network.pretrained, network.keyframe_layers
    assert encoder is not None
    width = encoder.architecture.get("num_mel_bins", 1)
    with _counting() as below:
        outputs, lengths = encoder(torch.zeros(1, features, width), torch.tensor([features]))
    if upper is None:
        return below.get_total_flops() // 2, 0
    every = Keyframes.all_frames(torch.tensor([keyframes]), keyframes)
    with _counting() as above:
        vectors = upper(encoder, outputs[..., -encoder.dim :], lengths, every)
        upper.projection(vectors)
    return below.get_total_flops() // 2, above.get_total_flops() // 2


@contextmanager
def _counting() -> Iterator[FlopCounterMode]:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter
