"""Once, `--resume` with other values said nothing: more epochs of a finished stage trained nothing
and were recorded, and other batches or data in the middle of a run were taken up silently."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fixtures.errors import refused
from fixtures.tone_corpus import small_corpus, stage, tone_recipe
from keyframe_asr.config.recipe import load_recipe
from keyframe_asr.errors import TrainingError
from keyframe_asr.training.run import train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def two_stages(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; its learning rates do not depend on the number of epochs."""
    folder = tmp_path_factory.mktemp("run")
    train(tone_recipe(corpus, [stage("first", 1), stage("second", 1)]), folder, quiet=True)
    return folder


@pytest.fixture
def run(two_stages: Path, tmp_path: Path) -> Path:
    return shutil.copytree(two_stages, tmp_path / "run")


def record(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "tensorboard" not in path.parts
    }


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_more_epochs_of_the_last_stage_are_trained(
    corpus: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They give the weights of a run that had them from the start."""
    recipe = tone_recipe(corpus, [stage("first", 1), stage("second", 3)])
    train(recipe, run, resume=True)
    assert "stages.1.epochs: 1 -> 3" in capsys.readouterr().err
    at_once = tmp_path / "at once"
    train(recipe, at_once, quiet=True)
    for file in ("averaged.safetensors", "model/model.safetensors"):
        found, wanted = (load_file(folder / "second" / file) for folder in (run, at_once))
        assert all(torch.equal(found[name], wanted[name]) for name in wanted), file
    assert (run / "first" / "averaged.safetensors").read_bytes() == (
        at_once / "first" / "averaged.safetensors"
    ).read_bytes()
    assert load_recipe(run / "recipe.yaml").stages[1].epochs == 3
    assert "3 epochs" in (run / "second" / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        (
            [stage("first", 2), stage("second", 1)],
            ["'first'", "'second'", "stages.0.epochs: 1 -> 2"],
        ),
        (
            [stage("first", 2), stage("second", 2)],
            ["'first'", "'second'", "stages.0.epochs: 1 -> 2"],
        ),
    ],
)
def test_a_stage_on_which_another_was_built_gets_no_more(
    corpus: Path, run: Path, stages: list[dict[str, Any]], named: list[str]
) -> None:
    before = record(run)
    with refused(TrainingError, *named):
        train(tone_recipe(corpus, stages), run, resume=True, quiet=True)
    assert record(run) == before


def test_a_cosine_that_has_ended_is_not_trained_on(corpus: Path, tmp_path: Path) -> None:
    train(tone_recipe(corpus, [stage("only", 1, decay="cosine")]), tmp_path, quiet=True)
    before = record(tmp_path)
    with refused(TrainingError, "'only'", "cosine", "stages.0.epochs: 1 -> 4"):
        recipe = tone_recipe(corpus, [stage("only", 4, decay="cosine")])
        train(recipe, tmp_path, resume=True, quiet=True)
    assert record(tmp_path) == before


def test_what_concerns_finished_stages_has_no_effect_and_is_not_recorded(
    corpus: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = record(run)
    stages = [stage("first", 1, learning_rate=0.5), stage("second", 1)]
    done = train(tone_recipe(corpus, stages, batch_seconds=2.0), run, resume=True)
    assert done.validations == {}
    told = capsys.readouterr().err
    assert "stages.0.learning_rate: 0.002 -> 0.5" in told
    assert "training.batch_seconds: 4.0 -> 2.0" in told
    assert record(run) == before


def test_changes_in_the_middle_are_told_and_logged(
    corpus: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [stage("first", 1, learning_rate=0.5), stage("second", 1), stage("third", 1)]
    recipe = tone_recipe(corpus, stages, batch_seconds=2.0)
    train(recipe, run, resume=True)
    lines = capsys.readouterr().err.splitlines()
    for change in (
        "training.batch_seconds: 4.0 -> 2.0",
        "stages.0.learning_rate: 0.002 -> 0.5",
        "stages.2: none -> third",
    ):
        assert [line for line in lines if line.endswith(change)], change
    (noted,) = [entry for entry in entries(run) if "changed" in entry]
    assert (noted["stage"], noted["resumed_after"]) == ("third", 0)
    assert noted["changed"]["training.batch_seconds"] == [4.0, 2.0]
    stored = load_recipe(run / "recipe.yaml")
    assert stored.training.batch_seconds == 2.0
    assert [one.learning_rate for one in stored.stages] == [0.002] * 3


def test_an_equal_recipe_is_nothing_new(
    corpus: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = record(run)
    train(tone_recipe(corpus, [stage("first", 1), stage("second", 1)]), run, resume=True)
    assert " -> " not in capsys.readouterr().err
    assert record(run) == before


def test_data_that_have_changed_under_the_same_name_are_told(
    corpus: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "corpus.tsv"
    rows = [row.split("\t") for row in corpus.read_text().splitlines()]
    for row in rows[1:]:
        row[3] = str(corpus.parent / row[3])
    stages = [stage("first", 1), stage("second", 1)]

    def write(count: int) -> None:
        kept = [row for row in rows if row[-1] != "train" or int(row[0][-3:]) < count]
        table.write_text("".join("\t".join(row) + "\n" for row in kept))

    write(12)
    train(tone_recipe(table, stages), tmp_path / "run 2", quiet=True)
    write(9)
    train(tone_recipe(table, [*stages, stage("third", 1)]), tmp_path / "run 2", resume=True)
    told = [line for line in capsys.readouterr().err.splitlines() if "12 utterances" in line]
    assert told == []  # the first two stages are finished
    write(8)
    train(tone_recipe(table, [*stages, stage("third", 3)]), tmp_path / "run 2", resume=True)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "9 utterances" in line]
    assert "'third'" in line and "8 utterances" in line
