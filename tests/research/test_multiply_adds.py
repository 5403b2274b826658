"""Multiply-adds by piece and length are those of the whole network, of the paper's, and by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fixtures.tiny_pretrained import WHISPER, pretrained_config
from keyframe_asr.config.model import (
    EncoderConfig,
    FusionConfig,
    ModelConfig,
    SubsamplingConfig,
)
from keyframe_asr.config.recipe import load_recipe
from keyframe_asr.model.network import KeyframeNetwork
from research.multiply_adds import MultiplyAddsCounter, pretrained_multiply_adds

BINS, VOCABULARY, FRAMES, TOKENS = 20, 50, 83, 5
FAST_AND_PAPER = ("aishell1_fast", "aishell1")


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
def test_the_pieces_are_the_whole(config: ModelConfig, keyframes: bool) -> None:
    torch.manual_seed(0)
    network = KeyframeNetwork(config, BINS, VOCABULARY).eval()
    network.keyframes_enabled = network.fusion_enabled = keyframes
    network.inter_ctc.bias.data[0] = 30.0  # so that there are as many keyframes as are asked for
    features, length = torch.randn(1, FRAMES, BINS), torch.tensor([FRAMES])
    # the counter knows no other attention of the CPU
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoded = network.encode(features, length, torch.tensor([TOKENS]))
    assert int(encoded.keyframes.lengths) == TOKENS or not keyframes
    found = MultiplyAddsCounter(network).count(
        FRAMES, TOKENS if keyframes else None, fused=keyframes
    )
    assert 2 * found.total == counter.get_total_flops()


@pytest.mark.parametrize("layer", [None, 1, 2])
def test_a_pretrained_encoder_is_counted_below_and_above_the_keyframes(layer: int | None) -> None:
    encoder = pretrained_config(WHISPER, keyframe_layer=layer)
    config = model(FusionConfig(), SubsamplingConfig(channels=8)).model_copy(
        update={"pretrained": encoder}
    )
    torch.manual_seed(0)
    network = KeyframeNetwork(config, BINS, VOCABULARY).eval()
    network.keyframes_enabled = network.fusion_enabled = True
    network.inter_ctc.bias.data[0] = 30.0
    features, length = torch.randn(1, FRAMES, 80), torch.tensor([FRAMES])
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network.encode(features, length, torch.tensor([TOKENS]))
    below, above = pretrained_multiply_adds(network, FRAMES, TOKENS)
    own = MultiplyAddsCounter(network).count((FRAMES + 1) // 2, TOKENS, fused=True)
    assert 2 * (below + above + own.total) == counter.get_total_flops()
    assert (above > 0) == (layer is not None)


def test_a_layer_by_hand() -> None:
    """Conformer layers, dim 16, on 21 frames: two feed-forwards of 24, attention, convolutions."""
    network = KeyframeNetwork(
        model(FusionConfig(), SubsamplingConfig(channels=8)), BINS, VOCABULARY
    )
    found = MultiplyAddsCounter(network).count(FRAMES, TOKENS, fused=True)

    def layer(frames: int) -> int:
        feed_forward, attention, convolution = 4 * 16 * 24, 4 * 16 * 16, 3 * 16 * 16 + 5 * 16
        return frames * (feed_forward + attention + convolution) + 2 * frames * frames * 16

    assert (found.encoder1, found.encoder2) == (2 * layer(21), layer(TOKENS))
    assert (found.inter_ctc, found.head) == (21 * 16 * 50, TOKENS * 16 * 50)
    assert found.fusion == TOKENS * (1 + 3) * 16 * 4  # a query and three keys, a quarter as wide
    assert found.subsampling == 42 * 10 * 9 * 8 + 21 * 5 * (8 * 9) * 8 + 21 * (8 * 5) * 16


def test_figures_that_are_told_are_counted_alike(repository: Path) -> None:
    """At the paper's size, as the record of the study of costs holds them."""
    record = json.loads((repository / "research" / "records" / "cost.json").read_text())
    study, parts = record["study"], record["parts"]
    recipe = load_recipe(repository / study["recipe"])
    network = KeyframeNetwork(recipe.model, recipe.features.num_mel_bins, study["vocabulary"])
    counter = MultiplyAddsCounter(network.eval())
    rows = parts["length of the utterance, cpu"]["result"]["rows"]
    assert [row["seconds"] for row in rows] == study["seconds"]
    for row in rows:
        frames, tokens = (round(row["seconds"] * rate) for rate in (100, 2.9))
        for name, kept in (("all frames", None), ("keyframes", tokens)):
            found = counter.count(frames, kept, fused=kept is not None)
            assert asdict(found) | {"total": found.total} == row[name]["multiply_adds"]


@pytest.mark.parametrize("seconds", [5, 30])
def test_the_fast_recipe_has_a_third_of_the_cost(repository: Path, seconds: int) -> None:
    """With the characters per second of AISHELL-1, against the paper's network on all frames."""
    characters, vocabulary = 2.9, 4233
    recipes = [load_recipe(repository / f"recipes/{name}.yaml") for name in FAST_AND_PAPER]
    fast, paper = (
        MultiplyAddsCounter(KeyframeNetwork(one.model, one.features.num_mel_bins, vocabulary))
        for one in recipes
    )
    with_keyframes = fast.count(100 * seconds, round(characters * seconds), fused=True)
    assert with_keyframes.total <= 0.30 * paper.count(100 * seconds, None, fused=False).total
    # not by a smaller network: as many layers, as wide, with the same decoder
    encoders = [one.model.encoder for one in recipes]
    assert encoders[0].model_copy(update={"keyframe_layer": 6}) == encoders[1]
    assert recipes[0].model.decoder == recipes[1].model.decoder
