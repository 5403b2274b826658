"""What a training says: time left, the state line, warnings."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fixtures.tone_corpus import small_corpus, stage, three_stages, tone_recipe, write_corpus
from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.training.checkpoint import RunState
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.epoch_share import take_up
from keyframe_asr.training.epoch_statistics import EpochStatistics
from keyframe_asr.training.log import (
    SECONDS_BETWEEN_LINES,
    StageClock,
    TrainingLog,
    duration,
)
from keyframe_asr.training.run import train
from keyframe_asr.training.validation import Validation


def test_time_left_follows_from_the_pace() -> None:
    clock = StageClock(now=100.0, done=0, total=10)
    assert clock.seconds_left(100.0, 0) is None
    assert clock.seconds_left(130.0, 0.5) == pytest.approx(570)
    assert clock.seconds_left(400.0, 5) == pytest.approx(300)
    assert clock.seconds_left(700.0, 10) == 0


def test_time_left_of_a_resumed_stage_counts_its_own_epochs_only() -> None:
    clock = StageClock(now=0.0, done=8, total=10)
    assert clock.seconds_left(5.0, 8) is None
    assert clock.seconds_left(60.0, 9) == pytest.approx(60)


def test_evaluations_do_not_make_the_time_left_jump() -> None:
    clock = StageClock(now=0.0, done=0, total=10, every=2)
    clock.evaluated(7.0)  # of the start
    before = clock.seconds_left(107.0, 1)
    clock.evaluated(9.0)
    after = clock.seconds_left(216.0, 2)
    assert (before, after) == (pytest.approx(9 * 100 + 5 * 7), pytest.approx(8 * 100 + 4 * 8))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "?"),
        (0, "0 s"),
        (59.6, "60 s"),
        (120, "2 min"),
        (3600, "60 min"),
        (11_100, "3 h 05 min"),
    ],
)
def test_durations_in_words(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told


def test_terminal_shows_a_live_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    one: StageConfig = parse_config(StageConfig, stage("warm", 4), "stage")
    state = RunState(epoch=1)
    with TrainingLog(tmp_path) as log:
        monkeypatch.setattr(log, "_console", Console(file=shown, force_terminal=True, width=200))
        log.begin_stage(one, state)
        epoch = EpochStatistics(expected_batches=10, learning_rate=1.5e-3)
        epoch.batches, epoch.utterances, epoch.loss = 5, 2, 6.25
        epoch.tokens, epoch.keyframes = 100, 120
        log.update(one, state, epoch)
        log.end_stage(one, Validation(0.5, 0.4, 2.0, 1.1, 0.9))
    text = shown.getvalue()
    assert " 2 of 4" in text
    assert " left" in text


def test_without_a_terminal_a_line_comes_from_time_to_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one: StageConfig = parse_config(StageConfig, stage("warm", 4), "stage")
    state = RunState(epoch=1)
    clock = [100.0]
    with TrainingLog(tmp_path, now=lambda: clock[0]) as log:
        log.begin_stage(one, state)
        capsys.readouterr()
        epoch = EpochStatistics(expected_batches=8, loss=6.25, utterances=2)
        for batches in range(1, 9):
            clock[0] += SECONDS_BETWEEN_LINES * 0.4
            epoch.batches = batches
            log.update(one, state, epoch)
        lines = capsys.readouterr().err.splitlines()
    # after every third batch: 1.2 times the seconds
    assert [line.split(":")[0] for line in lines] == ["warm 34%", "warm 44%"]
    # 6 of 8 batches took 36 s; 2 of this epoch and 16 of the next two are left
    assert lines[1].endswith(f" {duration(108)} left")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


def test_log_without_a_terminal(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tone_recipe(corpus, [stage("only", 2)]), tmp_path)
    captured = capsys.readouterr()
    assert captured.out == "", "results only go to standard output"
    lines = captured.err.splitlines()
    epochs = [line for line in lines if line.startswith("only ")]
    assert len(epochs) == 2
    for number, line in enumerate(epochs, start=1):
        assert line.startswith(f"only {number} of 2: ") and "%" in line
    assert epochs[1].endswith(" 0 s left")


def test_quiet_is_quiet(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tone_recipe(corpus, [stage("only", 1)]), tmp_path, quiet=True)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_no_python_warnings_in_a_run(
    corpus: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    train(tone_recipe(corpus, three_stages(1)), tmp_path, quiet=True)
    assert [str(one.message) for one in recwarn if one.category is not DeprecationWarning] == []


def silent_inter_ctc() -> list[dict[str, Any]]:
    """A stage that trains keyframes from scratch: at the start nothing is a good keyframe."""
    return [stage("keyframes", 1, keyframes=True)]


def test_warning_when_keyframes_do_not_fit_the_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_corpus(tmp_path, {"train": ["ABCDE", "BCDEF"] * 2, "dev": ["ABCDEF"]})
    train(tone_recipe(table, silent_inter_ctc()), tmp_path / "run")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    from_scratch, not_ready = warnings
    assert "0.0" in from_scratch and " 10," in from_scratch
    assert "'keyframes'" in not_ready and "0.8-1.5" in not_ready


@pytest.mark.parametrize(
    ("measured", "warned"), [(0.79, True), (0.8, False), (1.5, False), (1.51, True)]
)
def test_warning_depends_on_the_measured_rate(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    measured: float,
    warned: bool,
) -> None:
    from keyframe_asr.training import loop

    monkeypatch.setattr(loop, "validate", lambda *_: Validation(0.5, 0.5, 1.0, measured, 0.9))
    train(tone_recipe(corpus, silent_inter_ctc()), tmp_path)
    told = [line for line in capsys.readouterr().err.splitlines() if "0.8-1.5" in line]
    assert len(told) == warned and all(f"{measured:.2f}" in line for line in told)


def test_text_longer_than_its_audio_is_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_corpus(tmp_path, {"train": ["AB", "BA", "CD"], "dev": ["AB", "BC"]})
    long = "ABCDEF" * 20
    rows = table.read_text().replace("\tBA\t", f"\t{long}\t").replace("\tBC\t", f"\t{long}\t")
    table.write_text(rows)
    train(tone_recipe(table, three_stages(1)), tmp_path / "run")
    errors = capsys.readouterr().err
    told = "utterances have more text than audio and are left out"
    assert f"{table}:train: 1 of 3 {told}: train-001" in errors
    assert f"{table}:dev: 1 of 2 {told}: dev-001" in errors
    assert (tmp_path / "run" / "keyframes" / "model" / "config.yaml").is_file()


def test_times_of_processes_that_worked_together_are_not_added() -> None:
    """A run of two processes that one goes on with: its sums are those of both, its time is not."""
    shares = []
    for seconds in (100.0, 90.0):
        share = EpochStatistics(1, started=time.monotonic() - seconds, utterances=3, waited=seconds)
        shares.append({"statistics": share.so_far(), "random": torch.get_rng_state()})
    found = EpochStatistics(1)
    take_up(shares, found, Processes())
    assert found.utterances == 6
    assert found.waited == 100.0
    assert found.numbers()["seconds"] == pytest.approx(100.0, abs=5.0)
