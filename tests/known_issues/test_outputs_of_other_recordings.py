"""`transcribe --out` took the output of another recording of the same name for its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import Ran, keyframe
from fixtures.containers import encoded
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.cli.output_record import RECORD, Recording


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_random_model(tmp_path / "model")
    for number, name in enumerate("xy"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", noise(0.5, number), RATE)
    monkeypatch.chdir(tmp_path)
    assert transcribe("x/a.wav").exit_code == 0
    return tmp_path


def transcribe(audio: object, *options: object) -> Ran:
    return keyframe("transcribe", "model", audio, "--out", "out", "--decode", "ctc", *options)


def refused_until_overwritten(audio: str, *named: str) -> None:
    before = Path("out/a.txt").stat().st_mtime_ns
    error = transcribe(audio).error
    assert all(one in error for one in ("out/a.txt", "--overwrite", *named))
    assert Path("out/a.txt").stat().st_mtime_ns == before
    assert transcribe(audio, "--overwrite").exit_code == 0
    assert Path("out/a.txt").stat().st_mtime_ns != before
    assert transcribe(audio).exit_code == 0


def test_another_path(folder: Path) -> None:
    refused_until_overwritten("y/a.wav", f"{folder}/x/a.wav", f"{folder}/y/a.wav")
    assert transcribe("x/a.wav").exit_code == 1


def test_another_size(folder: Path) -> None:
    sizes = [str(Path("x/a.wav").stat().st_size)]
    soundfile.write("x/a.wav", noise(0.6, 2), RATE)
    refused_until_overwritten("x/a.wav", *sizes, str(Path("x/a.wav").stat().st_size))


def test_another_time(folder: Path) -> None:
    now = Path("x/a.wav").stat().st_mtime_ns
    os.utime("x/a.wav", ns=(now, now + 1))
    refused_until_overwritten("x/a.wav", f"{folder}/x/a.wav")


def test_the_same_recording_is_skipped_and_counted(folder: Path) -> None:
    os.symlink("x", "link")
    for path in ("x/a.wav", folder / "x/a.wav", "link/a.wav"):
        again = transcribe(path)
        assert (again.exit_code, again.stdout) == (0, "")
        (line,) = again.stderr.splitlines()
        assert "1 skipped" in line


def test_a_record_without_recordings(folder: Path) -> None:
    record = Path("out", RECORD)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    for line in lines:
        line.pop("recording", None)
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    refused_until_overwritten("x/a.wav")


def test_a_missing_recording_does_not_stop_the_others(folder: Path) -> None:
    Path("x/a.wav").rename("x/b.wav")
    told = keyframe("transcribe", "model", "x/a.wav", "x/b.wav", "--out", "out", "--decode", "ctc")
    assert told.exit_code == 1 and "x/a.wav" in told.error
    assert Path("out/b.txt").exists()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no names of open files")
def test_a_pipe_is_never_skipped(folder: Path) -> None:
    for options, code in [((), 0), ((), 1), (("--overwrite",), 0), ((), 1)]:
        told = from_a_pipe(*options)
        assert told.exit_code == code
        if code:
            assert "--overwrite" in told.error
    assert Recording.at(Path("/dev/null")) is None


def from_a_pipe(*options: object) -> Ran:
    """Transcribe a pipe that always has the same name."""
    reading, writing = os.pipe()
    os.dup2(reading, 200)
    os.close(reading)
    try:
        with open(writing, "wb") as file:
            file.write(encoded("WAV", "FLOAT", noise(0.25), RATE))  # fits into the pipe
        return transcribe("/dev/fd/200", *options)
    finally:
        os.close(200)


def test_a_file_as_folder_of_outputs(folder: Path) -> None:
    told = keyframe("transcribe", "model", "x/a.wav", "--out", "y/a.wav")
    assert told.exit_code == 2
    assert "y/a.wav" in told.stderr and RECORD not in told.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_beside_a_pipe(folder: Path) -> None:
    os.mkfifo("pipe")
    error = keyframe("transcribe", "model", "pipe", "--beside").error
    assert "pipe" in error and "--out" in error
