"""Feature normalisation and convolutional subsampling.

Encoder frames have a rate of 25 Hz (factor 4) or 12.5 Hz (factor 8). The input is fbank at 100 Hz,
or the outputs of a pretrained encoder at 50 Hz, which already include a factor of 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from keyframe_asr.config.model import SubsamplingConfig
from keyframe_asr.model.masks import length_mask


def subsampled_lengths(lengths: Tensor, factor: int) -> Tensor:
    """Number of encoder frames: ceil(lengths / factor), for powers of two."""
    return (lengths + factor - 1) // factor


class GlobalNormalisation(nn.Module):
    """Global cepstral mean and variance normalisation (CMVN), stored with the weights.

    Shifts and scales each feature by statistics of the training set; the identity by default.

    Buffers: `mean` (F,) and `inverse_std` (F,), both float32.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, num_mel_bins: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_mel_bins))
        self.register_buffer("inverse_std", torch.ones(num_mel_bins))

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features (B, T, F); same shape."""
        return (features - self.mean) * self.inverse_std


class ConvolutionalSubsampling(nn.Module):
    """Stacked 3x3 convolutions of stride 2 over time and frequency, then a projection.

    With `separable`, each convolution after the first is depthwise followed by pointwise, at about
    a ninth of the cost. Padding is masked before every convolution.
    """

    def __init__(self, num_mel_bins: int, dim: int, config: SubsamplingConfig) -> None:
        super().__init__()
        self.factor: int = config.factor
        self.num_mel_bins, self.channels = num_mel_bins, config.channels
        self.convolutions = nn.ModuleList()
        channels, bins = 1, num_mel_bins
        for _ in range(config.factor.bit_length() - 1):
            self.convolutions.append(
                _strided_convolution(channels, config.channels, config.separable and channels > 1)
            )
            channels, bins = config.channels, (bins + 1) // 2
        self.projection = nn.Linear(channels * bins, dim)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, T, F) of lengths (B,) to frames (B, U, D) of lengths (B,)."""
        frames = features.unsqueeze(1)
        for convolution in self.convolutions:
            inside = length_mask(lengths, frames.size(2))[:, None, :, None]
            frames = torch.relu(convolution(frames.masked_fill(~inside, 0.0)))
            lengths = subsampled_lengths(lengths, 2)
        return self.projection(frames.transpose(1, 2).flatten(2)), lengths

    def start(self) -> tuple[Tensor, ...]:
        """What `step` takes of a stream without features: the zeros before the first of them."""
        edges, channels, bins = [], 1, self.num_mel_bins
        for _ in self.convolutions:
            edges.append(self.projection.weight.new_zeros(channels, bins))
            channels, bins = self.channels, (bins + 1) // 2
        return tuple(edges)

    def step(
        self, features: Tensor, lengths: Tensor, edges: Sequence[tuple[Tensor, ...]]
    ) -> tuple[Tensor, Tensor, list[tuple[Tensor, ...]]]:
        """Subsample the next features of streams, like `forward` with all of them.

        An output of a convolution takes its inputs 2u - 1 to 2u + 1. So after a multiple of
        `factor` features every convolution has had an even number of inputs, and needs only the
        last one for what follows; and the outputs so far need no feature that is yet to come.

        Args:
            features: (B, T, F).
            lengths: (B,) a multiple of `factor`, unless these are the last features.
            edges: the last input (C, F) of each convolution, of each stream.

        Returns:
            Frames (B, U, D), their lengths (B,), and the edges that follow, which are of no use
            after other lengths.
        """
        frames = features.unsqueeze(1)
        following = []
        for number, convolution in enumerate(self.convolutions):
            inside = length_mask(lengths, frames.size(2))[:, None, :, None]
            frames = frames.masked_fill(~inside, 0.0)
            rows = torch.arange(len(frames), device=frames.device)
            following.append(frames[rows, :, (lengths - 1).clamp(min=0)])
            edge = torch.stack([one[number] for one in edges]).unsqueeze(2)
            # the convolution pads with zeros on the left; its first output, which sees them, is
            # not one of these
            frames = torch.cat((torch.zeros_like(edge), edge, frames), dim=2)
            frames = torch.relu(convolution(frames))[:, :, 1:]
            lengths = subsampled_lengths(lengths, 2)
        after = list(zip(*(one.unbind() for one in following), strict=True))
        return self.projection(frames.transpose(1, 2).flatten(2)), lengths, after


class EncodingSubsampling(nn.Module):
    """Convolutions of width 3 and stride 2 over a pretrained encoder's outputs, then a projection.

    The factor is relative to 100 Hz; the encoder already includes a factor of 2.
    """

    def __init__(self, width: int, dim: int, config: SubsamplingConfig) -> None:
        super().__init__()
        self.factor: int = config.factor
        self.convolutions = nn.ModuleList()
        for _ in range(config.factor.bit_length() - 2):
            self.convolutions.append(nn.Conv1d(width, config.channels, 3, stride=2, padding=1))
            width = config.channels
        self.projection = nn.Linear(width, dim)

    def forward(self, encodings: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map encodings (B, N, width) of lengths (B,) to frames (B, U, D) of lengths (B,)."""
        frames = encodings.transpose(1, 2)
        for convolution in self.convolutions:
            inside = length_mask(lengths, frames.size(2)).unsqueeze(1)
            frames = gelu(convolution(frames.masked_fill(~inside, 0.0)))
            lengths = subsampled_lengths(lengths, 2)
        return self.projection(frames.transpose(1, 2)), lengths


def _strided_convolution(inputs: int, outputs: int, separable: bool) -> nn.Module:
    if not separable:
        return nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride=2, padding=1, groups=inputs),
        nn.Conv2d(inputs, outputs, 1),
    )
