"""What a training cannot go on with becomes one line that says which utterances, or which file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from fixtures.tone_corpus import (
    KEYFRAMES,
    small_corpus,
    stage,
    three_stages,
    tone_recipe,
    write_corpus,
)
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.errors import AudioError, KeyframeError, ManifestError, TrainingError
from keyframe_asr.training import checkpoint
from keyframe_asr.training.run import train

WITHOUT_HEAD = {"inter_ctc": 0.3, "head": 0.0, "head_loss": "none", "decoder": 0.4}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


def failure(
    recipe: Recipe, folder: Path, kind: type[KeyframeError] = TrainingError, **options: Any
) -> str:
    """The one line that the run ends with."""
    with pytest.raises(kind) as error:
        train(recipe, folder, quiet=True, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


def named(message: str) -> list[str]:
    return re.findall(r"(?:train|dev)-\d{3}", message)


@pytest.mark.parametrize(
    "one",
    [
        stage("hot", losses=KEYFRAMES, keyframes=True, fusion=True),
        stage("hot"),
        stage("hot", losses=WITHOUT_HEAD),
    ],
    ids=["keyframes", "all frames", "no head"],
)
def test_learning_rate_that_blows_up(corpus: Path, tmp_path: Path, one: dict[str, Any]) -> None:
    one = one | {"learning_rate": 1e30, "warmup_steps": 0}
    message = failure(tone_recipe(corpus, [one]), tmp_path)
    assert "'hot'" in message
    assert named(message)


FIRST = stage("first", 1)


@pytest.fixture(scope="module")
def first(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run after its first stage."""
    folder = tmp_path_factory.mktemp("first")
    train(tone_recipe(corpus, [FIRST]), folder, quiet=True)
    return folder


def poisoned(first: Path, folder: Path, parameter: str, value: float) -> None:
    """A copy of the run in which one weight is corrupted."""
    shutil.copytree(first, folder)
    restored = checkpoint.load_state(folder)
    assert restored is not None
    state, weights, optimiser = restored
    weights[parameter].view(-1)[0] = value
    checkpoint.save_state(folder, state, weights, optimiser)


@pytest.mark.parametrize(
    ("parameter", "value", "keyframes"),
    [
        ("inter_ctc.weight", torch.nan, True),
        ("inter_ctc.weight", torch.inf, False),
        ("head.bias", torch.nan, True),
        ("head.bias", torch.inf, False),
        ("encoder1.layers.0.norm.weight", torch.nan, True),
        ("encoder1.layers.0.norm.weight", torch.nan, False),
    ],
)
def test_corrupted_weight(
    corpus: Path, first: Path, tmp_path: Path, parameter: str, value: float, keyframes: bool
) -> None:
    changes = {"keyframes": True, "losses": KEYFRAMES} if keyframes else {}
    poisoned(first, tmp_path / "run", parameter, value)
    recipe = tone_recipe(corpus, [FIRST, stage("second", 1, **changes)])
    message = failure(recipe, tmp_path / "run", resume=True)
    assert message.startswith("stage 'second'")
    assert named(message)


def test_corrupted_decoder(corpus: Path, first: Path, tmp_path: Path) -> None:
    poisoned(first, tmp_path / "run", "decoder.output.bias", torch.nan)
    recipe = tone_recipe(corpus, [FIRST, stage("second", 1)])
    message = failure(recipe, tmp_path / "run", resume=True)
    assert "'second'" in message and "nan" in message
    assert named(message)


def test_gradient_that_is_not_finite(corpus: Path, tmp_path: Path) -> None:
    """The weights are still good then, so it must not reach them."""
    from keyframe_asr.training.objective import StageObjective

    forward = StageObjective.forward

    def overflowing(self: StageObjective, *inputs: Any) -> Any:
        total, parts, encoded = forward(self, *inputs)
        if self.training:
            # the square root's slope at 0 is infinite, though its value is finite
            total = total + (self.network.head.bias[0] * 0).sqrt()
        return total, parts, encoded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageObjective, "forward", overflowing)
        message = failure(tone_recipe(corpus, [stage("only")]), tmp_path)
    assert "gradient" in message and "nan" in message
    assert named(message)


def test_first_bad_batch_is_named_alone(tmp_path: Path) -> None:
    """With one utterance a batch, only those of that batch are blamed."""
    table = small_corpus(tmp_path)
    message = failure(
        tone_recipe(table, [stage("hot", learning_rate=1e30, warmup_steps=0)], batch_seconds=0.1),
        tmp_path / "run",
    )
    assert len(named(message)) == 1


