"""A run killed at any moment and resumed ends with the weights of one that never was."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fixtures.errors import refused
from fixtures.killed_run import (
    Moment,
    train_and_die,
    train_on_a_full_disk,
    train_until_killed,
    train_with_little_memory,
)
from fixtures.processes import forking
from fixtures.tone_corpus import (
    MODEL,
    log_without_times,
    recipe_data,
    small_corpus,
    stage,
    three_stages,
    tone_recipe,
)
from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import TrainingError
from keyframe_asr.training import checkpoint, objective
from keyframe_asr.training.run import train

pytestmark = pytest.mark.slow  # all of them, in the process that starts the server of forks
STAGES = ("baseline", "fusion", "keyframes")


def recipe_of(table: Path, **training: Any) -> Recipe:
    # An odd number of batches for accumulation, dropout, speeds and masks: all that is random.
    stages = three_stages(epochs=2)
    stages[-1] |= {"start_from": "baseline", "reinitialise": ["encoder2", "head"]}
    return tone_recipe(table, stages, **{"accumulate": 2, "batch_seconds": 3.0, **training})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(recipe_of(corpus), folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def processes() -> Any:
    """Starts processes from a server that has everything imported, not from this one."""
    return forking()


def assert_same_run(found: Path, expected: Path) -> None:
    for name in STAGES:
        weights = load_file(found / name / "averaged.safetensors")
        reference = load_file(expected / name / "averaged.safetensors")
        assert weights.keys() == reference.keys()
        assert all(torch.equal(weights[key], reference[key]) for key in reference), name
        kept, others = (
            sorted(path.name for path in (folder / name).glob("epoch-*.safetensors"))
            for folder in (found, expected)
        )
        assert kept == others
        for file in kept:
            assert (found / name / file).read_bytes() == (expected / name / file).read_bytes()
        assert (found / name / "model" / "model.safetensors").read_bytes() == (
            expected / name / "model" / "model.safetensors"
        ).read_bytes()
    states = [checkpoint.load_state(folder) for folder in (found, expected)]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0][0] == states[1][0]
    assert all(torch.equal(states[0][1][key], states[1][1][key]) for key in states[1][1])


def assert_whole(folder: Path) -> checkpoint.RunState:
    """What is there can be read, and every file that the state lists is there."""
    restored = checkpoint.load_state(folder)
    if restored is None:
        return checkpoint.RunState()
    state = restored[0]
    for _, name in state.best:
        load_file(folder / STAGES[state.stage] / name)
    for name in STAGES[: state.stage]:
        load_file(folder / name / "averaged.safetensors")
    return state


# A fresh run writes tokenizer, statistics, recipe and the record of its data, a resumed one the
# last two; then each epoch its weights and the state, and each stage its average, its model folder
# (two renames if there is an older one) and the state.
# Each entry: the write that is killed, the moment, and (stage, epoch) that the state then tells.
KILLS: list[tuple[int, Moment, tuple[int, int]]] = [
    (6, "half", (0, 0)),  # the first state
    (8, "half", (0, 1)),  # the second
    (6, "before", (0, 2)),  # a model folder
    (5, "half", (0, 2)),  # the state after it
    (5, "before", (0, 2)),  # a model folder, when the older one is away
    (7, "half", (1, 0)),  # the first state of the next stage
    (5, "half", (1, 1)),  # weights
    (5, "half", (1, 2)),  # the average
    (7, "half", (2, 0)),  # the first state of a stage that re-initialises parts
    (4, "after", (2, 1)),
    (4, "before", (2, 1)),
    (3, "after", (2, 1)),
    (5, "after", (2, 2)),
    (5, "after", (3, 0)),  # the last state
]


# As above; the state then tells (stage, epoch, updates).
KILLS_WITHIN: list[tuple[int, tuple[int, int, int]]] = [
    (6, (0, 0, 4)),
    (8, (0, 1, 2)),
    (13, (1, 0, 2)),
    (21, (2, 0, 2)),
    (4, (2, 0, 6)),
]


def test_killed_while_writing(
    corpus: Path, undisturbed: Path, processes: Any, tmp_path: Path
) -> None:
    for write, moment, reached in KILLS:
        child = processes.Process(
            target=train_and_die, args=(recipe_of(corpus), tmp_path, write, moment)
        )
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        state = assert_whole(tmp_path)
        assert (state.stage, state.epoch) == reached
    train(recipe_of(corpus), tmp_path, resume=True, quiet=True)
    assert_same_run(tmp_path, undisturbed)


def test_killed_at_random_moments(
    corpus: Path, undisturbed: Path, processes: Any, tmp_path: Path
) -> None:
    delays = random.Random(4)
    for _ in range(4):
        started = processes.Event()
        child = processes.Process(
            target=train_until_killed, args=(recipe_of(corpus), tmp_path, started)
        )
        child.start()
        assert started.wait(60)
        time.sleep(delays.uniform(0.1, 0.7))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join(60)
        assert_whole(tmp_path)
    train(recipe_of(corpus), tmp_path, resume=True, quiet=True)
    assert_same_run(tmp_path, undisturbed)


def test_killed_within_an_epoch(corpus: Path, processes: Any, tmp_path: Path) -> None:
    """The log has the sums of whole epochs, and nothing else is left in the folder."""
    short = {"accumulate": 1, "batch_seconds": 1.0}
    train(recipe_of(corpus, **short), tmp_path / "whole", quiet=True)
    recipe, run = recipe_of(corpus, **short, save_every_updates=2), tmp_path / "run"
    for write, reached in KILLS_WITHIN:
        child = processes.Process(target=train_and_die, args=(recipe, run, write, "after"))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        state = assert_whole(run)
        assert (state.stage, state.epoch, state.updates) == reached
    train(recipe, run, resume=True, quiet=True)
    assert_same_run(run, tmp_path / "whole")
    assert log_without_times(run) == log_without_times(tmp_path / "whole")
    files = [
        {str(one.relative_to(of)) for one in of.rglob("*")} for of in (run, tmp_path / "whole")
    ]
    assert {name for name in files[0] ^ files[1] if "tensorboard" not in name} == set()


def test_failing_write_stops_with_one_line_and_can_be_resumed(
    corpus: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = torch.save, 0

    def save(state: object, path: Path) -> None:
        nonlocal calls
        calls += 1
        real(state, path)
        if calls == 3:
            os.truncate(path, 100)
            raise RuntimeError("PytorchStreamWriter failed writing file:\nno space left")

    monkeypatch.setattr(torch, "save", save)
    with refused(TrainingError, f"{tmp_path / 'state.pt'}: ", "--resume"):
        train(recipe_of(corpus), tmp_path, quiet=True)
    state = assert_whole(tmp_path)
    assert (state.stage, state.epoch) == (0, 2)
    train(recipe_of(corpus), tmp_path, resume=True, quiet=True)
    assert_same_run(tmp_path, undisturbed)


def test_a_full_disk_stops_with_one_line_and_can_be_resumed(
    corpus: Path, undisturbed: Path, processes: Any, tmp_path: Path
) -> None:
    """Files may grow no larger than the weights, so that the state with its optimiser fails."""
    largest = (undisturbed / "baseline" / "averaged.safetensors").stat().st_size + 4096
    told = tmp_path / "told.txt"
    child = processes.Process(
        target=train_on_a_full_disk, args=(recipe_of(corpus), tmp_path / "run", largest, told)
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    message = told.read_text(encoding="utf-8")
    assert "state.pt: " in message and message.endswith("--resume") and "\n" not in message
    assert not list((tmp_path / "run").glob(".state.pt*"))
    train(recipe_of(corpus), tmp_path / "run", resume=True, quiet=True)
    assert_same_run(tmp_path / "run", undisturbed)


def test_memory_that_runs_out_is_told_with_the_batch(
    corpus: Path, processes: Any, tmp_path: Path
) -> None:
    """The weights fit, the activations do not."""
    wide = {"encoder": MODEL["encoder"] | {"feed_forward": 100_000}}  # type: ignore[operator]
    data = recipe_data(corpus, [stage("only", 1)], batch_seconds=60.0, accumulate=3)
    recipe = parse_config(Recipe, data | {"model": MODEL | wide}, "tones")
    told = tmp_path / "told.txt"
    child = processes.Process(
        target=train_with_little_memory, args=(recipe, tmp_path / "run", 400_000_000, told)
    )
    child.start()
    child.join(60)
    message = told.read_text(encoding="utf-8")
    named = ("'only'", " 12 ", "train-0", "training.batch_seconds (60)", "training.accumulate (3)")
    assert all(one in message for one in named), message
    assert "\n" not in message


def test_resuming_without_a_run_starts_one(corpus: Path, undisturbed: Path, tmp_path: Path) -> None:
    train(recipe_of(corpus), tmp_path / "new", resume=True, quiet=True)
    assert_same_run(tmp_path / "new", undisturbed)


def test_resuming_a_finished_run_trains_nothing(corpus: Path, undisturbed: Path) -> None:
    log = (undisturbed / "log.jsonl").read_text()
    done = train(recipe_of(corpus), undisturbed, resume=True, quiet=True)
    assert done.model == undisturbed / "keyframes" / "model"
    assert done.validations == {}
    assert (undisturbed / "log.jsonl").read_text() == log


def test_a_run_whose_recipe_has_old_names_of_keys_is_resumed(
    corpus: Path, undisturbed: Path, tmp_path: Path
) -> None:
    stored = (undisturbed / "recipe.yaml").read_text()
    assert "reinitialise:" in stored
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    (run / "recipe.yaml").write_text(stored.replace("reinitialise:", "forget:"))
    recipe = load_recipe(run / "recipe.yaml")
    assert recipe.stages == recipe_of(corpus).stages
    train(recipe, run, resume=True, quiet=True)
    assert_same_run(run, undisturbed)
    assert (run / "recipe.yaml").read_text() == stored


def test_existing_run_is_refused_without_resume(corpus: Path, undisturbed: Path) -> None:
    before = (undisturbed / "state.pt").read_bytes()
    with refused(TrainingError, f"{undisturbed}: ", "--resume"):
        train(recipe_of(corpus), undisturbed, quiet=True)
    assert (undisturbed / "state.pt").read_bytes() == before


def test_run_killed_before_its_first_epoch_leaves_no_tokenizer_behind(
    corpus: Path, tmp_path: Path, processes: Any
) -> None:
    """Another recipe may then use the folder, without --resume, and gets a tokenizer of its own."""
    child = processes.Process(
        target=train_and_die, args=(recipe_of(corpus), tmp_path / "run", 3, "before")
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    other = small_corpus(tmp_path / "other")
    other.write_text(other.read_text().replace("F", "Z").replace("E", "X"))
    train(tone_recipe(other, [stage("only", 1)]), tmp_path / "run", quiet=True)
    symbols = (tmp_path / "run" / "only" / "model" / "tokenizer.txt").read_text()
    assert "Z" in symbols
    assert "F" not in symbols


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": {"encoder": {"dim": 24}}}, "model.encoder.dim: 16 -> 24"),
        ({"features": {"num_mel_bins": 20}}, "features.num_mel_bins: 16 -> 20"),
        ({"stages": three_stages()[1:]}, "stages.0.name: baseline -> fusion"),
        ({"stages": three_stages()}, "stages.2.start_from: baseline -> none"),
    ],
    ids=["model", "features", "stages", "beginnings"],
)
def test_resuming_with_another_recipe_is_refused(
    corpus: Path, undisturbed: Path, change: dict[str, Any], named: str
) -> None:
    data = json.loads(recipe_of(corpus).model_dump_json())
    for key, value in change.items():
        data[key] = value if isinstance(value, list) else data[key] | value
    data["model"]["encoder"].setdefault("heads", 2)
    recipe = Recipe.model_validate(data)
    with refused(TrainingError, undisturbed, named):
        train(recipe, undisturbed, resume=True, quiet=True)


def test_stages_may_be_added_to_a_run(corpus: Path, tmp_path: Path) -> None:
    train(tone_recipe(corpus, [stage("first", 1)]), tmp_path, quiet=True)
    first = (tmp_path / "first" / "averaged.safetensors").read_bytes()
    longer = tone_recipe(corpus, [stage("first", 1), stage("second", 1)])
    train(longer, tmp_path, resume=True, quiet=True)
    assert (tmp_path / "first" / "averaged.safetensors").read_bytes() == first
    assert (tmp_path / "second" / "model" / "config.yaml").is_file()


def test_states_that_list_weights_without_gradients_are_resumed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they were stored before unused weights were frozen."""
    weights = []
    for name, earlier in (("now", False), ("earlier", True)):
        with monkeypatch.context() as patch:
            if earlier:
                patch.setattr(objective, "freeze_unused", lambda *_: None)
            train(tone_recipe(corpus, [stage("only", 1)]), tmp_path / name, quiet=True)
        longer = tone_recipe(corpus, [stage("only", 2)])
        train(longer, tmp_path / name, resume=True, quiet=True)
        weights.append((tmp_path / name / "only" / "averaged.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_runs_from_before_the_recipe_was_kept_can_be_resumed(corpus: Path, tmp_path: Path) -> None:
    recipe = tone_recipe(corpus, [stage("first", 1)])
    train(recipe, tmp_path, quiet=True)
    (tmp_path / "recipe.yaml").unlink()
    train(recipe, tmp_path, resume=True, quiet=True)
    wider = {"model": MODEL | {"encoder": dict(MODEL["encoder"], dim=24)}}
    other = parse_config(Recipe, recipe_data(corpus, [stage("first", 1)]) | wider, "other")
    (tmp_path / "recipe.yaml").unlink()
    with refused(TrainingError, tmp_path):
        train(other, tmp_path, resume=True, quiet=True)
