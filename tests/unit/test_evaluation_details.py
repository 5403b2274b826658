"""Details of an evaluation: order, errors, times, failures, and recordings of any length."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

import keyframe_asr
from fixtures.command_line import Ran, keyframe
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.audio.loudness import signal_to_noise
from keyframe_asr.config.text_form import TEXT_FORMS, TextForm
from keyframe_asr.data.manifest import make_cut, save_manifest
from keyframe_asr.errors import OtherLanguageWarning
from keyframe_asr.evaluation.details import Output, Utterance, details_of
from keyframe_asr.evaluation.known_letters import unknown_letters
from keyframe_asr.evaluation.scoring import Scoring
from keyframe_asr.inference.batch_recognizer import LONGEST_SECONDS
from keyframe_asr.results import Token, Transcript, Word
from keyframe_asr.text.tokenizer import CharacterTokenizer

SECONDS = {"short": 0.7, "long": 2.3, "lost": 1.0, "middle": 1.5}
MODES = ("ctc", "joint")
RANGE = 40.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("models") / "random")


@dataclass(frozen=True)
class Evaluation:
    """A finished `keyframe evaluate`, its report and its details."""

    ran: Ran
    report: dict[str, Any]
    details: list[dict[str, Any]]


@pytest.fixture(scope="module")
def evaluation(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("recordings")
    rows = ["utt_id\tspeaker\tduration_s\tpath\ttext\tsplit"]
    for seed, (name, seconds) in enumerate(SECONDS.items()):
        if name != "lost":
            soundfile.write(folder / f"{name}.wav", noise(seconds, seed), RATE)
        rows.append(f"{name}\tspeaker {seed}\t{seconds}\t{name}.wav\ta café, bed\ttest")
    (folder / "table.tsv").write_text("\n".join(rows) + "\n")
    modes = [part for mode in MODES for part in ("--decode", mode)]
    files = ["--json", folder / "report.json", "--details", folder / "details.jsonl"]
    ran = keyframe("evaluate", model, folder / "table.tsv", *modes, *files)
    return Evaluation(
        ran,
        json.loads((folder / "report.json").read_text()),
        [json.loads(line) for line in (folder / "details.jsonl").read_text().splitlines()],
    )


def test_details_are_in_the_order_of_the_manifest(evaluation: Evaluation) -> None:
    assert [one["id"] for one in evaluation.details] == list(SECONDS)
    assert [one["speaker"] for one in evaluation.details] == [f"speaker {k}" for k in range(4)]
    stored = evaluation.report["per_utterance"]
    assert stored["ids"] == [name for name in SECONDS if name != "lost"]


def test_a_recording_that_cannot_be_read_is_among_them(evaluation: Evaluation) -> None:
    assert evaluation.ran.exit_code == 1
    failed = {one["id"]: one["error"] for one in evaluation.details if "error" in one}
    assert list(failed) == ["lost"] and "lost.wav" in failed["lost"]


def test_details_add_up_to_the_report(evaluation: Evaluation) -> None:
    scored = [one for one in evaluation.details if "error" not in one]
    report = evaluation.report
    assert report["audio_seconds"] == pytest.approx(sum(one["duration"] for one in scored))
    frames, keyframes = (sum(one[key] for one in scored) for key in ("frames", "keyframes"))
    assert report["frame_reduction"] == pytest.approx(1 - keyframes / frames)
    stored = report["per_utterance"]
    assert stored["lengths"] == [one["length"] for one in scored] == [3, 3, 3]
    for mode in MODES:
        outputs, row = [one["decode"][mode] for one in scored], report["decode"][mode]
        assert stored["errors"][mode] == [one["errors"] for one in outputs]
        for kind in ("substitutions", "deletions", "insertions"):
            assert row[kind] == sum(one[kind] for one in outputs)
        seconds = sum(one["seconds"] for one in outputs)
        assert row["search"].get("beam", 1) == (1 if mode == "ctc" else 10)
        assert row["rtf"] == pytest.approx(seconds / report["audio_seconds"], rel=1e-3)


def test_each_utterance_is_described(evaluation: Evaluation) -> None:
    for one in evaluation.details:
        if "error" in one:
            continue
        assert (one["text"], one["reference"], one["unit"]) == (
            "a café, bed",
            "A CAFE BED",
            "words",
        )
        assert Path(one["audio"]).is_file() and one["start"] == 0.0 and one["channel"] is None
        assert one["level"] < 0 < one["snr"]
        for output in one["decode"].values():
            expected, found = zip(*output["alignment"], strict=True)
            assert " ".join(filter(None, expected)) == one["reference"]
            assert " ".join(filter(None, found)) == output["hypothesis"]
            assert 0 < output["confidence"] < 1
            times = [time for word in output["words"] for time in (word["start"], word["end"])]
            assert all(0 <= time <= one["duration"] for time in times) and times


def told(text: str, hypothesis: str, form: TextForm) -> dict[str, Any]:
    """The details of one utterance in one mode."""
    words = [Word(hypothesis, 0.1, 0.2, 0.5)]
    tokens = [Token(hypothesis, 0.1, 0.2, 0.25), Token("", 0.1, 0.2, 0.75)]
    transcript = Transcript(hypothesis, tokens, 1.0, 0.5, words)
    utterance = Utterance("one", "", Path("one.wav"), None, 0.0, 1.0, text)
    utterance.outputs["ctc"] = Output(transcript, 0.25)
    return dict(details_of(utterance, form)["decode"]["ctc"])


def test_operations_are_aligned_in_the_unit_of_the_form() -> None:
    words = told("one two three", "One too, three four", TEXT_FORMS["english"])
    assert words["alignment"][1:] == [("TWO", "TOO"), ("THREE", "THREE"), (None, "FOUR")]
    assert [words[kind] for kind in ("errors", "substitutions", "deletions", "insertions")] == [
        2,
        1,
        0,
        1,
    ]
    assert (words["confidence"], words["seconds"]) == (0.5, 0.25)
    characters = told("你们好", "你好", TEXT_FORMS["mandarin"])
    assert characters["alignment"] == [("你", "你"), ("们", None), ("好", "好")]
    assert characters["deletions"] == characters["errors"] == 1


def test_long_recordings_are_scored_as_transcribe_writes_them(model: Path, tmp_path: Path) -> None:
    seconds = LONGEST_SECONDS + 1
    soundfile.write(tmp_path / "long.wav", noise(seconds, 4), RATE)
    recognizer = keyframe_asr.load(model, "cpu")
    written = recognizer.transcribe(tmp_path / "long.wav", "ctc")
    samples = round(seconds * RATE)
    cuts = [
        make_cut("whole", "", written.text, tmp_path / "long.wav", samples),
        make_cut("part", "", "A", tmp_path / "long.wav", samples, RATE, (RATE, 41 * RATE)),
    ]
    save_manifest(cuts, tmp_path / "cuts.jsonl")
    scoring = Scoring(recognizer, ["ctc"])
    report = scoring.run(str(tmp_path / "cuts.jsonl"))
    assert scoring.failed == [] and report["utterances"] == 2
    assert report["per_utterance"]["errors"]["ctc"][0] == 0 < len(written.text)
    assert report["audio_seconds"] == pytest.approx(seconds + 40)
    assert report["frame_reduction"] == pytest.approx(written.frame_reduction, abs=0.05)
    whole, part = scoring.details
    assert whole["decode"]["ctc"]["text"] == written.text != part["decode"]["ctc"]["text"] != ""


def test_a_long_recording_that_is_lost_stops_no_other(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", noise(1.0), RATE)
    cuts = [
        make_cut("gone", "", "A", tmp_path / "gone.wav", 400 * RATE),
        make_cut("one", "", "A", tmp_path / "one.wav", RATE),
    ]
    save_manifest(cuts, tmp_path / "cuts.jsonl")
    scoring = Scoring(keyframe_asr.load(model, "cpu"), ["axe"])
    assert scoring.run(str(tmp_path / "cuts.jsonl"))["utterances"] == 1
    assert [one.error is None for one in scoring.utterances] == [False, True]
    assert len(scoring.failed) == 1


def loud_and_quiet(decibels: float) -> npt.NDArray[np.float32]:
    """Ten seconds (S,) of noise, one half of it quieter by so many decibels."""
    samples = 0.1 * np.random.default_rng(1).normal(size=10 * RATE)
    samples[: 5 * RATE] *= 10 ** (-decibels / 20)
    return samples.astype(np.float32)


@pytest.mark.parametrize("gain", [0.01, 1.0])
def test_the_signal_to_noise_ratio_is_estimated_at_any_gain(gain: float) -> None:
    found = [signal_to_noise(gain * loud_and_quiet(one)) for one in (RANGE, 0.0)]
    assert found[0] == pytest.approx(RANGE, abs=2) and found[1] == pytest.approx(0, abs=2)
    assert signal_to_noise(np.zeros(10, np.float32)) is None


@pytest.mark.parametrize(
    ("texts", "form", "share", "script"),
    [
        (["a bed", "CAFÉ"], "english", 0.0, ""),
        (["你好", "A"], "english", 2 / 3, "CJK"),
        (["привет"], "generic", 1.0, "CYRILLIC"),
        (["one"], "mandarin", 1 / 3 * 2, "LATIN"),
        (["", "12 ,.!"], "english", 0.0, ""),
    ],
    ids=["own", "han", "cyrillic", "other-letters", "no-letters"],
)
def test_letters_that_a_model_cannot_write(
    texts: list[str], form: Any, share: float, script: str
) -> None:
    found = unknown_letters(texts, TEXT_FORMS[form], CharacterTokenizer("ABCDEFabcdef"))
    assert (found.share, found.script) == (pytest.approx(share), script)


@pytest.mark.parametrize(("text", "warned"), [("ABC", 0), ("你好", 1)], ids=["own", "other"])
def test_another_language_is_said(model: Path, tmp_path: Path, text: str, warned: int) -> None:
    soundfile.write(tmp_path / "one.wav", noise(1.0), RATE)
    cuts = [
        make_cut("one", "", text, tmp_path / "one.wav", RATE),
        make_cut("two", "", "A", tmp_path / "one.wav", RATE),
    ]
    save_manifest(cuts, tmp_path / "cuts.jsonl")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Scoring(keyframe_asr.load(model, "cpu"), ["axe"]).run(str(tmp_path / "cuts.jsonl"))
    said = [str(one.message) for one in caught if one.category is OtherLanguageWarning]
    assert len(said) == warned and all("CJK" in one and "'random'" in one for one in said)


def test_threads(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", noise(1.0), RATE)
    save_manifest([make_cut("one", "", "A", tmp_path / "one.wav", RATE)], tmp_path / "cuts.jsonl")
    threads = torch.get_num_threads() + 1
    arguments = [model, tmp_path / "cuts.jsonl", "--threads", threads]
    ran = keyframe("evaluate", *arguments, "--json", tmp_path / "report.json")
    assert ran.exit_code == 0, ran.stderr
    assert json.loads((tmp_path / "report.json").read_text())["threads"] == threads
    assert keyframe("evaluate", model, "cuts.jsonl", "--threads", 0).exit_code == 2


def test_a_wide_table_fits_into_80_columns(evaluation: Evaluation) -> None:
    from rich.console import Console

    from keyframe_asr.evaluation.report import render

    row = {"cer": 0.99999, "wer": 1.23456, "cer_ci95": [0.95, 1.05], "wer_ci95": [1.15, 1.34]}
    row |= {"substitutions": 12345, "deletions": 1234, "insertions": 1234, "rtf": 12.34567}
    report = {**evaluation.report, "manifest": "folder/" * 20, "decode": {"attention": row}}
    with (console := Console(width=80)).capture() as captured:
        console.print(render(report))
    shown = captured.get()
    assert "…" not in shown
    for cell in ("attention", "100.00 (95.0-105.0)", "123.46 (115.0-134.0)", "12345/1234/1234"):
        assert cell in shown
    assert math.isclose(max(map(len, shown.splitlines())), 80, abs_tol=8)
