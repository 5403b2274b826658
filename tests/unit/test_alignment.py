"""Forced alignment and measured times with small random models, through the command line too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse.supervision import AlignmentItem

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model, save_random_model
from keyframe_asr.data.manifest import make_cut, save_manifest
from keyframe_asr.errors import AudioError, TextError
from keyframe_asr.inference.alignment import align
from keyframe_asr.inference.recognizer import Recognizer

SAMPLES = noise(2.0, seed=3)


@pytest.fixture(scope="module", params=[True, False], ids=["keyframes", "all frames"])
def recognizer(request: pytest.FixtureRequest) -> Recognizer:
    return Recognizer(random_model(keyframes=request.param), "cpu")


def test_the_text_of_the_best_path_lies_where_greedy_found_it(recognizer: Recognizer) -> None:
    """The best path of all is also the best path of its own text."""
    greedy = recognizer.transcribe(SAMPLES, "ctc")
    assert greedy.text and set(greedy.text) <= set("ABCDEF")
    aligned = align(recognizer, SAMPLES, greedy.text.lower())
    assert aligned == greedy


def test_any_text_that_fits_gets_times(recognizer: Recognizer) -> None:
    found = align(recognizer, SAMPLES, "bédcafe!")
    assert found.text == "BEDCAFE"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("AGZG", ["'G', 'Z'"]),
        ("A 7", ["'7'"]),
        ("", []),
        (" ?! ", []),
        ("A" * 99, ["99 tokens", "7.88 s"]),
    ],
)
def test_texts_that_cannot_be_aligned(recognizer: Recognizer, text: str, named: list[str]) -> None:
    with refused(TextError, *named):
        align(recognizer, SAMPLES, text)


def test_bad_recordings(recognizer: Recognizer) -> None:
    with pytest.raises(AudioError):
        align(recognizer, np.array([np.nan], np.float32), "A")
    with refused(TextError, "1 tokens"):
        align(recognizer, np.zeros(0, np.float32), "A")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, a recording, a text and two manifests: with the model's own times and without."""
    save_random_model(tmp_path / "model")
    soundfile.write(tmp_path / "a.wav", SAMPLES, RATE, subtype="FLOAT")
    (tmp_path / "a.txt").write_text("bed\n", encoding="utf-8")
    cut = make_cut("a", "", "BED", tmp_path / "a.wav", SAMPLES.size)
    save_manifest([cut], tmp_path / "untimed.jsonl")
    found = Recognizer(random_model(), "cpu").transcribe(SAMPLES, "ctc")
    cut.supervisions[0].alignment = {
        "word": [AlignmentItem(one.text, one.start - 0.02, 0.3) for one in found.words]
    }
    save_manifest([cut], tmp_path / "timed.jsonl")
    return tmp_path


def run(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    result = keyframe(*arguments)
    assert result.exit_code == 0, result
    return result.stdout


def test_align_command(folder: Path) -> None:
    here = [folder / "model", folder / "a.wav"]
    found = json.loads(run("align", *here, "bed"))
    assert (found["text"], [one["text"] for one in found["segments"][0]["words"]]) == (
        "BED",
        ["BED"],
    )
    assert json.loads(run("align", *here, folder / "a.txt")) == found
    assert run("align", *here, "bed", "--format", "ctm").startswith("a 1 ")
    assert run("align", *here, "bed", "--format", "srt", "--out", folder / "a.srt") == ""
    assert "-->" in (folder / "a.srt").read_text(encoding="utf-8")
    assert f"{folder / 'gone.txt'}: " in keyframe("align", *here, folder / "gone.txt").error


@pytest.mark.parametrize(("model", "doubted"), [("model", False), ("an4-small", True)])
def test_a_text_that_is_not_what_was_said_is_doubted(
    folder: Path, model: str, doubted: bool
) -> None:
    """Noise: the random model hears a text in it, the trained one none."""
    heard = Recognizer(random_model(), "cpu").transcribe(SAMPLES, "ctc").text
    named, said = (model, "BED") if doubted else (str(folder / model), heard)
    result = keyframe("align", named, folder / "a.wav", said)
    assert result.exit_code == 0, result
    assert len(result.stderr.splitlines()) == doubted
    assert (str(folder / "a.wav") in result.stderr) == doubted


def test_times_command(folder: Path) -> None:
    model, report = folder / "model", folder / "report.json"
    shown = run("measure-times", model, folder / "timed.jsonl", "--decode", "ctc", "--json", report)
    assert "ctc" in shown
    found = json.loads(report.read_text(encoding="utf-8"))
    assert (found["reference"], found["utterances"]) == ("manifest", 1)
    row = found["decode"]["ctc"]
    assert row["matched"] == found["words"] > 0
    assert row["start"] == {"median": 0.02, "p95": 0.02, "bias": 0.02}
    untimed = folder / "untimed.jsonl"
    assert str(untimed) in keyframe("measure-times", model, untimed).error


def test_times_against_a_model(folder: Path) -> None:
    model, report = folder / "model", folder / "report.json"
    recognised = Recognizer(random_model(), "cpu").transcribe(SAMPLES, "ctc").text
    cut = make_cut("a", "", recognised, folder / "a.wav", SAMPLES.size)
    long = make_cut("b", "", "A" * 99, folder / "a.wav", SAMPLES.size)
    save_manifest([cut, long], folder / "texts.jsonl")
    options = ("--reference", model, "--decode", "ctc", "--json", report)
    incomplete = keyframe("measure-times", model, folder / "texts.jsonl", *options)
    assert incomplete.exit_code == 1 and "1 of 2" in incomplete.stderr.splitlines()[-1]
    row = json.loads(report.read_text(encoding="utf-8"))["decode"]["ctc"]
    assert row["start"] == row["end"] == {"median": 0.0, "p95": 0.0, "bias": 0.0}
