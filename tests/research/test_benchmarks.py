"""Benchmarks start, and write what they say they do. How fast things are is not tested."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fixtures.tiny_pretrained import WHISPER, pretrained_config
from fixtures.tone_corpus import MODEL
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.strict import parse_config
from research.benchmarks import axe, gpu, keyframe_layer, large_corpus, networks, timing, train

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in sorted((REPOSITORY / "research" / "benchmarks").rglob("*.py"))
    if "def main(" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize(
    "script", [*SCRIPTS, "research.language_model_text", "research.whisper_weights"]
)
def test_every_script_shows_its_help(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(script)
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    assert Path(*script.split(".")).name in capsys.readouterr().out


def test_contestants_take_turns_and_warm_up() -> None:
    calls: list[str] = []
    times = timing.in_turn(
        {name: lambda name=name: calls.append(name) for name in "ab"}, rounds=2, warm_up=1
    )
    assert calls == ["a", "b"] * 3
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2}
    assert min(min(seconds) for seconds in times.values()) >= 0


def test_a_comparison_is_of_medians() -> None:
    found = timing.comparison("x", {"B": 2}, {"a": [1.0, 9.0, 2.0], "b": [4.0, 4.0, 5.0]})
    assert found["seconds"]["a"] == {"median": 2.0, "minimum": 1.0, "maximum": 9.0}
    assert (found["target"], found["setting"], found["rounds"]) == ("x", {"B": 2}, 3)
    assert found["ratio"] == 0.5
    assert found["machine"]["torch"] == torch.__version__


def test_peak_memory_grows_with_what_is_held() -> None:
    before = timing.peak_megabytes()
    held = torch.ones(round(before) + 64, 2**18)  # as many MiB
    assert timing.peak_megabytes() >= before + held.numel() / 2**20


def test_axe_is_measured_against_ctc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = axe.Sizes(batch=2, keyframes=5, frames=9, tokens=4, vocabulary=12)
    timing.show(axe.measure(1, sizes), tmp_path / "new" / "axe.json")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["axe.json"]
    written = json.loads((tmp_path / "new" / "axe.json").read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == written
    assert written["target"] == "axe"
    assert written["setting"] == {"B": 2, "K": 5, "U": 9, "L": 4, "V": 12}
    assert list(written["seconds"]) == ["axe", "ctc", "ctc, time first"]
    medians = [times["median"] for times in written["seconds"].values()]
    assert written["ratio"] == pytest.approx(medians[0] / medians[1])
    assert min(medians) > 0


def test_training_is_measured_with_and_without_keyframes() -> None:
    small = parse_config(ModelConfig, MODEL, "model")
    found = train.measure(rounds=1, model=small, batches=2)
    assert list(found["seconds"]) == ["keyframes", "all frames"]
    assert found["rounds"] >= 2
    assert min(one["minimum"] for one in found["seconds"].values()) > 0
    assert found["setting"]["V"] == 4233
    for name in found["seconds"]:
        assert 0 <= found["figures"][f"share of time waiting for data, {name}"] < 1
        assert found["figures"][f"hours of audio an hour, {name}"] > 0
    assert found["figures"]["peak memory in GiB"] > 0


def test_networks_are_measured_on_the_same_input() -> None:
    small = parse_config(ModelConfig, MODEL, "model")
    contestants = {
        "fast": networks.Contestant(small, keyframes=True),
        networks.ALL_FRAMES: networks.Contestant(small, keyframes=False),
    }
    found = networks.measure(contestants, rounds=2, seconds=(1.0, 2.0), batch_seconds=4.0)
    assert list(found) == ["recognition, 1 s", "recognition, 2 s", "training step"]
    for measured in found.values():
        fast, every = (measured["seconds"][name] for name in contestants)
        assert measured["ratio"] == pytest.approx(fast["median"] / every["median"])
        assert fast["minimum"] > 0
        assert measured["rounds"] == 2
        for kind in ("ratios", "processor ratios"):
            assert list(measured[kind]) == ["fast"]
            ratios = measured[kind]["fast"]
            assert 0 < ratios["minimum"] <= ratios["median"] <= ratios["maximum"]
    products = found["recognition, 2 s"]["multiply_adds"]
    assert products["fast"] < products["all frames"]


def test_layers_on_keyframes_are_measured_against_layers_on_all_frames() -> None:
    models = {
        name: parse_config(
            ModelConfig,
            MODEL | {"pretrained": pretrained_config(WHISPER, keyframe_layer=layer).model_dump()},
            "model",
        )
        for name, layer in ((networks.ALL_FRAMES, None), ("inside", 1))
    }
    found = keyframe_layer.measure(models, 9, rounds=2, seconds=(1.0, 2.0))
    assert list(found) == ["recognition, 1 s", "recognition, 2 s"]
    for measured in found.values():
        assert list(measured["ratios"]) == ["inside"]
        assert measured["ratios"]["inside"]["minimum"] > 0
        assert measured["multiply_adds"]["inside"] < measured["multiply_adds"]["all frames"]


def test_the_table_for_a_gpu_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--quick", "--no-compile", "--json", str(tmp_path / "rows.json")])
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {row["measured"] for row in rows} == {
        "training",
        "network of demo",
        "recognition, demo",
        "features",
    }
    assert all(row["audio_seconds_a_second"] > 0 for row in rows)
    assert all(row["updates_a_second"] > 0 for row in rows if row["measured"] == "training")
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)


def test_rows_that_fail_or_do_not_fit_leave_the_others() -> None:
    sizes = replace(gpu.QUICK, models=("no-such-model",))
    found = list(gpu.measure(sizes, torch.device("cpu"), 60.0, compiles=False))
    assert "failed" in {row.measured for row in found}
    assert found[0].measured == "training"
    late = list(gpu.measure(gpu.QUICK, torch.device("cpu"), 0.0, compiles=True))
    assert late and all(row.audio_seconds_a_second is None for row in late)


def test_a_gpu_that_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--quick"])
    assert ended.value.code == 2
    assert (torch.version.cuda or torch.__version__) in capsys.readouterr().err


def test_the_script_for_a_gpu_without_an_interpreter() -> None:
    done = subprocess.run(
        [REPOSITORY / "research" / "benchmarks" / "gpu.sh"],
        env=os.environ | {"PYTHON": "/no/python"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "/no/python" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_steps_of_a_large_corpus_are_measured(tmp_path: Path) -> None:
    large_corpus.write_corpus(tmp_path, utterances=40)
    steps = {step: large_corpus.run_step(step, tmp_path, jobs=1) for step in large_corpus.STEPS}
    assert {step: [*found][:-1] for step, found in steps.items()} == {
        "check-data": ["seconds"],
        "plan": ["seconds"],
        "load": ["load_seconds", "record_seconds"],
        "bucketing": ["load_seconds", "record_seconds", "seconds"],
        "epoch": ["load_seconds", "record_seconds", "seconds"],
    }
    assert min(found["peak_gigabytes"] for found in steps.values()) > 0
