"""Stress studies on tiny models: of models by name, and of the trainings of another study."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

from fixtures.errors import refused
from fixtures.random_model import noise, save_random_model
from fixtures.studies import (
    changed,
    measured,
    pretend_to_train,
    summary_of,
    table_of,
    training_study,
    write_study,
)
from fixtures.tone_corpus import random_texts, write_corpus
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.errors import RecipeError, TrainingError
from keyframe_asr.timing import SAMPLE_RATE
from research.catalogue import report_of, study_of
from research.definition import StressDefinition, load_study
from research.measurement import Record, measure
from research.stress.results import StressResults
from research.training import study as training


def test_models_by_name(tmp_path: Path) -> None:
    table = write_corpus(tmp_path / "corpus", {"test": random_texts(6, 1)})
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "a.wav", noise(1.0), SAMPLE_RATE)
    model = str(save_random_model(tmp_path / "model"))
    every = str(save_random_model(tmp_path / "every", keyframes=False))
    study = write_study(
        tmp_path / "stress.yaml",
        kind="stress",
        manifest=f"{table}:test",
        noise=str(tmp_path / "noise"),
        systems=[
            {"name": "all frames", "model": every, "decode": "ctc"},
            {"name": "keyframes", "model": model, "decode": "axe"},
            {"name": "unsure", "model": model, "decode": "axe", "blank_threshold": 1e-6},
        ],
        stresses=[
            {"kind": "noise", "levels": [20.0, 0.0]},
            {"kind": "room", "levels": [0.2]},
            {"kind": "speed", "levels": [0.8, 1.2]},
            {"kind": "telephone", "levels": [3400.0]},
            {"kind": "clipping", "levels": [20.0]},
        ],
    )
    record, said = measured(study)
    assert len(said) == 3 * 8
    found = record.results
    assert found["all frames, noise 0"]["keyframes"] == found["all frames, noise 0"]["frames"]
    # nothing is so surely no blank: of each utterance only the least blank frame is left
    assert found["unsure, clean"]["keyframes"] == 6 < found["keyframes, clean"]["keyframes"]
    slow, fast = (found[f"keyframes, speed {speed}"]["audio_seconds"] for speed in (0.8, 1.2))
    assert slow == pytest.approx(1.5 * fast, rel=1e-2)
    text = table_of(study, record)
    assert "| noise, 0 dB |" in text and "| as recorded |" in text
    assert "Over all 7 stresses together" in text
    assert measured(study)[1] == []


def stress_of_trainings(folder: Path) -> Path:
    trained = training_study(folder)
    return write_study(
        folder / "stress.yaml",
        kind="stress",
        manifest=f"{folder / 'corpus' / 'corpus.tsv'}:test",
        noise=str(folder),
        systems=[
            {"name": "all frames", "variant": f"{trained}/all", "decode": "ctc"},
            {"name": "keyframes", "variant": f"{trained}/axe", "decode": "axe"},
            {"name": "inter-CTC", "variant": f"{trained}/axe", "decode": "ctc"},
        ],
        stresses=[{"kind": "speed", "levels": [1.2]}],
    )


def test_trainings_of_another_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants of a training study: trained once, measured by seed, told by their mean."""
    trained = pretend_to_train(monkeypatch)
    study = stress_of_trainings(tmp_path)
    record, said = measured(study)
    assert len(said) == 2 * 3
    assert sorted(trained) == [("all", 1), ("axe", 1), ("start", 1)]
    record, said = measured(study, seeds=2)
    assert len(said) == 2 * 3
    assert sorted(trained) == [("all", 1), ("all", 2), ("axe", 1), ("axe", 2), ("start", 1)]
    assert measured(study, seeds=2)[1] == []

    found = record.results
    both = [found[f"keyframes, clean, seed {seed}"] for seed in (1, 2)]
    assert both[0]["keyframes"] == found["inter-CTC, clean, seed 1"]["keyframes"]
    mean = sum(one["decode"]["axe"]["rate"] for one in both) / 2
    assert "2 trainings" in summary_of(study, record)
    assert re.search(rf"\| as recorded \|.*\| {100 * mean:.1f}, ", table_of(study, record))

    without = record.without(["keyframes, clean, seed 2"])
    half = report_of(load_study(str(study)), without)
    assert "trainings: all frames 2, keyframes 1, inter-CTC 2" in half.summary()
    assert half.markdown()[-1].endswith(": keyframes, speed 1.2, seed 2.")
    asked_no_more = load_study(str(study), ["stresses=[{kind: speed, levels: [0.9]}]"])
    assert report_of(asked_no_more, record).markdown()[-1] == ""

    # what is trained is looked for before what it starts from
    for start in (tmp_path / "runs" / "tiny").glob("start*[!k]"):
        shutil.rmtree(start)
    changed(study, stresses=[{"kind": "speed", "levels": [1.1]}])
    assert len(measured(study)[1]) == 3
    assert len(trained) == 5


