"""Global cepstral mean and variance normalisation (CMVN), stored with the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GlobalNormalisation(nn.Module):
    """Shift and scale each mel bin by statistics of the training set; identity until they are set.

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
