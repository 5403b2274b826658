"""Runs with all augmentation on: the same however they are loaded, and off in validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from fixtures.errors import refused
from fixtures.tone_corpus import (
    ALL_FRAMES,
    KEYFRAMES,
    MEL_BINS,
    MODEL,
    recipe_data,
    small_corpus,
    stage,
)
from keyframe_asr.config.augment import AugmentConfig
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import Recipe, StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data import augment
from keyframe_asr.data.dataset import Batch
from keyframe_asr.errors import RecipeError
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.timing import SAMPLE_RATE
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.run import train

STAGES = [stage("baseline", 1), stage("keyframes", 1, fusion=True, keyframes=True)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    draw = np.random.default_rng(1)
    for number, size in enumerate((4000, 30_000, 50_000)):
        soundfile.write(folder / f"{number}.wav", 0.1 * draw.normal(size=size), SAMPLE_RATE)
    return folder


def everything(noises: Path) -> dict[str, Any]:
    return {
        "noise": {"folder": str(noises), "probability": 0.7},
        "reverberation": {"probability": 0.7, "rooms": 2},
        "volume": {"probability": 0.7},
        "non_speech": {"folder": str(noises), "share": 0.3, "seconds": [0.3, 1.5]},
        "time_mask_frames": 10,
        "frequency_mask_bins": 3,
    }


TIMES = ("seconds", "waiting_share")


def recipe_of(corpus: Path, augmented: dict[str, Any], **training: Any) -> Recipe:
    data = recipe_data(corpus, STAGES, **training)
    return parse_config(Recipe, data | {"augment": augmented}, "tones")


def log_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: one[name] for name in one if name not in TIMES} for one in lines]


def weights_of(folder: Path) -> bytes:
    return (folder / "keyframes" / "averaged.safetensors").read_bytes()


@pytest.fixture(scope="module")
def run(corpus: Path, noises: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(recipe_of(corpus, everything(noises)), folder, quiet=True)
    return folder


@pytest.mark.parametrize("training", [{"workers": 2}, {"keep_features_in_memory": True}])
def test_how_it_is_loaded_changes_nothing(
    run: Path, corpus: Path, noises: Path, tmp_path: Path, training: dict[str, Any]
) -> None:
    train(recipe_of(corpus, everything(noises), **training), tmp_path / "run", quiet=True)
    assert log_of(tmp_path / "run") == log_of(run)
    assert weights_of(tmp_path / "run") == weights_of(run)


class Stopped(Exception):
    """Raised where a run is to end."""


def test_resumed_run_ends_with_the_same_weights(
    run: Path, corpus: Path, noises: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of the second stage's only epoch, and gone on with two workers."""
    features, calls = augment.Augmentation.features, 0

    def stop(*given: Any, **named: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 25:  # of 17 utterances in an epoch
            raise Stopped
        return features(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(augment.Augmentation, "features", stop)
        with pytest.raises(Stopped):
            train(recipe_of(corpus, everything(noises)), tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "baseline" / "averaged.safetensors").exists()
    assert not (tmp_path / "run" / "keyframes" / "averaged.safetensors").exists()
    again = recipe_of(corpus, everything(noises), workers=2)
    train(again, tmp_path / "run", resume=True, quiet=True)
    assert weights_of(tmp_path / "run") == weights_of(run)


def test_only_training_is_augmented(corpus: Path, noises: Path, tmp_path: Path) -> None:
    """With a learning rate that moves nothing, the dev set's results tell no augmentation."""
    still = [stage("only", 1, learning_rate=1e-30)]
    found, losses = [], []
    for name, augmented in (("with", everything(noises)), ("without", {"speeds": [1.0]})):
        data = recipe_data(corpus, still) | {"augment": augmented}
        train(parse_config(Recipe, data, "tones"), tmp_path / name, quiet=True)
        log = log_of(tmp_path / name)
        losses.append(log[0]["loss"])
        found.append({key: log[0][key] for key in log[0] if key.startswith("dev_")})
        model = load_file(tmp_path / name / "only" / "averaged.safetensors")
        found[-1]["mean"] = model["normalisation.mean"].tolist()
    assert len(found[0]) > 3
    assert found[0] == found[1]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("key", ["noise", "non_speech"])
def test_missing_folder_is_refused_before_any_work(corpus: Path, tmp_path: Path, key: str) -> None:
    recipe = recipe_of(corpus, {key: {"folder": str(tmp_path / "gone")}})
    with refused(RecipeError, f"augment.{key}.folder", f"{tmp_path / 'gone'}: "):
        train(recipe, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_features_in_memory_with_workers_are_refused(corpus: Path) -> None:
    with refused(RecipeError, "'training'", "workers (2)", "workers: 0"):
        recipe_of(corpus, {}, workers=2, keep_features_in_memory=True)


def test_recipe_of_a_run_can_be_read_again(run: Path, corpus: Path, noises: Path) -> None:
    from keyframe_asr.config.recipe import load_recipe

    stored = load_recipe(run / "recipe.yaml")
    assert stored.augment == parse_config(AugmentConfig, everything(noises), "augment")


# Losses of examples without text.


@pytest.mark.parametrize("head", ["ctc", "axe", "til"])
@pytest.mark.parametrize("lengths", [[0, 0, 0], [0, 2, 0], [3, 2, 1]])
def test_losses_of_empty_texts_teach_blanks(head: str, lengths: list[int]) -> None:
    torch.manual_seed(2)
    network = KeyframeNetwork(parse_config(ModelConfig, MODEL, "model"), MEL_BINS, 9)
    losses = (ALL_FRAMES if head == "ctc" else KEYFRAMES) | {"head_loss": head}
    described = stage("one", keyframes=head != "ctc", losses=losses)
    objective = StageObjective(network, parse_config(StageConfig, described, "stage")).train()
    features, frames = torch.randn(3, 80, MEL_BINS), torch.tensor([80, 40, 3])
    tokens = torch.randint(3, 9, (3, max(lengths)))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    totals = []
    for _ in range(15):
        total, parts, encoded = objective(
            Batch(("a", "b", "c"), features, frames, tokens, torch.tensor(lengths), 1.23)
        )
        assert total.isfinite()
        assert parts.keys() == {"inter_ctc", "head", "decoder"}
        assert (encoded.keyframes.lengths >= 1).all()
        optimiser.zero_grad()
        total.backward()
        gradients = [one.grad for one in network.parameters() if one.grad is not None]
        assert all(one.isfinite().all() for one in gradients)
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.7 * totals[0]
    if not any(lengths):
        network.eval()
        found = network.encode(features, frames)
        for log_probs, sizes in (
            (found.inter_log_probs, found.frame_lengths),
            (found.head_log_probs, found.keyframes.lengths),
        ):
            for row, size in enumerate(sizes.tolist()):
                assert (log_probs[row, :size].argmax(-1) == 0).all()


def test_noise_weighs_no_more_than_speech_of_its_length() -> None:
    """CTC of an untrained network: the loss by token of an empty text is that of a usual one."""
    torch.manual_seed(2)
    network = KeyframeNetwork(parse_config(ModelConfig, MODEL, "model"), MEL_BINS, 9)
    one = parse_config(StageConfig, stage("one"), "stage")
    objective = StageObjective(network, one).eval()
    features, frames = torch.randn(1, 400, MEL_BINS), torch.tensor([400])  # 4 s
    found = []
    for count in (16, 0):  # four tokens a second, or none
        tokens = torch.arange(count)[None] % 6 + 3
        parts = objective(Batch(("a",), features, frames, tokens, torch.tensor([count]), 4.0))[1]
        found.append(float(parts["inter_ctc"].detach()))
    assert found[1] == pytest.approx(found[0], rel=0.7)
