"""What a pretrained decoder attends to: a few vectors around the keyframes.

Whisper's decoder (arXiv 2212.04356) was trained on the outputs of its own encoder, 50 per second.
`fused` gives it one vector per keyframe, a mean of the outputs around the keyframe with learned
weights, or the output of the encoder's upper layers if they run on keyframes; `neighbours` gives it
these outputs themselves, each once; `encoder2` the output of encoder 2 through a linear layer. An
adapter follows, which starts as the identity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from keyframe_asr.config.model import PretrainedDecoderConfig
from keyframe_asr.model.keyframe_layers import mean_around, outputs_around
from keyframe_asr.model.keyframes import Keyframes, distinct_frames, gather_frames

LONGEST_PERIOD = 10_000.0
"""Of the sinusoids, as in Whisper's encoder."""


class DecoderMemory(nn.Module):
    """Makes the memory of a pretrained decoder.

    Args:
        config: kind of memory.
        width: width of the vectors it is made of: of the pretrained encoder, or of encoder 2.
        dim: width D of the decoder.
        outputs_per_frame: outputs of the pretrained encoder per encoder frame.
        of_keyframes: the vectors are one per keyframe already, as those of encoder 2 are.
    """

    def __init__(
        self,
        config: PretrainedDecoderConfig,
        width: int,
        dim: int,
        outputs_per_frame: int,
        *,
        of_keyframes: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.outputs_per_frame = outputs_per_frame
        self.of_keyframes = of_keyframes or config.memory == "encoder2"
        if config.memory == "fused" and not self.of_keyframes:
            self.score = nn.Linear(width, 1, bias=False)
            self.offset_bias = nn.Parameter(torch.zeros(config.memory_frames))
            nn.init.zeros_(self.score.weight)
        if config.positions:
            self.position_scale = nn.Parameter(torch.zeros(()))
        self.adapter = nn.Linear(width, dim)
        if width == dim:
            nn.init.eye_(self.adapter.weight)
            nn.init.zeros_(self.adapter.bias)

    def forward(
        self, outputs: Tensor, output_lengths: Tensor, keyframes: Keyframes
    ) -> tuple[Tensor, Tensor]:
        """Make the memory of a batch.

        Args:
            outputs: (B, T, width) of the pretrained encoder at 50 Hz; (B, K, width) if they are of
                keyframes.
            output_lengths: (B,).
            keyframes: index (B, K) in encoder frames.

        Returns:
            Vectors (B, M, D), and how many of them belong to each utterance (B,).
        """
        centres = (keyframes.index + 0.5) * self.outputs_per_frame - 0.5
        if self.of_keyframes:
            vectors, lengths = outputs, keyframes.lengths
        elif self.config.memory == "fused":
            vectors, lengths = self.fused(outputs, output_lengths, keyframes), keyframes.lengths
        else:
            if outputs.size(1) == 0:  # there is nothing to take an output from
                outputs = outputs.new_zeros(outputs.size(0), 1, outputs.size(2))
            size, step = self.config.memory_frames, self.outputs_per_frame
            around = outputs_around(keyframes, output_lengths, size, step)
            vectors, centres, lengths = _each_once(outputs, *around)
        return self.adapt(vectors, centres), lengths

    def adapt(self, vectors: Tensor, centres: Tensor) -> Tensor:
        """Map vectors (B, M, width) at these outputs (B, M) to (B, M, D)."""
        adapted: Tensor = self.adapter(vectors)
        if self.config.positions:
            adapted = adapted + self.position_scale * _sinusoids(centres, adapted.size(-1))
        return adapted

    def fused(self, outputs: Tensor, output_lengths: Tensor, keyframes: Keyframes) -> Tensor:
        """The mean (B, K, width) of the outputs around each keyframe; arguments as in `forward`."""
        weights = self.score, self.offset_bias
        return mean_around(outputs, output_lengths, keyframes, self.outputs_per_frame, *weights)


def _each_once(outputs: Tensor, places: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs (B, M, width) at these places, without repetition, their places and numbers."""
    index, real = distinct_frames(places, inside, outputs.size(1))
    return gather_frames(outputs, index, real), index, real.sum(dim=1)


def _sinusoids(places: Tensor, dim: int) -> Tensor:
    """Sinusoids (B, M, dim) of places (B, M): sines, then cosines, as in Whisper's encoder."""
    half = dim // 2
    exponents = torch.arange(half, device=places.device) / max(1, half - 1)
    angles = places.unsqueeze(-1) * torch.exp(-math.log(LONGEST_PERIOD) * exponents)
    waves = torch.cat((angles.sin(), angles.cos()), dim=-1)
    return nn.functional.pad(waves, (0, dim - 2 * half))
