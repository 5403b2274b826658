"""`transcribe --out` took the outputs of another model, mode or option for its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import Ran, keyframe
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.cli.output_record import RECORD

OUT = ("--out", "out")


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_random_model(tmp_path / "model", keyframes=True)
    save_random_model(tmp_path / "other", keyframes=False)
    (tmp_path / "in").mkdir()
    for number, name in enumerate("ab"):
        soundfile.write(tmp_path / "in" / f"{name}.wav", noise(0.5, number), RATE)
    (tmp_path / "words.txt").write_text("CAFE\n")
    monkeypatch.chdir(tmp_path)
    assert transcribe().exit_code == 0
    return tmp_path


def transcribe(
    *options: object, model: str = "model", audio: str = "in", where: tuple[str, ...] = OUT
) -> Ran:
    return keyframe("transcribe", model, audio, *where, *options)


@pytest.mark.parametrize("where", [("--out", "out"), ("--beside",)])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--decode", "ctc"], "ctc"),
        (["--beam", "4"], "beam=4"),
        (["--hotwords", "words.txt"], "words.txt"),
        (["--vad", "loudness"], "loudness"),
    ],
)
def test_other_options_are_refused(
    folder: Path, options: list[str], named: str, where: tuple[str, ...]
) -> None:
    assert transcribe(where=where).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.txt")}
    error = transcribe(*options, where=where).error
    assert named in error and "a.txt" in error and "--overwrite" in error
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.txt")} == before
    assert transcribe(*options, "--overwrite", where=where).exit_code == 0
    assert "2 skipped" in transcribe(*options, where=where).stderr
    assert transcribe(where=where).exit_code == 1


def test_another_model_is_refused(folder: Path) -> None:
    error = transcribe(model="other").error
    assert "model" in error and "other" in error
    with Path("model/config.yaml").open("a") as config:
        config.write("emission_delay_seconds: 0.5\n")
    assert "model" in transcribe().error, "the same name, but other content"


def test_a_changed_file_of_words_is_refused(folder: Path) -> None:
    assert transcribe("--hotwords", "words.txt", "--overwrite").exit_code == 0
    Path("words.txt").rename("same.txt")
    assert transcribe("--hotwords", "same.txt").exit_code == 0, "only the content counts"
    Path("same.txt").write_text("FACE\n")
    assert transcribe("--hotwords", "same.txt").exit_code == 1


def test_what_does_not_change_the_text_does_not_count(folder: Path) -> None:
    told = transcribe("--decode", "axe", "--batch-seconds", 10, "--workers", 2, "--device", "cpu")
    assert told.exit_code == 0 and "2 skipped" in told.stderr
    named_otherwise = transcribe(model=os.path.abspath("model"))
    assert named_otherwise.exit_code == 0


def test_each_output_has_its_own_settings(folder: Path) -> None:
    Path("out/b.txt").unlink()
    assert transcribe("--decode", "ctc", audio="in/b.wav").exit_code == 0
    error = transcribe().error
    assert "b.txt" in error and "a.txt" not in error
    assert "a.txt" in transcribe("--decode", "ctc").error
    assert transcribe("--decode", "ctc", "--format", "srt").exit_code == 0, "another file"
    assert len(Path("out", RECORD).read_text().splitlines()) == 8


def test_a_file_of_other_origin_is_refused(folder: Path) -> None:
    Path("in/a.txt").write_text("what the speaker read\n")
    error = transcribe(where=("--beside",)).error
    assert "in/a.txt" in error and "--overwrite" in error
    assert not Path("in/b.txt").exists()


def test_a_record_that_was_cut_off(folder: Path) -> None:
    record = Path("out", RECORD)
    record.write_text(record.read_text()[:-20] + "\n[1, 2]\nnull\n")
    assert "b.txt" in transcribe().error
    assert transcribe("--overwrite").exit_code == 0
    assert transcribe().exit_code == 0
