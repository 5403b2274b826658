"""A path that the system refuses even to look at ended the whole run in a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import ERROR, keyframe
from fixtures.random_model import RATE, noise, save_random_model

TOO_LONG = "a" * 300


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_random_model(tmp_path / "model")
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "x.wav", noise(0.5), RATE)
    soundfile.write(tmp_path / f"{'b' * 249}.wav", noise(0.5), RATE)
    os.symlink("loop", tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "bad", [TOO_LONG, f"{TOO_LONG}/x.wav", f"{TOO_LONG}/*.wav", "loop", "loop/x.wav", "in/x.wav/y"]
)
def test_the_others_go_on(folder: Path, bad: str) -> None:
    result = keyframe("transcribe", "model", bad, "in/x.wav")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith(ERROR)]
    assert line.startswith(f"{ERROR}{bad}: ")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(folder: Path) -> None:
    for name in ("file.wav", "shut/x.wav"):
        (folder / "in" / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / "in" / name, noise(0.5), RATE)
    shut = [folder / "in" / "file.wav", folder / "in" / "shut"]
    for path in shut:
        path.chmod(0)
    try:
        result = keyframe("transcribe", "model", "in")
    finally:
        for path in shut:
            path.chmod(0o700)
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == ["in/x.wav"]
    errors = [line for line in result.stderr.splitlines() if line.startswith(ERROR)]
    assert sorted(line.split(": ")[2] for line in errors) == ["in/file.wav", "in/shut"]


@pytest.mark.parametrize("model", [TOO_LONG, "loop", f"{TOO_LONG}/model", ""])
def test_a_model_that_cannot_be_looked_at(folder: Path, model: str) -> None:
    assert f"{model}: " in keyframe("transcribe", model, "in/x.wav").error


def test_an_output_whose_name_is_too_long(folder: Path) -> None:
    (long,) = folder.glob("b*.wav")
    options = ["--out", "out", "--format", "textgrid"]
    result = keyframe("transcribe", "model", long, "in/x.wav", *options)
    assert result.exit_code == 1
    assert Path("out/x.TextGrid").is_file()
    (line,) = result.stderr.splitlines()
    assert line.startswith(ERROR) and ".TextGrid: " in line
