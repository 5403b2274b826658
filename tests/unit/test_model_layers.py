"""Subsampling, attention, convolution: against plain formulas, and what padding may not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from keyframe_asr.config.model import EncoderConfig, SubsamplingConfig
from keyframe_asr.model.attention import (
    SelfAttention,
    attend,
    merge_heads,
    rotary_angles,
    rotate,
    split_heads,
)
from keyframe_asr.model.conformer import ConformerEncoder
from keyframe_asr.model.convolution import ConvolutionModule
from keyframe_asr.model.masks import attention_mask, length_mask
from keyframe_asr.model.subsampling import (
    ConvolutionalSubsampling,
    GlobalNormalisation,
    subsampled_lengths,
)

BINS, DIM = 12, 16


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(11)


@pytest.mark.parametrize("factor", [4, 8])
@pytest.mark.parametrize("separable", [False, True])
def test_subsampled_lengths_are_those_of_the_convolutions(factor: int, separable: bool) -> None:
    config = SubsamplingConfig(factor=factor, channels=8, separable=separable)
    module = ConvolutionalSubsampling(BINS, DIM, config)
    assert module.factor == factor
    for frames in (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33):
        out, lengths = module(torch.randn(1, frames, BINS), torch.tensor([frames]))
        assert out.shape == (1, math.ceil(frames / factor), DIM)
        assert lengths.tolist() == [out.shape[1]]
        assert subsampled_lengths(torch.tensor([frames]), factor).tolist() == lengths.tolist()
    assert subsampled_lengths(torch.tensor([0]), factor).tolist() == [0]


def test_subsampling_is_two_strided_convolutions() -> None:
    module = ConvolutionalSubsampling(BINS, DIM, SubsamplingConfig(channels=8))
    features = torch.randn(1, 21, BINS)
    expected = features[:, None]
    for convolution in module.convolutions:
        assert isinstance(convolution, torch.nn.Conv2d)
        expected = conv2d(
            expected, convolution.weight, convolution.bias, stride=2, padding=1
        ).relu()
    flat = expected.permute(0, 2, 1, 3).reshape(1, 6, -1)
    found, _ = module(features, torch.tensor([21]))
    torch.testing.assert_close(found, flat @ module.projection.weight.T + module.projection.bias)


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("garbage", [1e6, math.nan])
def test_subsampling_does_not_see_padding(separable: bool, garbage: float) -> None:
    module = ConvolutionalSubsampling(BINS, DIM, SubsamplingConfig(channels=8, separable=separable))
    for frames in (1, 5, 18):
        features = torch.randn(1, frames, BINS)
        alone, _ = module(features, torch.tensor([frames]))
        padded = torch.cat((features, torch.full((1, 13, BINS), garbage)), dim=1)
        found, lengths = module(padded, torch.tensor([frames]))
        torch.testing.assert_close(found[:, : int(lengths)], alone, rtol=0, atol=1e-5)


def test_rotary_rotates_pairs_by_position() -> None:
    """Pair i of a head turns by position · 10000^(-2i/d), as complex numbers."""
    positions = torch.tensor([[0, 3, 50], [7, 8, 4000]])
    heads = torch.randn(2, 4, 3, 8)
    rotated = rotate(heads, rotary_angles(positions, 8)).numpy()
    pairs = heads[..., :4].numpy() + 1j * heads[..., 4:].numpy()
    frequency = 10_000.0 ** (-np.arange(0, 8, 2) / 8)
    turned = pairs * np.exp(1j * positions.numpy()[:, None, :, None] * frequency)
    np.testing.assert_allclose(rotated[..., :4], turned.real, atol=2e-3)
    np.testing.assert_allclose(rotated[..., 4:], turned.imag, atol=2e-3)


def test_rotary_attention_depends_on_distances_only() -> None:
    query, key = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    positions = torch.tensor([[0, 2, 3, 10, 11]])

    def scores(shift: int) -> Tensor:
        angles = rotary_angles(positions + shift, 8)
        return rotate(query, angles) @ rotate(key, angles).transpose(2, 3)

    torch.testing.assert_close(scores(0), scores(100), rtol=0, atol=1e-4)
    assert not torch.allclose(scores(0), query @ key.transpose(2, 3), atol=1e-2)


def test_attention_is_softmax_of_scaled_products() -> None:
    query, key, value = (torch.randn(2, 2, 4, 8) for _ in range(3))
    mask = attention_mask(torch.tensor([4, 2]), 4)
    scores = query @ key.transpose(2, 3) / math.sqrt(8)
    expected = scores.masked_fill(~mask, -math.inf).softmax(-1) @ value
    torch.testing.assert_close(attend(query, key, value, mask), expected)


def test_attention_without_mask_is_causal_if_asked() -> None:
    query, key, value = (torch.randn(1, 2, 4, 8) for _ in range(3))
    scores = query @ key.transpose(2, 3) / math.sqrt(8)
    future = torch.ones(4, 4, dtype=torch.bool).triu(1)
    expected = scores.masked_fill(future, -math.inf).softmax(-1) @ value
    torch.testing.assert_close(attend(query, key, value, None, causal=True), expected)
    everything = scores.softmax(-1) @ value
    torch.testing.assert_close(attend(query, key, value, None), everything)


def test_heads_are_split_and_merged_in_place() -> None:
    frames = torch.randn(2, 5, DIM)
    heads = split_heads(frames, 4)
    assert heads.shape == (2, 4, 5, 4)
    assert torch.equal(heads[:, 1], frames[..., 4:8])
    assert torch.equal(merge_heads(heads), frames)


def test_self_attention_does_not_see_padding() -> None:
    module = SelfAttention(DIM, 4)
    frames = torch.randn(1, 6, DIM)
    positions = torch.arange(9)[None]

    def run(padded: Tensor, size: int) -> Tensor:
        mask = attention_mask(torch.tensor([6]), size)
        return module(padded, mask, rotary_angles(positions[:, :size], 4))[:, :6]

    padded = torch.cat((frames, torch.full((1, 3, DIM), 1e4)), dim=1)
    torch.testing.assert_close(run(padded, 9), run(frames, 6), rtol=0, atol=1e-5)


def test_convolution_is_depthwise_over_time() -> None:
    module = ConvolutionModule(DIM, 5)
    frames = torch.randn(1, 7, DIM)
    inside = torch.ones(1, 7, 1, dtype=torch.bool)
    value, gate = module.expand(frames).chunk(2, dim=-1)
    gated = value * gate.sigmoid()
    padded = torch.cat((torch.zeros(1, 2, DIM), gated, torch.zeros(1, 2, DIM)), dim=1)
    weight = module.depthwise.weight[:, 0]  # (D, 5)
    mixed = torch.stack(
        [(padded[0, t : t + 5] * weight.T).sum(0) + module.depthwise.bias for t in range(7)]
    )
    normalised = module.norm(mixed)
    expected = module.output(normalised * normalised.sigmoid())
    torch.testing.assert_close(module(frames, inside)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("garbage", [1e6, math.nan])
def test_convolution_does_not_see_padding(garbage: float) -> None:
    module = ConvolutionModule(DIM, 15)
    frames = torch.randn(1, 6, DIM)
    alone = module(frames, torch.ones(1, 6, 1, dtype=torch.bool))
    padded = torch.cat((frames, torch.full((1, 9, DIM), garbage)), dim=1)
    inside = length_mask(torch.tensor([6]), 15).unsqueeze(-1)
    torch.testing.assert_close(module(padded, inside)[:, :6], alone, rtol=0, atol=1e-6)


def test_encoder_zeroes_padding_and_survives_an_empty_sequence() -> None:
    config = EncoderConfig(layers=2, keyframe_layer=1, dim=DIM, heads=2, feed_forward=32)
    encoder = ConformerEncoder(2, config).eval()
    lengths = torch.tensor([6, 0, 1])
    frames = torch.randn(3, 6, DIM, requires_grad=True)
    out = encoder(frames, lengths, torch.arange(6).expand(3, -1))
    assert out.isfinite().all()
    assert not out[~length_mask(lengths, 6)].any()
    assert (out[length_mask(lengths, 6)] != 0).any(dim=-1).all()
    out.sum().backward()
    assert frames.grad is not None
    assert frames.grad.isfinite().all()
    assert not frames.grad[~length_mask(lengths, 6)].any(), "padding takes no part"


def test_encoder_reads_positions() -> None:
    config = EncoderConfig(layers=1, keyframe_layer=1, dim=DIM, heads=2, feed_forward=32)
    encoder = ConformerEncoder(1, config).eval()
    frames, lengths = torch.randn(1, 4, DIM), torch.tensor([4])
    near, far = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 9, 30, 31]])
    assert not torch.allclose(
        encoder(frames, lengths, near), encoder(frames, lengths, far), atol=1e-4
    )
    shifted = encoder(frames, lengths, far + 50)
    torch.testing.assert_close(shifted, encoder(frames, lengths, far), rtol=0, atol=1e-4)


def test_encoder_without_layers_passes_frames_on() -> None:
    encoder = ConformerEncoder(0, EncoderConfig(dim=DIM, heads=2))
    frames = torch.randn(1, 4, DIM)
    out = encoder(frames, torch.tensor([3]), torch.arange(4)[None])
    assert torch.equal(out[:, :3], frames[:, :3])
    assert not out[:, 3:].any()


def test_normalisation_is_identity_until_measured() -> None:
    module = GlobalNormalisation(BINS)
    features = torch.randn(2, 5, BINS)
    assert torch.equal(module(features), features)
    module.mean.fill_(2.0)
    module.inverse_std.fill_(0.5)
    torch.testing.assert_close(module(features), (features - 2) / 2)
    assert module.state_dict().keys() == {"mean", "inverse_std"}
    assert not list(module.parameters())


def test_empty_sequences_keep_one_key() -> None:
    mask = attention_mask(torch.tensor([0, 1, 3]), 3)
    assert mask[:, 0, 0].tolist() == [
        [True, False, False],
        [True, False, False],
        [True, True, True],
    ]
