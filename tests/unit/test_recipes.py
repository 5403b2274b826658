"""Recipes load, and the paper's network trains in every stage at its full size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.data.dataset import Batch
from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.step import Updater

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = [
    path
    for folder in (REPOSITORY / "recipes", REPOSITORY / "research" / "recipes")
    for path in sorted(folder.glob("*.yaml"))
]
VOCABULARY = 4233
"""The paper's characters of AISHELL-1."""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_loads(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.stages[-1].epochs > 0


def shipped(name: str) -> Recipe:
    return load_recipe(next(path for path in RECIPES if path.stem == name))


def test_aishell1_has_the_size_of_the_paper() -> None:
    recipe = shipped("aishell1")
    encoder, decoder = recipe.model.encoder, recipe.model.decoder
    assert decoder is not None
    assert (encoder.layers, encoder.keyframe_layer, encoder.dim, encoder.heads) == (12, 6, 256, 4)
    assert (encoder.feed_forward, encoder.kernel, decoder.layers) == (2048, 15, 6)
    assert recipe.tokenizer.kind == "characters"
    with torch.device("meta"):
        network = KeyframeNetwork(recipe.model, recipe.features.num_mel_bins, VOCABULARY)
    sizes = {
        "encoder1": sum(p.numel() for p in network.encoder1.parameters()),
        "encoder2": sum(p.numel() for p in network.encoder2.parameters()),
    }
    assert sizes["encoder1"] == sizes["encoder2"]
    assert 40e6 < sum(p.numel() for p in network.parameters()) < 60e6


def test_streaming_recipes_differ_from_their_twins_in_what_streams_need() -> None:
    for name in ("aishell1", "an4"):
        twin = {"aishell1": "aishell1", "an4": "an4_small"}[name]
        streaming, offline = (shipped(one).model for one in (f"streaming_{name}", twin))
        assert streaming.encoder.streaming is not None
        encoder = streaming.encoder.model_copy(update={"streaming": None})
        assert streaming.model_copy(update={"encoder": encoder}) == offline


def random_batch(recipe: Recipe) -> Batch:
    torch.manual_seed(1)
    frames, tokens = torch.tensor([64, 41]), torch.tensor([3, 2])
    return Batch(
        ("one", "two"),
        torch.randn(2, 64, recipe.features.num_mel_bins),
        frames,
        torch.randint(3, VOCABULARY, (2, 3)),
        tokens,
        1.05,
    )


@pytest.mark.parametrize("name", ["aishell1", "streaming_aishell1"])
def test_aishell1_takes_a_step_of_every_stage(name: str) -> None:
    recipe = shipped(name)
    assert [stage.name for stage in recipe.stages] == ["baseline", "fusion", "keyframes"]
    torch.manual_seed(0)
    network = KeyframeNetwork(recipe.model, recipe.features.num_mel_bins, VOCABULARY)
    batch = random_batch(recipe)
    for stage in recipe.stages:
        objective = StageObjective(network, stage).train()
        if recipe.model.encoder.streaming is not None:
            objective.chunking = lambda names, lengths: Chunks.of([(8, 1), None])
        total, parts, encoded = objective(batch)
        assert parts.keys() == {"inter_ctc", "head", "decoder"}
        assert all(part.isfinite() for part in parts.values()), parts
        assert encoded.head_log_probs.shape[2] == VOCABULARY
        objective.zero_grad()
        total.backward()
        assert_gradient_reaches(network, fusion=stage.fusion)
        before = network.head.weight.detach().clone()
        objective.zero_grad()
        updater = Updater(Processes(), objective, stage, recipe.training, 100)
        rate, results = updater.update([batch], step=1)
        assert 0 < rate < stage.learning_rate
        assert results[0].loss > 0
        assert not torch.equal(before, network.head.weight), stage.name
        assert all(p.isfinite().all() for p in network.parameters()), stage.name


def assert_gradient_reaches(network: KeyframeNetwork, fusion: bool) -> None:
    """Every parameter has one, but for those of fusion where it is off."""
    without = {
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }
    in_fusion = {name for name, _ in network.named_parameters() if name.startswith("fusion.")}
    assert without == (set() if fusion else in_fusion)
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
