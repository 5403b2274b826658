"""Feature normalisation and convolutional subsampling.

Encoder frames have a rate of 25 Hz (factor 4) or 12.5 Hz (factor 8). The input is fbank at 100 Hz,
or the outputs of a pretrained encoder at 50 Hz, which already include a factor of 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from keyframe_asr.config.model import SubsamplingConfig
from keyframe_asr.model.masks import length_mask
from keyframe_asr.streams.shapes import edge_shapes


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
        self.num_mel_bins, self.config = num_mel_bins, config
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

    def step(
        self, features: Tensor, lengths: Tensor, kept: Tensor, edges: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Subsample the next features of streams, like `forward` with all of them.

        An output of a convolution takes its inputs 2u - 1 to 2u + 1. So after a multiple of
        `factor` features every convolution has had an even number of inputs, and needs only the
        last one for what follows; and the outputs so far need no feature that is yet to come.

        Args:
            features: (B, T, F), T > 0.
            lengths: (B,) a multiple of `factor`, unless these are the last features.
            kept: (B,) number of features after which the next step begins, also a multiple of
                `factor`, unless it is the length.
            edges: (B, S) the last input (C, F) of each convolution, one after the other; zeros at
                the start.

        Returns:
            Frames (B, U, D), their lengths (B,), and the edges after the kept features, which are
            of no use after the last ones.
        """
        frames = features.unsqueeze(1)
        shapes = edge_shapes(self.config, self.num_mel_bins)
        before = edges.split([channels * bins for channels, bins in shapes], dim=1)
        following = []
        for convolution, shape, edge in zip(self.convolutions, shapes, before, strict=True):
            inside = length_mask(lengths, frames.size(2))[:, None, :, None]
            frames = frames.masked_fill(~inside, 0.0)
            last = (kept - 1).view(-1, 1, 1, 1).expand(-1, frames.size(1), 1, frames.size(3))
            following.append(frames.gather(2, last).flatten(1))
            edge = edge.unflatten(1, shape).unsqueeze(2)
            # the convolution pads with zeros on the left; its first output, which sees them, is
            # not one of these
            frames = torch.cat((torch.zeros_like(edge), edge, frames), dim=2)
            frames = torch.relu(convolution(frames))[:, :, 1:]
            lengths, kept = subsampled_lengths(lengths, 2), subsampled_lengths(kept, 2)
        projected = self.projection(frames.transpose(1, 2).flatten(2))
        return projected, lengths, torch.cat(following, dim=1)


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
