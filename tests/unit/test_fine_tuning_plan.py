"""The table of fine-tuning plans, and the recipe that has one of them by parts."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from keyframe_asr.config.fine_tuning import PLANS, plan_for
from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.config.recipe import load_recipe
from keyframe_asr.io.model_folder import CONFIG_FILE, find_model

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "finetune.yaml"


def test_every_number_of_hours_has_the_first_plan_that_is_for_it() -> None:
    bounds = [plan.up_to_hours for plan in PLANS]
    assert bounds[-1] is None
    finite = [bound for bound in bounds if bound is not None]
    assert finite == sorted(set(finite)) and len(finite) == len(PLANS) - 1
    for plan, bound in zip(PLANS, finite, strict=False):
        assert plan_for(bound) is plan
    for plan, bound in zip(PLANS[1:], finite, strict=True):
        assert plan_for(bound * 1.0001) is plan
    assert plan_for(1e-6) is PLANS[0]


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan")])
def test_no_speech_has_no_plan(hours: float) -> None:
    with pytest.raises(ValueError):
        plan_for(hours)


def test_more_speech_takes_fewer_epochs_and_larger_batches() -> None:
    for less, more in itertools.pairwise(PLANS):
        assert less.epochs >= more.epochs
        assert less.batch_seconds * less.accumulate <= more.batch_seconds * more.accumulate
        assert less.trained_layers <= more.trained_layers


def test_the_recipe_is_the_plan_for_an_hour_of_speech() -> None:
    recipe, plan = load_recipe(RECIPE), plan_for(1.0)
    (stage,) = recipe.stages
    assert (stage.epochs, stage.patience, stage.average_best) == (
        plan.epochs,
        plan.patience,
        plan.average_best,
    )
    assert stage.start_counts and stage.keyframes and stage.fusion
    assert (stage.learning_rate, stage.final_learning_rate, stage.warmup_steps) == (
        plan.learning_rate,
        plan.final_learning_rate,
        plan.warmup_steps,
    )
    assert (stage.unfreeze_from_layer is None) == (plan.trained_layers == 0)
    assert stage.losses == plan.losses.model_copy(update={"decoder": 0.0})
    assert recipe.augment == plan.augment
    assert recipe.training.batch_seconds == plan.batch_seconds
    assert recipe.training.accumulate == plan.accumulate


def test_the_recipe_has_the_network_of_the_model_it_starts_from() -> None:
    recipe = load_recipe(RECIPE)
    shipped = load_model_folder_config(find_model("english-mandarin") / CONFIG_FILE)
    assert recipe.features == shipped.features
    assert recipe.model.pretrained is not None and shipped.model.pretrained is not None
    pretrained = recipe.model.pretrained.model_copy(
        update={
            "source": shipped.model.pretrained.source,
            "architecture": shipped.model.pretrained.architecture,
        }
    )
    decoder = recipe.model.pretrained_decoder
    known = shipped.model.pretrained_decoder
    assert decoder is not None and known is not None
    decoder = decoder.model_copy(
        update={"source": known.source, "architecture": known.architecture}
    )
    found = recipe.model.model_copy(update={"pretrained": pretrained, "decoder": decoder})
    assert found == shipped.model
