"""Once, `keyframe align` aligned the letters of a file's name, because the name did not end in .txt
in lower case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.random_model import RATE, noise, save_random_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("align")
    save_random_model(folder / "model")
    soundfile.write(folder / "a.wav", noise(1.5), RATE)
    return folder


@pytest.mark.parametrize("name", ["A.TXT", "a.trn", "bed", "fade bed"])
def test_a_file_is_read(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbfcab\r\n")
    for given in (name, tmp_path / name):
        done = keyframe("align", folder / "model", folder / "a.wav", given, folder=tmp_path)
        assert done.exit_code == 0, done
        assert json.loads(done.stdout)["text"] == "CAB"


@pytest.mark.parametrize("name", ["a.TXT", "a.trn", "./bed", "../bed", "/bed", "~/bed", "sub/bed"])
def test_the_path_of_no_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    done = keyframe("align", folder / "model", folder / "a.wav", name, folder=tmp_path)
    assert name in done.error


@pytest.mark.parametrize(
    ("text", "normal"), [("bed", "BED"), ("Fade.", "FADE"), ("ade", "ADE"), ("bed" * 99, None)]
)
def test_anything_else_is_the_text(
    folder: Path, tmp_path: Path, text: str, normal: str | None
) -> None:
    (tmp_path / "ade").mkdir()
    done = keyframe("align", folder / "model", folder / "a.wav", text, folder=tmp_path)
    if normal is None:  # a text that is too long for the recording, and for the name of a file
        assert "297 tokens" in done.error
    else:
        assert json.loads(done.stdout)["text"] == normal


def test_a_recording_is_no_text(folder: Path) -> None:
    done = keyframe("align", folder / "model", folder / "a.wav", folder / "a.wav")
    assert f"{folder / 'a.wav'}:1:" in done.error
