"""Weights as 8-bit integers with one scale a row: a quarter of float32, half of float16.

Symmetric, per output row (Jacob et al., 2018, section 3, with a zero point of 0): each row of a
matrix becomes integers in [-127, 127] and a scale, its greatest magnitude / 127. Only what is
stored is smaller: weights are made float32 again when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

SCALE_SUFFIX = ".row_scale"
"""Follows the name of a quantised weight in the name of its scales."""

LARGEST = 127


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight (R, ...) of two or more dimensions as int8 and its scales (R,) float32."""
    rows = weight.detach().float().flatten(1)
    scale = rows.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
    return (rows / scale.unsqueeze(1)).round().to(torch.int8).reshape(weight.shape), scale


def dequantise(integers: Tensor, scale: Tensor) -> Tensor:
    """The float32 weight of `quantise`, each value off by half a scale of its row at most."""
    return integers.float() * scale.reshape(-1, *[1] * (integers.dim() - 1))


def with_quantised(weights: dict[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """The weights with those of these names, where they are matrices, as integers and scales."""
    stored = {}
    for name, weight in weights.items():
        if name in names and weight.dim() >= 2:
            stored[name], stored[name + SCALE_SUFFIX] = quantise(weight)
        else:
            stored[name] = weight
    return stored


def without_quantised(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `with_quantised` was given, up to rounding."""
    return {
        name: dequantise(weight, stored[name + SCALE_SUFFIX])
        if name + SCALE_SUFFIX in stored
        else weight
        for name, weight in stored.items()
        if not name.endswith(SCALE_SUFFIX)
    }
