"""The losses of the first updates of a small run stay what they were.

Whatever changes them has changed the training: data, masking, network, losses or optimiser. Where
that is meant, write the new ones with `PYTHONPATH=src:tests python tests/golden/test_loss_curve.py`
and say why in the change.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import torch

from fixtures.tone_corpus import small_corpus, three_stages, tone_recipe
from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.recipe import Recipe, StageConfig
from keyframe_asr.data.augment import Augmentation, Draws
from keyframe_asr.data.dataset import Batch, BatchLoader, SpeechDataset, training_sampler
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import CharacterTokenizer, Tokenizer
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.step import Updater

GOLDEN = Path(__file__).with_name("loss_curve.json")
STEPS = 8
TOLERANCE = 2e-3
"""Relative: float32 sums differ between machines, and eight updates amplify that."""


def loss_curves(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Losses of the first updates of every stage, each starting where the last one stopped."""
    table = small_corpus(folder)
    recipe = tone_recipe(table, three_stages())
    tokenizer = CharacterTokenizer("ABCDEF")
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    network = KeyframeNetwork(recipe.model, recipe.features.num_mel_bins, tokenizer.vocab_size)
    network.normalisation.mean.fill_(9.0)
    network.normalisation.inverse_std.fill_(0.3)
    store = FeatureStore(Fbank(recipe.features), keep=True)
    loaded = epochs(recipe, table, store, tokenizer)
    return {stage.name: curve(recipe, stage, network, loaded) for stage in recipe.stages}


def epochs(recipe: Recipe, table: Path, store: FeatureStore, tokenizer: Tokenizer) -> list[Batch]:
    """The first batches of a run, over as many epochs as they need."""
    cuts = load_manifest(f"{table}:train")
    augmentation = Augmentation(recipe.augment, recipe.seed)
    found: list[Batch] = []
    epoch = 0
    while len(found) < STEPS:
        draws = Draws(recipe.seed, 0, epoch)
        sampler = training_sampler(augmentation.cuts(cuts, draws), 5.0, recipe.seed, epoch)
        dataset = SpeechDataset(
            store,
            tokenizer,
            lambda cut, store, _, draws=draws: augmentation.features(cut, store, draws),
        )
        found += BatchLoader(dataset).load(sampler)
        epoch += 1
    return found[:STEPS]


def curve(
    recipe: Recipe, stage: StageConfig, network: KeyframeNetwork, loaded: list[Batch]
) -> list[dict[str, float]]:
    objective = StageObjective(network, stage).train()
    updater = Updater(Processes(), objective, stage, recipe.training, STEPS)
    losses = []
    torch.manual_seed(1)  # dropout
    for step, batch in enumerate(loaded, start=1):
        result = updater.update([batch], step)[1][0]
        losses.append({"total": result.loss, **result.parts})
    return losses


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, float]]]:
    return loss_curves(tmp_path_factory.mktemp("tones"))


@pytest.mark.parametrize("stage", ["baseline", "fusion", "keyframes"])
def test_losses_are_those_stored(found: dict[str, list[dict[str, float]]], stage: str) -> None:
    golden = json.loads(GOLDEN.read_text())[stage]
    assert len(found[stage]) == len(golden) == STEPS
    for step, (now, before) in enumerate(zip(found[stage], golden, strict=True), start=1):
        assert now == pytest.approx(before, rel=TOLERANCE), f"update {step}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as corpus:
        curves = loss_curves(Path(corpus))
    rounded = {
        name: [{part: round(value, 6) for part, value in losses.items()} for losses in steps]
        for name, steps in curves.items()
    }
    GOLDEN.write_text(json.dumps(rounded, indent=1) + "\n")
    print(f"wrote {GOLDEN}")
