"""Blank lines, CRLF, a byte order mark, `.` or audio in a list of paths ended in a traceback."""

from __future__ import annotations

import codecs
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise
from keyframe_asr.cli.recordings import recordings_named
from keyframe_asr.errors import AudioError

EXPECTED = ["a.wav", "bé.wav"]


def listed(content: bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    return [one.path.as_posix() for one in recordings_named(["-"]).named]


@pytest.mark.parametrize(
    "content",
    [
        "a.wav\nbé.wav".encode(),
        "\n\r\n  \na.wav\r\n\t\nbé.wav\r\n\r\n".encode(),
        codecs.BOM_UTF8 + "a.wav\r\nbé.wav\r\n".encode(),
        "a.wav\0bé.wav\0".encode(),
        "\ufeffa.wav\r\nbé.wav\r\n".encode("utf-16-le"),
        "\ufeffa.wav\nbé.wav\n".encode("utf-16-be"),
    ],
)
def test_what_is_no_path_is_dropped(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(content, monkeypatch) == EXPECTED


def test_a_name_between_zeros_may_hold_line_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(b"a\n.wav\0 b \0", monkeypatch) == ["a\n.wav", " b "]


def test_a_folder_in_a_list_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").touch()
    monkeypatch.chdir(tmp_path)
    assert listed(b".\n", monkeypatch) == ["a.wav"]


@pytest.mark.parametrize("content", [b"", b"\n\r\n \n", codecs.BOM_UTF8 + b"\n"])
def test_no_path_at_all_is_refused(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(AudioError):
        listed(content, monkeypatch)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("WAV", "WAV"),
        ("FLAC", "FLAC"),
        ("OGG", "Ogg"),
        ("MP3", "MP3"),
        ("AU", "AU"),
        ("W64", "Wave"),
    ],
)
def test_audio_is_named(
    tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a", noise(0.5), RATE, format=kind)
    with refused(AudioError, name, "/dev/stdin"):
        listed((tmp_path / "a").read_bytes(), monkeypatch)
    ended = keyframe("transcribe", "demo", "-", stdin=(tmp_path / "a").read_bytes())
    assert name in ended.error


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08\x00\x00\x00", b"\0\0\0\0", b"PK\x03\x04"])
def test_other_binary_data_is_refused(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(AudioError):
        listed(content, monkeypatch)