def test_more_under_stress_is_beyond_what_is_there_without(tmp_path: Path) -> None:
    """By hand: as recorded 1 and 3 errors in 10 words, under stress 4 and 9; with two trainings."""
    errors = {
        "all frames": {"clean": [1, 1], "speed 1.2": [3, 5]},
        "keyframes": {"clean": [2, 4], "speed 1.2": [9, 9]},
        "inter-CTC": {"clean": [1, 1], "speed 1.2": [4, 4]},
    }
    results = {
        f"{system}, {condition}, seed {seed}": {
            "decode": {mode: {"errors": [count]} for mode in ("axe", "ctc")},
            "lengths": [10],
            "keyframes": 1,
            "frames": 2,
            "tokens": 1,
        }
        for system, conditions in errors.items()
        for condition, counts in conditions.items()
        for seed, count in enumerate(counts, start=1)
    }
    definition = load_study(str(stress_of_trainings(tmp_path)))
    assert isinstance(definition, StressDefinition)
    found = StressResults(definition, results)
    system, every = found.others[0], found.stressed
    assert every == [("speed", 1.2)]
    assert found.rate(found.reference, every)[0] == pytest.approx(0.4)
    assert found.difference(system, every).value == pytest.approx(0.9 - 0.4)
    assert found.added_by_stress(system, every).value == pytest.approx((0.9 - 0.3) - (0.4 - 0.1))
    # trainings keep their own clean recordings: 7 and 5 less 2 and 4
    excess = found.added_by_stress(system, every)
    assert (excess.low, excess.high) == pytest.approx((0.5 - 0.4, 0.7 - 0.2))


def test_a_failed_training_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = load_study(str(stress_of_trainings(tmp_path)))
    tried = []

    def fail(recipe: Recipe, *others: Any, **named: Any) -> None:
        tried.append(recipe.name)
        raise TrainingError("no room on the disk")

    monkeypatch.setattr(training, "train", fail)
    made = study_of("stress", definition, tmp_path / "runs", "cpu").measurements(1)
    failed = measure(made, Record(tmp_path / "stress.json"), {}, lambda line: None)
    assert len(failed) == len(made) == 6
    assert tried == ["start", "start"]  # for either variant once


def test_what_another_training_is_of_is_measured_anew(tmp_path: Path) -> None:
    definition = load_study(str(stress_of_trainings(tmp_path)))

    def settings() -> list[dict[str, Any]]:
        made = study_of("stress", definition, tmp_path / "runs", "cpu")
        return [one.setting for one in made.measurements(2)]

    before = settings()
    assert settings() == before
    (axe, *others) = load_study(str(tmp_path / "tiny.yaml")).model_dump()["variants"]
    changed(tmp_path / "tiny.yaml", variants=[axe | {"epochs": {"keyframes": 2}}, *others])
    same = [one == other for one, other in zip(before, settings(), strict=True)]
    assert same == [True, False, False] * 4


@pytest.mark.parametrize(
    ("variant", "named"),
    [
        ("ablation_an4/axe", ["'axe'", "axe-fusion3, all-frames"]),
        ("cost/axe", ["'cost'"]),
        ("nothing/axe", ["nothing", "ablation_an4"]),
    ],
)
def test_what_there_is_not(
    variant: str, named: list[str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    study = load_study("stress", [f"systems=[{{name: a, variant: {variant}, decode: ctc}}]"])
    with refused(RecipeError, *named):
        study_of("stress", study, Path("runs"), "cpu").measurements(1)


@pytest.mark.parametrize(
    ("systems", "named"),
    [
        ("[{name: a, model: demo, variant: units/characters, decode: ctc}]", ["a: "]),
        ("[{name: a, decode: ctc}]", ["a: "]),
        ("[{name: a, variant: units, decode: ctc}]", ["'units'", "STUDY/VARIANT"]),
        ("[{name: a, variant: units/, decode: ctc}]", ["'units/'", "STUDY/VARIANT"]),
        (
            "[{name: a, model: demo, decode: ctc}, {name: a, model: demo, decode: axe}]",
            ["systems", "a, a"],
        ),
    ],
)
def test_bad_systems(systems: str, named: list[str]) -> None:
    with refused(RecipeError, *named):
        load_study("stress", [f"systems={systems}"])
