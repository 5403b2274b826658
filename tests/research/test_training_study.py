"""Training studies on a tiny corpus: what is trained, once, from what, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from fixtures.random_model import save_random_model
from fixtures.studies import (
    changed,
    measured,
    pretend_to_train,
    summary_of,
    table_of,
    training_study,
)
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.training.run import TrainingResult
from research.catalogue import study_of
from research.definition import load_study
from research.training import study as training


def test_a_study_that_really_trains(tmp_path: Path) -> None:
    study = training_study(tmp_path)
    record, said = measured(study, only=("axe", "all"))
    assert said == ["axe, seed 1", "all, seed 1"]
    folders = sorted(one.name for one in (tmp_path / "runs" / "tiny").iterdir() if one.is_dir())
    assert [name.rpartition("-")[0] for name in folders] == [
        "all-seed1",
        "axe-seed1",
        "start-seed1",
    ]
    axe, every = record.results["axe, seed 1"], record.results["all, seed 1"]
    assert every["keeps_all"] and every["keyframes"] == every["frames"]
    assert not axe["keeps_all"] and axe["keyframes"] < axe["frames"]
    assert sorted(axe["decode"]) == ["attention", "axe", "ctc", "joint", "rescore"]
    assert axe["utterances"] == 4 and axe["unit"] == "words"
    assert axe["latency_seconds"] == pytest.approx(0.04)


def test_each_seed_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = pretend_to_train(monkeypatch)
    study = training_study(tmp_path)
    record, said = measured(study, only=("axe",))
    assert said == ["axe, seed 1"]
    assert ": all frames, nothing." in table_of(study, record)

    record, said = measured(study)
    assert said == ["all, seed 1", "none, seed 1"]
    assert "seed" not in summary_of(study, record).replace("one seed", "")

    record, said = measured(study, seeds=2, only=("axe",))
    assert said == ["axe, seed 2"]
    summary = summary_of(study, record)
    assert "- AXE (2 seeds): " in summary and "all frames (1 seed), " in summary

    record, said = measured(study, seeds=2)
    assert said == ["all, seed 2", "none, seed 2"]
    assert measured(study, seeds=2)[1] == []
    runs = [(name, seed) for seed in (1, 2) for name in ("axe", "all", "none")]
    assert sorted(trained) == sorted([*runs, ("start", 1)])
    text = table_of(study, record)
    assert "2 seeds" in text and "| joint % (95 %) |" in text
    assert text.count("\n| AXE |") == 1 and "| all frames |" in text


@pytest.mark.parametrize(
    ("start", "trained"),
    [
        ({"stage": "longer"}, [("start", None, [], 3), ("axe", "averaged.safetensors", (), 1)]),
        (
            {"stage": "longer", "initial": "demo", "reinitialise": ["head"]},
            [("start", "demo", ["head"], 1), ("axe", "averaged.safetensors", (), 1)],
        ),
        ({"initial": "demo", "reinitialise": ["head"]}, [("axe", "demo", ["head"], 1)]),
        (None, [("axe", None, (), 1)]),
    ],
)
def test_what_variants_start_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: dict[str, Any] | None,
    trained: list[tuple[Any, ...]],
) -> None:
    study = changed(training_study(tmp_path), start=start, stage_set=["learning_rate=0.25"])
    model, calls = save_random_model(tmp_path / "model"), []

    def record(
        recipe: Recipe, folder: Path, *, resume: bool, initial: Any, reinitialise: Any
    ) -> TrainingResult:
        name = Path(initial).name if initial is not None else None
        calls.append((recipe.name, name, reinitialise, len(recipe.stages)))
        assert resume and all(stage.learning_rate == 0.25 for stage in recipe.stages)
        return TrainingResult(folder, model, {})

    monkeypatch.setattr(training, "train", record)
    measured(study, only=("axe",))
    assert calls == trained


def test_other_weights_at_the_same_place_are_another_start(tmp_path: Path) -> None:
    weights = save_random_model(tmp_path / "model") / "model.safetensors"
    study = changed(training_study(tmp_path), start={"initial": str(weights.parent)})

    def setting() -> dict[str, Any]:
        made = study_of("tiny", load_study(str(study)), tmp_path, "cpu")
        return made.measurements(1)[0].setting

    before = setting()
    assert setting() == before
    save_file({k: 2 * v for k, v in load_file(weights).items()}, weights)
    assert setting() != before
