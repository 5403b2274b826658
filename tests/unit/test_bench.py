"""`keyframe bench`: what it writes and what it refuses. How fast things are is not tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fixtures.tone_corpus import MODEL
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.strict import parse_config
from research.bench_command import TARGETS, bench, bench_axe, write_json
from research.bench_train import measure_training

app = typer.Typer()
app.command()(bench)


@pytest.mark.parametrize("target", ["pipelines", ""])
def test_an_unknown_target_is_wrong_usage(target: str) -> None:
    result = CliRunner().invoke(app, [target])
    assert result.exit_code == 2
    for name in TARGETS:
        assert name in result.output


def test_a_missing_folder_is_found_before_measuring(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["axe", "--json", str(tmp_path / "no" / "a.json")])
    assert result.exit_code == 2
    assert "axe takes" not in result.output


def test_axe_is_measured_against_ctc(tmp_path: Path) -> None:
    write_json(bench_axe(rounds=1), tmp_path / "axe.json")
    assert [path.name for path in tmp_path.iterdir()] == ["axe.json"]
    written = json.loads((tmp_path / "axe.json").read_text(encoding="utf-8"))
    assert written["target"] == "axe"
    assert written["setting"] == {"B": 32, "K": 24, "U": 168, "L": 20, "V": 4233}
    assert list(written["seconds"]) == ["axe", "ctc", "ctc, time first"]
    medians = [times["median"] for times in written["seconds"].values()]
    assert written["ratio"] == pytest.approx(medians[0] / medians[1])
    assert min(medians) > 0


def test_training_is_measured_with_and_without_keyframes() -> None:
    small = parse_config(ModelConfig, MODEL, "model")
    times, setting, figures = measure_training(rounds=1, model=small, batches=2)
    assert list(times) == ["keyframes", "all frames"]
    assert len(times["keyframes"]) == len(times["all frames"]) >= 2
    assert min(min(steps) for steps in times.values()) > 0
    assert setting["V"] == 4233
    for name in times:
        assert 0 <= figures[f"share of time waiting for data, {name}"] < 1
        assert figures[f"hours of audio an hour, {name}"] > 0
    assert figures["peak memory in GiB"] > 0
