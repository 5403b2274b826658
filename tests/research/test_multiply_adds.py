"""Multiply-adds from the configuration are those that torch counts."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from keyframe_asr.config.model import EncoderConfig, FusionConfig, ModelConfig, SubsamplingConfig
from keyframe_asr.model.network import KeyframeNetwork
from research.multiply_adds import encoder_frames, encoder_multiply_adds

BINS, VOCABULARY, FRAMES, TOKENS = 20, 50, 83, 5


def model(fusion: FusionConfig, subsampling: SubsamplingConfig, **encoder: object) -> ModelConfig:
    described = EncoderConfig(
        layers=3, keyframe_layer=2, dim=16, heads=2, feed_forward=24, kernel=5
    ).model_copy(update=encoder)
    return ModelConfig(encoder=described, fusion=fusion, subsampling=subsampling, decoder=None)


@pytest.mark.parametrize("keyframes", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        model(FusionConfig(), SubsamplingConfig(channels=8)),
        model(FusionConfig(kind="concat", window=5), SubsamplingConfig(channels=8, factor=8)),
        model(FusionConfig(kind="mean"), SubsamplingConfig(factor=8, channels=8, separable=True)),
        model(FusionConfig(), SubsamplingConfig(channels=8), self_conditioning=True),
    ],
    ids=["attention", "concat, factor 8", "separable", "self-conditioning"],
)
def test_as_torch_counts(config: ModelConfig, keyframes: bool) -> None:
    torch.manual_seed(0)
    network = KeyframeNetwork(config, BINS, VOCABULARY).eval()
    network.keyframes_enabled = network.fusion_enabled = keyframes
    network.inter_ctc.bias.data[0] = 30.0  # so that there are as many keyframes as are asked for
    features, length = torch.randn(1, FRAMES, BINS), torch.tensor([FRAMES])
    # the counter knows no other attention of the CPU
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoded = network.encode(features, length, torch.tensor([TOKENS]))
    assert encoder_frames(config, FRAMES) == int(encoded.frame_lengths)
    kept = TOKENS if keyframes else int(encoded.frame_lengths)
    assert int(encoded.keyframes.lengths) == kept
    found = encoder_multiply_adds(config, BINS, VOCABULARY, FRAMES, kept, keyframes)
    assert 2 * found.total == counter.get_total_flops()


def test_keyframes_bound_what_can_be_saved() -> None:
    config = ModelConfig()
    every = encoder_multiply_adds(config, 80, 4233, 12_000, 3000, False)
    kept = encoder_multiply_adds(config, 80, 4233, 12_000, 348, True)
    assert kept.encoder1 == every.encoder1 == every.encoder2
    assert kept.encoder2 < 0.1 * every.encoder2
    assert kept.total > every.total / 3
