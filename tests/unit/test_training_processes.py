"""Several processes, started by torchrun, train what one would have trained."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fixtures.processes import divide_weights, train_by_torchrun, train_in_processes
from fixtures.sharded import MODELS
from fixtures.tone_corpus import (
    MODEL,
    log_without_times,
    random_texts,
    recipe_data,
    stage,
    three_stages,
    write_corpus,
)
from keyframe_asr.training.checkpoint import load_state

STAGES = ("baseline", "fusion", "keyframes")
NUMBERS = ("loss", "loss_inter_ctc", "loss_head", "loss_decoder", "dev_loss")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    return write_corpus(folder, {"train": random_texts(11, 1), "dev": random_texts(4, 2)})


def stages_of_one_epoch() -> list[dict[str, Any]]:
    stages = three_stages(epochs=1)
    stages[-1]["reinitialise"] = ["encoder2", "head"]
    return stages


def write_recipe(corpus: Path, folder: Path, accumulate: int, sharding: str = "none") -> Path:
    """Without dropout, which is drawn anew for every batch that a process computes."""
    data = recipe_data(
        corpus, stages_of_one_epoch(), accumulate=accumulate, batch_seconds=3.0, sharding=sharding
    )
    still = {name: MODEL[name] | {"dropout": 0.0} for name in ("encoder", "decoder")}  # type: ignore[operator]
    data["model"] = MODEL | still
    data["data"]["validate_batches_seconds"] = 2.0
    path = folder / "tones.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "sharding"), [(1, "none"), (3, "none"), (3, "full")])
def test_two_processes_train_what_one_trains(
    corpus: Path, tmp_path: Path, accumulate: int, sharding: str
) -> None:
    """Also where batches have to be cut (1), and where they do not come out even (3)."""
    recipe = write_recipe(corpus, tmp_path, accumulate, sharding)
    by_torchrun = (accumulate, sharding) == (3, "none")
    start_two = train_by_torchrun if by_torchrun else train_in_processes
    for done in (
        train_in_processes(recipe, tmp_path / "1", 1),
        start_two(recipe, tmp_path / "2", 2),
    ):
        assert done.exit_code == 0, done.stderr
    one, two = log(tmp_path / "1"), log(tmp_path / "2")
    assert len(one) == len(two) == 2 * len(STAGES)
    for alone, together in zip(one, two, strict=True):
        assert alone["stage"] == together["stage"]
        for name in set(NUMBERS) & set(alone):
            assert together[name] == pytest.approx(alone[name], rel=1e-4), (alone["stage"], name)
        assert together.get("audio_seconds") == pytest.approx(alone.get("audio_seconds"))
        assert together["dev_error"] == pytest.approx(alone["dev_error"])
    for name in STAGES:
        weights = load_file(tmp_path / "1" / name / "averaged.safetensors")
        others = load_file(tmp_path / "2" / name / "averaged.safetensors")
        # Adam makes large steps of gradients that are nearly 0, where rounding decides the sign.
        apart = sum((others[key] - one).square().sum() for key, one in weights.items())
        size = sum(one.square().sum() for one in weights.values())
        assert (apart / size).sqrt() < 1e-3
        assert (tmp_path / "2" / name / "model" / "config.yaml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_go_on_within_an_epoch(corpus: Path, tmp_path: Path, sharding: str) -> None:
    """One is killed within the epoch; the other then ends, too.

    A single process that goes on has all sums of the epoch, but draws other numbers for dropout.
    """
    training = {"batch_seconds": 2.0, "save_every_updates": 2, "sharding": sharding}
    data = recipe_data(corpus, [stage("only", 1)], **training)
    recipe = tmp_path / "tones.yaml"
    recipe.write_text(yaml.safe_dump(data))
    assert train_in_processes(recipe, tmp_path / "whole", 2).exit_code == 0
    killed = train_in_processes(recipe, tmp_path / "killed", 2, killed_at=5)
    assert killed.exit_code == -signal.SIGKILL, killed.stderr
    restored = load_state(tmp_path / "killed")
    assert restored is not None
    assert (restored[0].epoch, restored[0].updates) == (0, 2)
    shutil.copytree(tmp_path / "killed", tmp_path / "alone")
    assert train_in_processes(recipe, tmp_path / "killed", 2, "--resume").exit_code == 0
    assert log_without_times(tmp_path / "killed") == log_without_times(tmp_path / "whole")
    assert (tmp_path / "killed" / "only" / "averaged.safetensors").read_bytes() == (
        tmp_path / "whole" / "only" / "averaged.safetensors"
    ).read_bytes()
    if sharding == "none":
        assert train_in_processes(recipe, tmp_path / "alone", 1, "--resume").exit_code == 0
        alone, whole = (log_without_times(tmp_path / name)[0] for name in ("alone", "whole"))
        assert alone["audio_seconds"] == pytest.approx(whole["audio_seconds"])
        assert alone["step"] == whole["step"]
        assert alone["loss"] == pytest.approx(whole["loss"], rel=0.1)


@pytest.mark.slow
def test_a_run_of_two_processes_is_resumed_by_one(corpus: Path, tmp_path: Path) -> None:
    recipe = write_recipe(corpus, tmp_path, 1, "full")
    out = tmp_path / "run"
    done = train_in_processes(
        recipe, out, 2, "--set", "stages=" + json.dumps(stages_of_one_epoch()[:2])
    )
    assert done.exit_code == 0, done.stderr
    before = (out / "fusion" / "averaged.safetensors").read_bytes()
    done = train_in_processes(recipe, out, 1, "--resume")
    assert done.exit_code == 0, done.stderr
    assert [entry["stage"] for entry in log(out)] == [name for name in STAGES for _ in range(2)]
    assert (out / "fusion" / "averaged.safetensors").read_bytes() == before


@pytest.mark.slow
def test_divided_weights_are_those_of_whole_ones(tmp_path: Path) -> None:
    """With pretrained encoders and decoders, too."""
    done = divide_weights(tmp_path)
    assert done.exit_code == 0, done.stderr
    for name in MODELS:
        whole, divided = (
            load_file(tmp_path / f"{name}-{sharding}.safetensors") for sharding in ("none", "full")
        )
        assert whole.keys() == divided.keys()
        for key, one in whole.items():
            # as above: an update changes a weight by 1e-3, whatever its gradient
            atol = 1e-5 if key.startswith("gradient") else 2e-3
            torch.testing.assert_close(divided[key], one, atol=atol, rtol=1e-3, msg=key)
        apart = sum((divided[key] - one).square().sum() for key, one in whole.items())
        assert (apart / sum(one.square().sum() for one in whole.values())).sqrt() < 1e-4
