"""Once, when the first of several processes could not write a file, the others waited at a barrier
or ended in a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fixtures.command_line import ERROR
from fixtures.processes import fail_in_one_of_two, train_in_processes
from fixtures.tone_corpus import recipe_data, small_corpus, stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    path = folder / "tones.yaml"
    path.write_text(yaml.safe_dump(recipe_data(small_corpus(folder), [stage("only", 1)])))
    return path


def blocked(file: str) -> Callable[[Path], None]:
    return lambda out: (out / file).mkdir(parents=True)


def foreign_folder(out: Path) -> None:
    (out / "only" / "model").mkdir(parents=True)
    (out / "only" / "model" / "letters.txt").write_text("not to be replaced")


def file_for_folder(file: str) -> Callable[[Path], None]:
    def block(out: Path) -> None:
        out.mkdir()
        (out / file).write_text("")

    return block


@pytest.mark.parametrize(
    ("block", "named"),
    [
        (blocked("tokenizer.txt"), "tokenizer.txt"),
        (blocked("recipe.yaml"), "recipe.yaml"),
        (file_for_folder("only"), "only"),
        (blocked("log.jsonl"), "log.jsonl"),
        (file_for_folder("tensorboard"), "tensorboard"),
        (foreign_folder, "only/model"),
    ],
    ids=["tokenizer", "recipe", "checkpoint", "log", "scalars", "model"],
)
def test_all_stop_with_its_message(
    recipe: Path, tmp_path: Path, block: Callable[[Path], None], named: str
) -> None:
    out = tmp_path / "run"
    block(out)
    done = train_in_processes(recipe, out, 2)
    assert done.exit_code == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith(ERROR)]
    assert len(told) == 2, done.stderr
    assert told[0] == told[1]
    assert str(out / named) in told[0]
    assert "Traceback" not in done.stderr


def test_a_recording_that_only_one_process_reads(tmp_path: Path) -> None:
    """The other, which waits for its gradients, gives its message."""
    table = small_corpus(tmp_path)
    path = tmp_path / "tones.yaml"
    first, second = stage("first", 1), stage("second", 1)
    path.write_text(yaml.safe_dump(recipe_data(table, [first])))
    assert train_in_processes(path, tmp_path / "run", 1).exit_code == 0
    broken = tmp_path / "dev-003.wav"
    broken.write_text("no audio")
    path.write_text(yaml.safe_dump(recipe_data(table, [first, second], accumulate=2)))
    done = train_in_processes(path, tmp_path / "run", 2, "--resume")
    assert done.exit_code == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith(ERROR)]
    assert len(told) == 2, done.stderr
    assert told[0] == told[1]
    assert str(broken) in told[0]
    assert "Traceback" not in done.stderr


def test_a_full_disk(recipe: Path, tmp_path: Path) -> None:
    """The first process may write the weights, but not the state with its optimiser."""
    assert train_in_processes(recipe, tmp_path / "whole", 2).exit_code == 0
    largest = (tmp_path / "whole" / "only" / "averaged.safetensors").stat().st_size + 4096
    done = train_in_processes(recipe, tmp_path / "run", 2, largest=largest)
    assert done.exit_code == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith(ERROR)]
    assert len(told) == 2, done.stderr
    assert told[0] == told[1]
    assert str(tmp_path / "run" / "state.pt") in told[0]
    assert "Traceback" not in done.stderr
    assert train_in_processes(recipe, tmp_path / "run", 2, "--resume").exit_code == 0


def test_one_that_cannot_be_woken_ends(tmp_path: Path) -> None:
    done = fail_in_one_of_two(tmp_path, "ONE")
    assert done.exit_code == 1
    assert "ONE" in (tmp_path / "failing-0.txt").read_text()
