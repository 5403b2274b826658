"""Checkpoints are whole or absent, and averages are averages."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fixtures.errors import refused
from keyframe_asr.errors import TrainingError
from keyframe_asr.training import checkpoint
from keyframe_asr.training.checkpoint import RunState
from keyframe_asr.training.log import append_line


def weights(value: float) -> dict[str, Tensor]:
    return {"a": torch.full((3,), value), "b": torch.full((2, 2), -value)}


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = RunState(stage=1, epoch=4, step=77, best=[(0.25, "epoch-0003.safetensors")])
    checkpoint.save_state(tmp_path / "new", state, weights(0.1), {"state": {0: {"step": 3.0}}})
    restored = checkpoint.load_state(tmp_path / "new")
    assert restored is not None
    assert restored[0] == state
    assert all(torch.equal(restored[1][name], one) for name, one in weights(0.1).items())
    assert restored[2] == {"state": {0: {"step": 3.0}}}


def test_no_state_yet(tmp_path: Path) -> None:
    assert checkpoint.load_state(tmp_path) is None


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("write\nfailed")]
)
def test_failing_write_leaves_what_was_there(tmp_path: Path, failure: Exception) -> None:
    checkpoint.save_state(tmp_path, RunState(epoch=1), weights(1.0), None)
    path = tmp_path / checkpoint.STATE_FILE
    before = path.read_bytes()

    def half(temporary: Path) -> None:
        temporary.write_bytes(before[: len(before) // 2])
        raise failure

    with refused(TrainingError, f"{path}: "):
        checkpoint.write_atomically(path, half)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / f".{checkpoint.STATE_FILE}.123.tmp"
    left.write_bytes(b"half")
    checkpoint.save_state(tmp_path, RunState(), weights(1.0), None)
    assert [one.name for one in tmp_path.iterdir()] == [checkpoint.STATE_FILE]


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with refused(TrainingError, f"{tmp_path / 'run'}"):
        checkpoint.save_weights(weights(1.0), tmp_path / "run" / "x.safetensors")


def test_a_state_of_version_0_1_is_read(tmp_path: Path) -> None:
    old = {"stage": 1, "epoch": 2, "step": 9, "best": [(0.5, "epoch-0001.safetensors")], "bad": 3}
    stored = {"progress": old | {"ready": True}, "weights": weights(1.0), "optimiser": None}
    torch.save(stored, tmp_path / checkpoint.STATE_FILE)
    restored = checkpoint.load_state(tmp_path)
    assert restored is not None
    assert restored[0] == RunState(1, 2, 9, [(0.5, "epoch-0001.safetensors")], 3, True)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_damaged_state_is_one_line(tmp_path: Path, share: float) -> None:
    checkpoint.save_state(tmp_path, RunState(), weights(1.0), None)
    path = tmp_path / checkpoint.STATE_FILE
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with refused(TrainingError, f"{path}: "):
        checkpoint.load_state(tmp_path)


def test_average_is_the_mean(tmp_path: Path) -> None:
    values = (0.1, 0.7, 1.9)
    paths = [tmp_path / f"{value}.safetensors" for value in values]
    for value, path in zip(values, paths, strict=True):
        checkpoint.save_weights(weights(value), path)
    average = checkpoint.average_weights(paths)
    assert average["a"].dtype == torch.float32
    torch.testing.assert_close(average["a"], torch.full((3,), 0.9))
    torch.testing.assert_close(average["b"], torch.full((2, 2), -0.9))
    reordered = checkpoint.average_weights(paths[::-1])
    assert all(torch.equal(average[name], reordered[name]) for name in average)
    alone = checkpoint.average_weights(paths[:1])
    assert torch.equal(alone["a"], weights(0.1)["a"]), "an average of one changes nothing"


@pytest.mark.parametrize("content", [None, b"", b"not weights at all"])
def test_average_of_a_damaged_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "epoch-0001.safetensors"
    if content is not None:
        path.write_bytes(content)
    with refused(TrainingError, f"{path}: "):
        checkpoint.average_weights([path])


def keep(state: RunState, scores: list[float], folder: Path, count: int) -> None:
    for score in scores:
        state.epoch += 1
        if name := checkpoint.rank(state, score, count):
            checkpoint.save_weights(weights(score), folder / name)
        checkpoint.remove_unlisted(state, folder)


def test_best_are_kept_and_others_deleted(tmp_path: Path) -> None:
    state = RunState()
    keep(state, [0.9, 0.5, 0.7, 0.6, 0.8], tmp_path, 3)
    assert [score for score, _ in state.best] == [0.5, 0.6, 0.7]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        name for _, name in state.best
    )
    for score, name in state.best:
        assert torch.equal(load_file(tmp_path / name)["a"], weights(score)["a"])


def test_of_equal_scores_the_latest_are_kept(tmp_path: Path) -> None:
    state = RunState()
    keep(state, [1.0] * 6, tmp_path, 2)
    assert [name for _, name in state.best] == [
        "epoch-0006.safetensors",
        "epoch-0005.safetensors",
    ]


def test_log_grows_line_by_line(tmp_path: Path) -> None:
    for epoch in (1, 2):
        append_line(tmp_path / "new" / "log.jsonl", {"epoch": epoch})
    lines = (tmp_path / "new" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": 1}, {"epoch": 2}]
