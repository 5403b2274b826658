"""The shipped studies: every variant is a recipe that fits what it is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.errors import refused
from fixtures.random_model import save_random_model
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.errors import RecipeError
from keyframe_asr.io.architectures import with_architecture
from keyframe_asr.model.network import KeyframeNetwork
from research.catalogue import study_of
from research.definition import (
    StudyDefinition,
    TrainingDefinition,
    TrainingsDefinition,
    load_study,
    shipped_studies,
)
from research.dropped.study import DroppedStudy
from research.measurement import Record
from research.stress.study import StressStudy
from research.training.study import Trainings, TrainingStudy

TRAINING = [name for name in shipped_studies() if isinstance(load_study(name), TrainingsDefinition)]


def training_study(name: str) -> TrainingsDefinition:
    study = load_study(name)
    assert isinstance(study, TrainingsDefinition)
    return study


RECORDS = Path(__file__).resolve().parents[2] / "research" / "records"
MEASURED = [
    name
    for name in (*TRAINING, "stress", "stress_longer", "stress_threshold")
    if (RECORDS / f"{name}.json").is_file()
]
STARTED = [name for name in TRAINING if training_study(name).start is not None]


@pytest.fixture
def in_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)


def recipes(name: str) -> dict[str, Recipe]:
    study = training_study(name)
    measurement = Trainings(study, Path("runs"))
    return {one.name: measurement.recipe(one, seed=3) for one in study.variants}


def test_there_are_studies() -> None:
    assert {"units", "english", "future", "ablation_mandarin"} <= set(STARTED)
    assert {"stress", "cost", "ablation_an4", "ablation_mandarin", "units", "future"} <= set(
        shipped_studies()
    )


@pytest.mark.parametrize("name", TRAINING)
def test_variants_are_recipes_of_equal_training(name: str, in_repository: None) -> None:
    study = training_study(name)
    variants = recipes(name)
    epochs = {
        variant.name: sum(stage.epochs for stage in variants[variant.name].stages)
        for variant in study.variants
        if not variant.from_nothing
    }
    assert len(set(epochs.values())) == 1, epochs
    described = [
        str({k: v for k, v in recipe if k not in ("name", "training")})
        for recipe in variants.values()
    ]
    assert len(set(described)) == len(described), "two variants are the same"
    assert all(recipe.seed == 3 for recipe in variants.values())
    assert all(stage.collapse is None for one in variants.values() for stage in one.stages)
    Trainings(study, Path("runs")).start_recipe()


@pytest.mark.parametrize("name", ["ablation_an4", "ablation_mandarin"])
def test_what_the_ablation_changes(name: str, in_repository: None) -> None:
    found = recipes(name)
    reference = found["axe-fusion3"].stages[-1]
    assert (reference.losses.head_loss, reference.keyframes, reference.fusion) == (
        "axe",
        True,
        True,
    )
    assert not any(stage.keyframes for stage in found["all-frames"].stages)
    assert found["til-no-fusion"].stages[-1].losses.head_loss == "til"
    assert not any(stage.fusion for stage in found["til-no-fusion"].stages)
    assert found["til-fusion3"].stages[-1].losses.head_loss == "til"
    # the stages share one mapping of losses in the recipe's YAML
    assert found["til-fusion3"].stages[0].losses.head_loss == "ctc"
    assert found["axe-fusion5"].model.fusion.window == 5
    kinds = {one: found[one].model.fusion.kind for one in ("static", "mean", "concat")}
    assert all(one == kind for one, kind in kinds.items())
    assert found["no-head-loss"].stages[-1].losses.head_loss == "none"
    assert found["delta5"].stages[-1].losses.skip_target_penalty == 5.0
    assert found["first"].model.keyframes.keep == "first"
    assert found["sequence"].model.keyframes.positions == "sequence"
    assert found["from-nothing"].stages[0].keyframes
    assert [stage.reinitialise for stage in found["head-anew"].stages] == [[], ["head"]]


def test_what_a_pretrained_decoder_attends_to(in_repository: None) -> None:
    """Nothing but the memory differs, and nothing but it and the decoder's attention is trained."""
    found = recipes("decoder_memory")
    memories = {
        name: (one.memory, one.memory_frames, one.positions)
        for name, recipe in found.items()
        if (one := recipe.model.pretrained_decoder) is not None
    }
    assert memories == {
        "fused": ("fused", 4, False),
        "fused-positions": ("fused", 4, True),
        "neighbours-2": ("neighbours", 2, False),
        "neighbours-4": ("neighbours", 4, False),
        "neighbours-8": ("neighbours", 8, False),
        "encoder2": ("encoder2", 4, False),
        "all-frames": ("neighbours", 4, False),
    }
    stages = [recipe.stages[0] for recipe in found.values()]
    assert all(stage.trains_decoder_alone and stage.select_by == "loss" for stage in stages)
    assert [one for one, recipe in found.items() if not recipe.stages[0].keyframes] == [
        "all-frames"
    ]
    measured = study_of("decoder_memory", load_study("decoder_memory"), Path("runs"), None)
    settings = [one.setting for one in measured.measurements(1)]
    assert all(one["modes"] == ["attention"] and one["beam"] == 1 for one in settings)


