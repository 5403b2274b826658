"""From features to encoder frames: normalisation, then convolutional subsampling in time.

Subsampling gives 25 Hz (factor 4) or 12.5 Hz (factor 8), of fbank at 100 Hz or of a pretrained
encoder's outputs at 50 Hz, which is half of the factor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from keyframe_asr.config.model import SubsamplingConfig
from keyframe_asr.model.masks import length_mask


def subsampled_lengths(lengths: Tensor, factor: int) -> Tensor:
    """Encoder frames of so many fbank frames: ceil(lengths / factor), for factors of two."""
    return (lengths + factor - 1) // factor


class GlobalNormalisation(nn.Module):
    """Global cepstral mean and variance normalisation (CMVN), stored with the weights.

    Shift and scale each mel bin by statistics of the training set; identity until they are set.

    Buffers: `mean` (F,) and `inverse_std` (F,), both float32.
    """

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, num_mel_bins: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_mel_bins))
        self.register_buffer("inverse_std", torch.ones(num_mel_bins))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, T, F) to the same shape."""
        return (features - self.mean) * self.inverse_std


class ConvolutionalSubsampling(nn.Module):
    """Stacked 3x3 convolutions of stride 2 over time and frequency, then a projection.

    With `separable`, each convolution after the first is depthwise followed by pointwise, at about
    a ninth of the cost. Padding is masked before every convolution, so it never leaks in.
    """

    def __init__(self, num_mel_bins: int, dim: int, config: SubsamplingConfig) -> None:
        super().__init__()
        self.factor: int = config.factor
        self.convolutions = nn.ModuleList()
        channels, bins = 1, num_mel_bins
        for _ in range(config.factor.bit_length() - 1):
            self.convolutions.append(
                _strided_convolution(channels, config.channels, config.separable and channels > 1)
            )
            channels, bins = config.channels, (bins + 1) // 2
        self.projection = nn.Linear(channels * bins, dim)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) and lengths (B,) to frames (B, U, D) and lengths (B,)."""
        frames = features.unsqueeze(1)
        for convolution in self.convolutions:
            inside = length_mask(lengths, frames.size(2))[:, None, :, None]
            frames = torch.relu(convolution(frames.masked_fill(~inside, 0.0)))
            lengths = subsampled_lengths(lengths, 2)
        return self.projection(frames.transpose(1, 2).flatten(2)), lengths


class EncodingSubsampling(nn.Module):
    """Convolutions of width 3 and stride 2 over a pretrained encoder's outputs, then a projection.

    The factor counts from 100 Hz, as everywhere: the encoder itself has taken 2 of it.
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
        """Encodings (B, N, width) and lengths (B,) to frames (B, U, D) and lengths (B,)."""
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