def test_utterances_longer_than_a_batch_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    table = write_corpus(tmp_path, {"train": ["ABCDEF", "A"], "dev": ["AB"]})
    train(tone_recipe(table, [stage("only", 1)], batch_seconds=1.0), tmp_path / "run")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "batch_seconds" in line]
    assert named(line) == ["train-000"]
    assert not [one for one in recwarn if "max_duration" in str(one.message)]


@pytest.mark.parametrize("content", ["this is no audio", "RIFF", ""])
def test_broken_recording(tmp_path: Path, content: str) -> None:
    table = write_corpus(tmp_path, {"train": ["AB", "BA"], "dev": ["AB"]})
    (tmp_path / "train-001.wav").write_text(content)
    message = failure(tone_recipe(table, three_stages()), tmp_path / "run", AudioError)
    assert message.startswith(str(tmp_path / "train-001.wav"))


def test_recording_with_nan(tmp_path: Path) -> None:
    table = write_corpus(tmp_path, {"train": ["AB", "BA"], "dev": ["AB"]})
    path = tmp_path / "dev-000.wav"
    samples, rate = soundfile.read(path)
    samples[100] = np.nan
    soundfile.write(path, samples, rate, subtype="FLOAT")
    message = failure(tone_recipe(table, [stage("only")]), tmp_path / "run", AudioError)
    assert message.startswith(str(path))


def test_audio_that_is_shorter_than_the_manifest_says(tmp_path: Path) -> None:
    table = write_corpus(tmp_path, {"train": ["AB", "BA"], "dev": ["AB"]})
    soundfile.write(tmp_path / "train-001.wav", np.zeros(0), 16000)
    message = failure(tone_recipe(table, [stage("only")]), tmp_path / "run", ManifestError)
    assert "train-001" in message


def test_no_utterance_is_left(tmp_path: Path) -> None:
    table = write_corpus(tmp_path, {"train": ["AB"], "dev": ["AB"]})
    table.write_text(table.read_text().replace("\tAB\ttrain", f"\t{'AB' * 60}\ttrain"))
    message = failure(tone_recipe(table, [stage("only")]), tmp_path / "run", ManifestError)
    assert f"{table}:train" in message


def test_manifest_of_a_late_stage_is_missed_before_any_work(corpus: Path, tmp_path: Path) -> None:
    stages = [stage("first"), stage("second", train=str(tmp_path / "gone.tsv"))]
    message = failure(tone_recipe(corpus, stages), tmp_path / "run", ManifestError)
    assert f"{tmp_path / 'gone.tsv'}: " in message
    assert not (tmp_path / "run" / "first").exists()


def test_stage_manifest_is_checked_too(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_corpus(tmp_path / "other", {"train": ["AB", "BA"]})
    table.write_text(table.read_text().replace("\tBA\t", f"\t{'AB' * 60}\t"))
    one = stage("warm", 1, train=f"{table}:train")
    train(tone_recipe(corpus, [one]), tmp_path / "run")
    assert "train-001" in capsys.readouterr().err


def test_folder_that_cannot_be_made(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        line = failure(tone_recipe(corpus, [stage("only")]), folder)
        assert str(folder) in line and "--out" in line


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_initial_weights_that_cannot_be_read(
    corpus: Path, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "initial.safetensors"
    if content is not None:
        path.write_bytes(content)
    recipe = tone_recipe(corpus, [stage("only")])
    assert str(path) in failure(recipe, tmp_path / "run", initial=path)


def test_initial_weights_of_another_model(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "initial.safetensors"
    checkpoint.save_weights({"something": torch.zeros(3)}, path)
    recipe = tone_recipe(corpus, [stage("only")])
    line = failure(recipe, tmp_path / "run", initial=path)
    assert line.startswith(f"{path}: ") and "0%" in line


def test_missing_best_epoch(corpus: Path, tmp_path: Path) -> None:
    """Someone deleted weights that the average of the stage needs."""
    train(tone_recipe(corpus, [stage("only", 1)]), tmp_path, quiet=True)
    restored = checkpoint.load_state(tmp_path)
    assert restored is not None
    state = checkpoint.RunState(0, 1, 3, [(0.5, "epoch-0099.safetensors")])
    checkpoint.save_state(tmp_path, state, restored[1], None)
    message = failure(tone_recipe(corpus, [stage("only", 1)]), tmp_path, resume=True)
    assert "epoch-0099.safetensors: " in message


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), MemoryError()])
def test_no_memory_for_the_optimiser(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def step(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    assert "training.sharding" in failure(tone_recipe(corpus, [stage("only", 1)]), tmp_path)
