"""The comparison of back ends: what is measured, of which recordings, and how it is told."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fixtures.exported import TracedSessions
from fixtures.random_model import RATE, noise, random_model, save_random_model
from fixtures.random_pretrained import random_pretrained
from keyframe_asr import RecognitionOptions
from keyframe_asr.export.sherpa import export_for_sherpa
from keyframe_asr.inference.onnx_network import OnnxNetwork
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.runtime.network import ExportedNetwork
from research.benchmarks.runtime import (
    Comparison,
    Contestant,
    chosen,
    joined,
    measured,
    summarised,
)
from research.benchmarks.runtime_parts import GRAPHS, Parts, watch
from research.benchmarks.runtime_report import OURS, bars, markdown
from research.benchmarks.whisper import recognise_with_sherpa
from research.benchmarks.whisper.recognise_with_keyframes import DecoderCounts
from research.benchmarks.whisper.recordings import Recording, RecordingSet
from research.benchmarks.whisper.systems import System

WRITES = """
import json, sys
for line in open(sys.argv[1]):
    one = json.loads(line)
    text = "GO " * (150 if one["id"].startswith("joined") else 1)
    print(json.dumps({"id": one["id"], "text": text, "seconds": 0.5}), flush=True)
print(json.dumps({"peak_megabytes": float(sys.argv[-1])}))
"""


def writer(name: str = "writer", **setting: object) -> System:
    """A system that needs half a second for everything, and as many MB as threads."""
    return System(name, (sys.executable, "-c", WRITES, "LIST"), setting)


@pytest.fixture
def clips(tmp_path: Path) -> RecordingSet:
    """Recordings of 2 to 5 s."""
    found = []
    for number, seconds in enumerate((2.0, 3.0, 4.0, 4.5, 5.0)):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, noise(seconds, number), RATE)
        found.append(Recording(f"english/{number}", "s", str(path), "en", "GO", seconds))
    return RecordingSet("english", "English", "english", tuple(found))


def on_graphs(recognizer: Recognizer) -> Recognizer:
    """The same recogniser, whose network runs as graphs."""
    network, config = module_of(recognizer.network), recognizer.config
    recognizer.network = OnnxNetwork(ExportedNetwork(config, TracedSessions(network)))
    return recognizer


def test_recordings_are_neither_short_nor_long(clips: RecordingSet) -> None:
    names = [one.id for one in chosen([clips], 9)["english"].recordings]
    assert names == ["english/1", "english/2", "english/3"]
    assert len(chosen([clips], 2)["english"].recordings) == 2


def test_recordings_are_joined_with_pauses(clips: RecordingSet, tmp_path: Path) -> None:
    found = joined(clips, 14.0, tmp_path)
    (whole,) = found.recordings
    assert (found.name, found.form, whole.text) == ("joined english", "english", "GO GO GO GO")
    samples, _ = soundfile.read(whole.path)
    assert samples.size / RATE == whole.seconds == 3.0 + 4.0 + 4.5 + 3.0 + 4 * 0.5
    assert not samples[3 * RATE : round(3.5 * RATE)].any()


def test_a_run_gives_time_start_memory_and_texts(clips: RecordingSet) -> None:
    figures, texts = measured(Contestant(writer(), ("english",), False), clips.recordings, 3)
    assert figures["english"] == pytest.approx(5 * 0.5 / 18.5)
    assert figures["memory"] == 3.0
    assert set(figures) == {"english", "memory", "start"}
    assert texts == {one.id: "GO " for one in clips.recordings}


def test_figures_are_medians_with_ranges() -> None:
    assert summarised([{"a": 3.0}, {"a": 1.0}, {"a": 7.0}]) == {"a": [3.0, 1.0, 7.0]}


def test_a_report_tells_figures_errors_and_bars(clips: RecordingSet, tmp_path: Path) -> None:
    some, long = chosen([clips], 2), joined(clips, 600.0, tmp_path)
    contestants = [
        Contestant(writer("peer", whisper="x"), ("english",), True),
        Contestant(writer(OURS), ("english",), True),
    ]
    comparison = Comparison(some, {long.name: long}, 1)
    for one in contestants:
        comparison.write_texts(one)
        for threads in (1, 2):
            comparison.run(one, threads, threads == 1)
    report: dict[str, Any] = {
        "processor": "x",
        "rounds": 1,
        "timed": 1,
        "peers": ["peer"],
        "sets": {
            one.name: {"title": one.title, "recordings": len(one.recordings)}
            for one in (some["english"], long)
        },
        "figures": comparison.figures(),
        "errors": comparison.errors(contestants, ""),
        "parts": {"ours": {"audio_seconds": 2.0, "parts": {"search": 0.5}}},
    }
    assert len(report["figures"]) == 2 * (2 + 1)
    assert report["errors"]["english"][OURS]["error"] == 0.0
    report["bars"] = bars(report)
    verdicts = {one["what"]: one["met"] for one in report["bars"]}
    assert verdicts == {
        "english: speed over peer": False,
        "english: errors, and those of peer": True,
        "joined english: speed over peer": False,
        "joined english: errors, and those of peer": True,
        "clips: MB, and those of peer": False,
        "joined: MB, and those of peer": False,
    }
    lines = markdown(report).splitlines()
    assert sum(f"| {OURS} |" in line for line in lines) == 2
    assert "| ours | 250.00 | 250.00 |" in lines


def test_time_inside_a_part_counts_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 1.0, 6.0, 8.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    parts = Parts()
    inner = parts.timed(lambda name: name, lambda name: name)
    assert parts.timed("outer", lambda: inner("inner"))() == "inner"
    assert parts.seconds == {"outer": 1.0 + 2.0, "inner": 5.0}


def test_all_parts_of_a_recogniser_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    from keyframe_asr.audio.loudness import SpeechLevel
    from keyframe_asr.inference import longform
    from keyframe_asr.runtime import network

    for owner, name in (
        (SpeechLevel, "of_samples"),
        (longform, "_warn_if_narrow"),
        (network, "select_keyframes"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # as before after the test
    recognizer, parts = on_graphs(Recognizer(random_model(), "cpu")), Parts()
    expected = recognizer.transcribe(noise(1.0), "attention")
    watch(recognizer, parts)
    assert recognizer.transcribe(noise(1.0), "attention") == expected
    graphs = set(GRAPHS.values()) - {"pretrained encoder"}
    assert graphs | {"front end", "selection", "search", "speech check"} <= set(parts.seconds)


def test_runs_of_a_decoder_are_counted_on_graphs_as_on_torch() -> None:
    sound, options = noise(1.0), RecognitionOptions(decode="attention", beam=1)
    found = []
    for change in (lambda one: one, on_graphs):
        recognizer = change(random_pretrained())
        counts = DecoderCounts(recognizer.network)
        recognizer.transcribe(sound, options)
        found.append((counts.steps > 0, counts.vectors))
        counts.reset()
        recognizer.transcribe(sound, "ctc")
        assert (counts.steps, counts.vectors) == (0, 0)
    assert found[0] == found[1] and found[0][1] > 0


def test_sherpa_recognises_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_for_sherpa(save_random_model(tmp_path / "model"), tmp_path / "out")
    soundfile.write(tmp_path / "a.wav", noise(1.0).astype(np.float32), RATE)
    row = {"id": "a", "path": str(tmp_path / "a.wav"), "language": "en"}
    (tmp_path / "list").write_text(json.dumps(row) + "\n", encoding="utf-8")
    recognise_with_sherpa.main([str(tmp_path / "out"), str(tmp_path / "list"), "--threads", "1"])
    first, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["id"] == "a" and set(first["text"]) <= set("ABCDEF⁇") and first["text"]
    assert first["seconds"] > 0 and last["peak_megabytes"] > 0
