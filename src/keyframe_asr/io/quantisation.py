"""8-bit weights: symmetric, per output row (Jacob et al., 2018, section 3, with zero point 0).

Each row of a matrix is stored as integers in [-127, 127] and a scale, its largest magnitude / 127.
This takes a quarter of the space of float32, half of float16.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

SCALE_SUFFIX = ".row_scale"
"""Suffix of the name of a quantised weight's scales."""

LARGEST = 127


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise a weight (R, ...) of two or more dimensions to int8 and scales (R,) float32."""
    rows = weight.detach().float().flatten(1)
    scale = rows.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
    return (rows / scale.unsqueeze(1)).round().to(torch.int8).reshape(weight.shape), scale


def dequantise(integers: Tensor, scale: Tensor) -> Tensor:
    """Invert `quantise` to float32; values differ by at most half the scale of their row."""
    return integers.float() * scale.reshape(-1, *[1] * (integers.dim() - 1))


def with_quantised(weights: dict[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Quantise the weights of these names that are matrices of floats; leave all others."""
    stored = {}
    for name, weight in weights.items():
        if name in names and weight.dim() >= 2 and weight.is_floating_point():
            stored[name], stored[name + SCALE_SUFFIX] = quantise(weight)
        else:
            stored[name] = weight
    return stored


def without_quantised(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Invert `with_quantised`, up to rounding."""
    return {
        name: dequantise(weight, stored[name + SCALE_SUFFIX])
        if name + SCALE_SUFFIX in stored
        else weight
        for name, weight in stored.items()
        if not name.endswith(SCALE_SUFFIX)
    }


def stored_parts(stored: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return what is stored of one weight: itself and, if it is quantised, its scales."""
    return {one: stored[one] for one in (name, name + SCALE_SUFFIX) if one in stored}


def integer_weights(stored: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the matrices that are stored as integers, with their scales."""
    return {
        name: (weight, stored[name + SCALE_SUFFIX])
        for name, weight in stored.items()
        if name + SCALE_SUFFIX in stored and weight.dim() == 2
    }