@pytest.mark.parametrize("name", ["units", "english", "future", "ablation_mandarin", "encoder"])
def test_frozen_encoders_run_once_for_all(name: str, in_repository: None) -> None:
    found = recipes(name).values()
    assert {recipe.training.encodings for recipe in found} == {"encodings"}  # beside all studies
    assert not any(stage.unfreeze_from_layer for recipe in found for stage in recipe.stages)


@pytest.mark.parametrize("name", MEASURED)
def test_shipped_records_are_of_the_settings_of_now(name: str, in_repository: None) -> None:
    """A new key of a recipe or study must not make what was measured before it outdated."""
    record = Record.load(Path("research/records") / f"{name}.json")
    assert record.parts
    parts = study_of(name, load_study(name), Path("runs"), None).measurements(3)
    assert {part.name for part in parts} >= set(record.parts)
    assert record.outdated(parts) == []


FORGETTING = [
    name for name in STARTED if (start := training_study(name).start) and start.reinitialise
]


@pytest.mark.parametrize("name", FORGETTING)
def test_what_is_forgotten_is_part_of_the_network(name: str, in_repository: None) -> None:
    """The earlier models that they start from have the encoder of the shipped one."""
    study = training_study(name)
    start, variant = study.start, study.variants[0]
    if any(one.startswith("model.pretrained.source=") for one in study.set):
        source = [*variant.set, "model.pretrained.source=english-mandarin"]
        variant = variant.model_copy(update={"set": source})
    recipe = Trainings(study, Path("runs")).recipe(variant, seed=1)
    with torch.device("meta"):
        network = KeyframeNetwork(with_architecture(recipe).model, 80, 100)
    assert start is not None
    assert set(start.reinitialise) <= {part for part, _ in network.named_children()}


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("kind=stresses", ["'stresses'", "stress, cost, training, dropped"]),
        ("kind=[training]", ["['training']", "stress, cost, training, dropped"]),
        ("reference=nobody", ["'nobody'"]),
        ("start={stage: null}", ["start"]),
        ("start={stage: frozen, reinitialise: [head]}", ["start", "reinitialise", "initial"]),
        ("compares=axe", ["'compares'", "'compare'"]),
    ],
)
def test_a_bad_study(override: str, named: list[str]) -> None:
    with refused(RecipeError, *named):
        load_study("units", [override])


def test_a_stage_that_the_recipe_lacks(in_repository: None) -> None:
    study = load_study("future", ["variants.1.stages=[fusions]"])
    assert isinstance(study, TrainingDefinition)
    measurement = TrainingStudy(study, Path("runs"))
    with refused(RecipeError, "'fusions'", "'two-before'"):
        measurement.measurements(1)


def test_no_such_study() -> None:
    with refused(RecipeError, "nothing: ", "ablation_an4"):
        load_study("nothing")


def test_every_study_says_what_it_asks() -> None:
    studies: list[StudyDefinition] = [load_study(name) for name in shipped_studies()]
    assert all(study.question.endswith("?") for study in studies)


@pytest.mark.parametrize("name", ["stress_threshold", "dropped"])
def test_a_model_trained_anew_at_the_same_path_is_measured_anew(name: str, tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "one")

    def setting() -> dict[str, object]:
        study = load_study(name)
        if study.kind == "stress":
            systems = [one.model_copy(update={"model": str(model)}) for one in study.systems]
            changed = study.model_copy(update={"systems": systems})
            return StressStudy(changed, Path("runs")).measurements(1)[0].setting
        assert study.kind == "dropped"
        changed = study.model_copy(update={"model": str(model)})
        return DroppedStudy(changed).measurements(1)[0].setting

    before = setting()
    assert setting() == before
    path = model / "model.safetensors"
    save_file({k: v + 1 for k, v in load_file(path).items()}, path)
    assert setting() != before
