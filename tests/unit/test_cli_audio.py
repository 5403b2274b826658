"""Odd and bad recordings through the real command line, in every decode mode."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.random_model import RATE, noise, save_random_model

GOOD = (
    "mono.wav",
    "8khz.wav",
    "44khz.wav",
    "stereo.wav",
    "24bit.wav",
    "float.wav",
    "sound.flac",
    "sound.mp3",
    "sound.ogg",
    "sound.opus",
)
SHORT = ("length0.wav", "1sample.wav", "10ms.wav", "silence.wav")
BAD = {
    "missing.wav": "no such file",
    "empty.wav": "empty file",
    "header.wav": "damaged",
    "text.wav": "not an audio file",
    "nan.wav": "not finite",
    "endless.flac": "incomplete",
    "folder.wav": "a folder",
}


def write_good(folder: Path) -> None:
    sound = noise(1.0)
    soundfile.write(folder / "mono.wav", sound, RATE)
    soundfile.write(folder / "8khz.wav", noise(1.0, rate=8000), 8000)
    soundfile.write(folder / "44khz.wav", noise(1.0, rate=44_100), 44_100)
    soundfile.write(folder / "stereo.wav", np.stack((sound, sound), axis=1), RATE)
    soundfile.write(folder / "24bit.wav", sound, RATE, subtype="PCM_24")
    soundfile.write(folder / "float.wav", sound, RATE, subtype="FLOAT")
    for extension in ("flac", "mp3", "ogg"):
        soundfile.write(folder / f"sound.{extension}", sound, RATE)
    soundfile.write(folder / "sound.opus", sound, RATE, format="OGG", subtype="OPUS")
    soundfile.write(folder / "length0.wav", sound[:0], RATE)
    soundfile.write(folder / "1sample.wav", sound[1000:1001], RATE)
    soundfile.write(folder / "10ms.wav", sound[3000:3160], RATE)
    soundfile.write(folder / "silence.wav", 0 * sound, RATE)


def write_bad(folder: Path) -> None:
    (folder / "empty.wav").touch()
    (folder / "header.wav").write_bytes((folder / "mono.wav").read_bytes()[:30])
    (folder / "text.wav").write_text("this is no recording\n" * 100)
    broken = noise(1.0)
    broken[500] = np.nan
    soundfile.write(folder / "nan.wav", broken, RATE, subtype="FLOAT")
    soundfile.write(folder / "endless.flac", np.zeros((160, 8)), RATE)
    content = bytearray((folder / "endless.flac").read_bytes())
    content[21] |= 0x0F  # the last 36 bits before the checksum are the number of samples
    content[22:26] = b"\xff\xff\xff\xff"
    (folder / "endless.flac").write_bytes(content)
    (folder / "folder.wav").mkdir()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    write_good(folder)
    write_bad(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("models") / "random")


@pytest.mark.parametrize("mode", ["axe", "ctc", "attention", "rescore"])
def test_every_kind_of_file_is_read_or_refused(model: Path, recordings: Path, mode: str) -> None:
    names = [name for pair in zip(BAD, (*GOOD, *SHORT), strict=False) for name in pair]
    names += [name for name in (*GOOD, *SHORT) if name not in names]
    files = [recordings / name for name in names]
    result = keyframe(
        "transcribe", model, *files, "--format", "json", "--decode", mode, "--beam", 3
    )
    assert result.exit_code == 1
    found = {Path(one["audio"]).name: one for one in map(json.loads, result.stdout.splitlines())}
    assert list(found) == [name for name in names if name not in BAD], "all, in the order given"
    for name in GOOD:
        assert found[name]["text"], name
        assert found[name]["duration"] == pytest.approx(1.0, abs=0.05)
    for name in SHORT:
        assert len(found[name]["tokens"]) <= 1
    assert [found[name]["text"] for name in ("length0.wav", "1sample.wav", "silence.wav")] == [
        ""
    ] * 3
    assert found["stereo.wav"]["text"] == found["mono.wav"]["text"] == found["sound.flac"]["text"]
    start = f"keyframe: error: {recordings}/"
    refused = [line for line in result.stderr.splitlines() if line.startswith(start)]
    reasons = {line.removeprefix(start).partition(": ")[0]: line for line in refused}
    assert sorted(reasons) == sorted(BAD) and len(refused) == len(BAD)
    assert all(BAD[name] in line for name, line in reasons.items())


def test_good_recordings_exit_with_0_and_silence_on_standard_error(
    model: Path, recordings: Path, tmp_path: Path
) -> None:
    files = [recordings / name for name in ("mono.wav", *SHORT)]
    result = keyframe("transcribe", model, *files, "--out", tmp_path / "texts")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    written = {path.stem for path in (tmp_path / "texts").glob("[!.]*")}
    assert written == {path.stem for path in files}
    assert (tmp_path / "texts" / "silence.txt").read_text() == "\n"


def test_the_shape_of_json_is_that_of_the_transcript(model: Path, recordings: Path) -> None:
    result = keyframe("transcribe", model, recordings / "mono.wav", "--format", "json")
    found = json.loads(result.stdout)
    assert list(found) == [
        *("audio", "model", "model_sha256", "language", "decode", "options", "version"),
        *("duration", "frame_reduction", "text", "segments", "tokens", "alternatives"),
    ]
    assert {tuple(token) for token in found["tokens"]} == {("text", "start", "end", "confidence")}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_or_have_line_breaks(model: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    soundfile.write(tmp_path / "good.wav", noise(1.0), RATE)
    os.rename(tmp_path / "good.wav", os.path.join(folder, b"\xc4\xe3.wav"))
    files = [os.fsdecode(os.path.join(folder, b"\xc4\xe3.wav")), str(tmp_path / "a\nb.wav")]
    result = keyframe("transcribe", model, *files)
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    name, text = line.split("\t")
    assert name.endswith(r"\udcc4\udce3.wav") and set(text) <= set("ABCDEF") and text
    (refused,) = result.stderr.splitlines()
    assert "a b.wav: " in refused
