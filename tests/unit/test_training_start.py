"""A stage whose start counts never ends worse than it began, and stops when nothing improves."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fixtures.errors import refused
from fixtures.random_model import random_model, save_random_model
from fixtures.tone_corpus import recipe_data, small_corpus, stage, tone_recipe
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import TrainingError
from keyframe_asr.text.tokenizer import load_tokenizer
from keyframe_asr.training import checkpoint
from keyframe_asr.training.checkpoint import STATE_FILE
from keyframe_asr.training.log import LOG_FILE, START_IS_KEPT
from keyframe_asr.training.run import train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("model") / "model")


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]


def weights_of(run: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(run / name / "averaged.safetensors")


def of_model(corpus: Path, model: Path, stages: list[dict[str, Any]]) -> Recipe:
    data = recipe_data(corpus, stages)
    data["data"] |= {"statistics": "initial"}
    data["tokenizer"] = {"of_model": str(model)}
    data["model"] = random_model().config.model.model_dump(mode="json")
    return parse_config(Recipe, data, "tones")


def test_no_better_epoch_keeps_the_start(corpus: Path, model: Path, tmp_path: Path) -> None:
    good = stage("good", 4, learning_rate=5e-3, select_by="loss")
    start = train(of_model(corpus, model, [good]), tmp_path / "good", initial=model, quiet=True)
    # a rate that destroys the weights
    bad = stage("bad", 5, learning_rate=0.5, warmup_steps=0, select_by="loss")
    bad |= {"start_counts": True, "patience": 2}
    recipe, run = of_model(corpus, start.model, [bad]), tmp_path / "bad"
    train(recipe, run, initial=start.model, quiet=True)
    log = log_of(run)
    assert log[-1][START_IS_KEPT] is True
    evaluated = [entry["epoch"] for entry in log if "epoch" in entry]
    assert evaluated == [0, 1, 2]  # patience ends the stage after two
    assert log[-1]["dev_loss"] == log[0]["dev_loss"]
    for name, one in load_file(start.model / "model.safetensors").items():
        torch.testing.assert_close(weights_of(run, "bad")[name], one.float(), rtol=0, atol=0)


def test_better_epochs_are_averaged_without_the_start(corpus: Path, tmp_path: Path) -> None:
    good = stage("good", 3, select_by="loss", average_best=5)
    train(tone_recipe(corpus, [good]), tmp_path / "without", quiet=True)
    train(tone_recipe(corpus, [good | {"start_counts": True}]), tmp_path / "with", quiet=True)
    log = log_of(tmp_path / "with")
    losses = [entry["dev_loss"] for entry in log if "epoch" in entry]
    assert len(losses) == 4 and max(losses[1:]) < losses[0]
    assert log[-1][START_IS_KEPT] is False
    ours, others = (weights_of(tmp_path / name, "good") for name in ("with", "without"))
    for name, one in ours.items():
        torch.testing.assert_close(one, others[name], rtol=0, atol=0)


def test_statistics_and_tokenizer_are_those_of_the_model(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    recipe = of_model(corpus, model, [stage("only", 1)])
    done = train(recipe, tmp_path, initial=model, quiet=True)
    stored = random_model()
    for name in ("mean", "inverse_std"):
        found = weights_of(tmp_path, "only")[f"normalisation.{name}"]
        torch.testing.assert_close(found, getattr(stored.network.normalisation, name))
    assert load_tokenizer(done.model).content() == stored.tokenizer.content()
    with refused(TrainingError, "data.statistics", "initial"):
        train(recipe, tmp_path / "none", quiet=True)


def dying(stop: int) -> Callable[..., None]:
    """Stores the state of a run, and interrupts it after the `stop`-th time."""
    save, count = checkpoint.save_state, itertools.count(1)

    def stored(*arguments: Any) -> None:
        save(*arguments)
        if next(count) == stop:
            raise KeyboardInterrupt

    return stored


@pytest.mark.slow
def test_resumed_after_the_start_and_after_any_epoch(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    """The start is not evaluated again, and patience counts on."""
    stages = [stage("only", 4, start_counts=True, patience=3, keyframes=True, fusion=True)]
    recipe = of_model(corpus, model, stages)
    train(recipe, tmp_path / "whole", initial=model, quiet=True)
    for stop in (1, 3):  # stored states before the run dies: the start, then epochs
        folder = tmp_path / f"stopped-{stop}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "save_state", dying(stop))
            with pytest.raises(KeyboardInterrupt):
                train(recipe, folder, initial=model, quiet=True)
        assert (folder / STATE_FILE).is_file()
        train(recipe, folder, resume=True, quiet=True)
        for name, one in weights_of(tmp_path / "whole", "only").items():
            torch.testing.assert_close(weights_of(folder, "only")[name], one, rtol=0, atol=0)
        epochs = [entry["epoch"] for entry in log_of(folder) if "epoch" in entry]
        assert epochs.count(0) <= 1
