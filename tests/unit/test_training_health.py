"""When the keyframe stage begins, what its log tells, and when it is stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.errors import refused
from fixtures.tone_corpus import small_corpus, stage, tone_recipe
from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import TrainingError
from keyframe_asr.training import checkpoint
from keyframe_asr.training.run import train
from keyframe_asr.training.validation import (
    Validation,
    check_collapse,
    count_collapsed,
    inter_ctc_is_ready,
)


def measured(error: float = 0.5, inter: float = 0.2, keyframes: float = 1.0) -> Validation:
    return Validation(error, inter, 1.0, keyframes, 0.9, 0.0)


def configured(**changes: Any) -> StageConfig:
    return parse_config(StageConfig, stage("keyframes", 9, **changes), "stage")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("inter", "keyframes", "ready"),
    [(0.3, 1.0, True), (0.31, 1.0, False), (0.1, 0.79, False), (0.1, 1.3, False), (0.1, 1.2, True)],
)
def test_bounds_of_a_good_inter_ctc(inter: float, keyframes: float, ready: bool) -> None:
    bounds = {"inter_error": 0.3, "keyframes_per_token": [0.8, 1.2]}
    one = configured(ends_when=bounds)
    assert inter_ctc_is_ready(one, measured(inter=inter, keyframes=keyframes)) == ready
    assert not inter_ctc_is_ready(configured(), measured(inter=0.0))


def test_stage_ends_when_its_inter_ctc_is_good_enough(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anything = {"inter_error": 9.0, "keyframes_per_token": [0.0, 99.0]}
    stages = [stage("baseline", 4, ends_when=anything), stage("after", 1)]
    recipe = tone_recipe(corpus, stages)
    train(recipe, tmp_path)
    epochs = [(entry["stage"], entry["epoch"]) for entry in log(tmp_path) if "epoch" in entry]
    assert epochs == [("baseline", 1), ("after", 1)]
    assert "'baseline'" in capsys.readouterr().err


def test_a_stage_that_ended_early_stays_ended_after_a_kill(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the state of its last epoch and its average."""
    anything = {"inter_error": 9.0, "keyframes_per_token": [0.0, 99.0]}
    recipe = tone_recipe(corpus, [stage("baseline", 4, ends_when=anything)])

    def killed(paths: list[Path]) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "average_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path, quiet=True)
    train(recipe, tmp_path, quiet=True, resume=True)
    assert [entry["epoch"] for entry in log(tmp_path) if "epoch" in entry] == [1]


def test_collapse_takes_several_bad_evaluations_in_a_row() -> None:
    one = configured(keyframes=True, collapse={"error": 0.8, "evaluations": 2})
    count = 0
    for error in (0.9, 0.7, 0.81):
        count = count_collapsed(one, measured(error), count)
        check_collapse(one, count)
    assert count == 1
    count = count_collapsed(one, measured(0.95), count)
    with refused(TrainingError, "'keyframes'", "80%", 2, "collapse: null"):
        check_collapse(one, count)


def test_no_collapse_without_keyframes_or_where_it_is_off() -> None:
    off = configured(keyframes=True, collapse=None)
    for one in (off, configured()):
        assert count_collapsed(one, measured(1.0), 99) == 0
        check_collapse(one, 99)


@pytest.mark.parametrize("epochs", [5, 2])
def test_a_run_that_collapses_stops_and_stops_again_when_resumed(
    corpus: Path, tmp_path: Path, epochs: int
) -> None:
    """Also in the last epoch of its stage (2)."""
    limit = {"error": 0.01, "evaluations": 2}
    stages = [stage("keyframes", epochs, keyframes=True, collapse=limit), stage("after", 1)]
    recipe = tone_recipe(corpus, stages)
    with refused(TrainingError, "'keyframes'", "1%", 2):
        train(recipe, tmp_path, quiet=True)
    assert len(log(tmp_path)) == 2
    with refused(TrainingError, "'keyframes'", "1%", 2):
        train(recipe, tmp_path, quiet=True, resume=True)


def test_log_of_the_keyframe_stage_tells_its_health(corpus: Path, tmp_path: Path) -> None:
    stages = [stage("baseline", 1), stage("keyframes", 1, keyframes=True, collapse=None)]
    train(tone_recipe(corpus, stages), tmp_path)
    baseline, keyframes = (entry for entry in log(tmp_path) if "epoch" in entry)
    shares = [f"dev_{name}_targets" for name in ("aligned", "doubled", "skipped")]
    assert sum(keyframes[name] for name in shares) == pytest.approx(1.0)
    assert all(0 <= keyframes[name] <= 1 for name in shares)
    assert not any(name in baseline for name in shares)
    for entry in (baseline, keyframes):
        assert 0 <= entry["dev_too_few_keyframes"] <= 1
        assert 0 <= entry["waiting_share"] <= 1
