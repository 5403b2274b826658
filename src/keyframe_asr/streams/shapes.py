"""Sizes that follow from the configuration of a model."""

from __future__ import annotations

from keyframe_asr.config.model import FusionConfig, SubsamplingConfig


def fusion_offsets(config: FusionConfig) -> tuple[int, ...]:
    """Offsets of the frames around a keyframe that are fused, ascending; 0 is the keyframe."""
    if config.kind == "none":
        return (0,)
    first = 1 - config.window if config.left_only else -(config.window // 2)
    return tuple(range(first, first + config.window))


def edge_shapes(config: SubsamplingConfig, num_mel_bins: int) -> list[tuple[int, int]]:
    """Channels and bins of the input of each convolution of the subsampling."""
    shapes, channels, bins = [], 1, num_mel_bins
    for _ in range(config.factor.bit_length() - 1):
        shapes.append((channels, bins))
        channels, bins = config.channels, (bins + 1) // 2
    return shapes
