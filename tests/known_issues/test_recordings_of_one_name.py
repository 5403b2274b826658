"""Recordings of one name in two folders got one id in CTM; `x.wav` beside `x.mp3` was refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.cli.output_files import ids, targets
from keyframe_asr.cli.recordings import Named
from keyframe_asr.errors import AudioError


def named(*paths: str, below: str = "") -> list[Named]:
    return [Named(Path(path), Path(path).relative_to(below)) for path in paths]


def alone(*paths: str) -> list[Named]:
    return [Named(Path(path), Path(Path(path).name)) for path in paths]


@pytest.mark.parametrize(
    ("recordings", "expected"),
    [
        (
            named("in/s1/001.wav", "in/s2/001.wav", "in/a.wav", below="in"),
            ["s1/001", "s2/001", "a"],
        ),
        (alone("in/s1/001.wav", "in/s2/001.wav", "in/a.wav"), ["in/s1/001", "in/s2/001", "a"]),
        (alone("x.wav", "x.mp3", "y.mp3"), ["x.wav", "x.mp3", "y"]),
        (alone("x.wav", "x.mp3", "x.wav.mp3"), ["x", "x.mp3", "x.wav.mp3"]),
        (alone("a/x.wav", "a/x.mp3", "b/x.wav"), ["a/x", "x.mp3", "b/x"]),
        (alone("a b.wav", "a_b.wav"), ["a_b.wav#1", "a_b.wav#2"]),
        (alone("../s/1.wav", "s/1.wav"), ["../s/1", "s/1"]),
    ],
)
def test_ids_are_unique(recordings: Sequence[Named], expected: Sequence[str]) -> None:
    found = ids(recordings)
    assert len(set(found)) == len(found)
    assert not any(character.isspace() for one in found for character in one)
    assert found == expected


def test_an_output_keeps_the_suffix_where_it_must() -> None:
    recordings = alone("d/x.wav", "d/x.mp3", "d/y.wav")
    expected = ["x.wav.txt", "x.mp3.txt", "y.txt"]
    for out, beside in ((Path("d"), False), (None, True)):
        assert targets(recordings, out, beside, ".txt") == [Path("d", name) for name in expected]
    with refused(AudioError, "a/x.wav", "b/x.wav"):
        targets(alone("a/x.wav", "b/x.wav"), Path("out"), False, ".txt")


def test_on_the_command_line(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    for name in ("s1/001.wav", "s2/001.wav", "s2/001.flac"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / name, noise(1.0), RATE)
    ctm = keyframe("transcribe", model, tmp_path / "in", "--format", "ctm")
    assert ctm.exit_code == 0
    fields = dict.fromkeys(line.split()[0] for line in ctm.stdout.splitlines())
    assert list(fields) == ["s1/001", "s2/001.flac", "s2/001.wav"]
    done = keyframe("transcribe", model, tmp_path / "in", "--out", tmp_path / "out")
    assert done.exit_code == 0
    written = {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("out/*/*")}
    assert written == {"s1/001.txt", "s2/001.wav.txt", "s2/001.flac.txt"}
