"""A pipe is not seekable and can be read only once: it was refused as no recording."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fixtures.command_line import keyframe
from fixtures.containers import KINDS, encoded
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.audio.reading import audio_blocks, read_audio, read_length
from keyframe_asr.errors import AudioError

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")


def written(pipe: Path, content: bytes) -> threading.Thread:
    """Writes the content into a pipe once it is opened for reading."""

    def write() -> None:
        pipe.write_bytes(content)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize(
    ("kind", "subtype"), [one for one in KINDS if one[1] in ("PCM_16", "OPUS", "MPEG_LAYER_III")]
)
def test_a_pipe_is_read_as_the_file_is(pipe: Path, kind: str, subtype: str) -> None:
    content = encoded(kind, subtype)
    thread = written(pipe, content)
    np.testing.assert_array_equal(read_audio(pipe), read_audio(content))
    thread.join()


@pytest.mark.parametrize("read", [read_length, lambda path: sum(map(len, audio_blocks(path, 0.5)))])
def test_other_ways_of_reading(pipe: Path, read: Callable[..., object]) -> None:
    content = encoded("FLAC", "PCM_16")
    thread = written(pipe, content)
    assert read(pipe) == read(content)
    thread.join()


def test_a_pipe_without_content(pipe: Path) -> None:
    thread = written(pipe, b"")
    with refused(AudioError, f"{pipe}: "):
        read_audio(pipe)
    thread.join()


def test_a_device_is_refused() -> None:
    with refused(AudioError, "/dev/zero: "):
        read_audio("/dev/zero")


@pytest.mark.parametrize("seconds", [1.0, 32.0])
def test_transcribe_a_pipe(pipe: Path, tmp_path: Path, seconds: float) -> None:
    model = save_random_model(tmp_path / "model")
    content = encoded("WAV", "FLOAT", noise(seconds), RATE)
    (tmp_path / "a.wav").write_bytes(content)
    thread = written(pipe, content)
    found = keyframe("transcribe", model, pipe, "--decode", "ctc")
    thread.join()
    assert found.exit_code == 0
    assert (
        found.stdout == keyframe("transcribe", model, tmp_path / "a.wav", "--decode", "ctc").stdout
    )


def test_pipes_and_several_processes(tmp_path: Path) -> None:
    """Other processes cannot open `/dev/fd/63`."""
    model = save_random_model(tmp_path / "model")
    content = encoded("WAV", "FLOAT", noise(0.25), RATE)
    (tmp_path / "a.wav").write_bytes(content)
    reading, writing = os.pipe()
    with open(writing, "wb") as file:
        file.write(content)  # fits into the pipe
    try:
        files = [f"/dev/fd/{reading}", str(tmp_path / "a.wav")]
        found = keyframe("transcribe", model, *files, "--decode", "ctc", "--workers", 2)
    finally:
        os.close(reading)
    assert found.exit_code == 0, found.stderr
    (first, text), (second, other) = (line.split("\t") for line in found.stdout.splitlines())
    assert ([first, second], text) == (files, other)


def test_options_that_are_pipes(pipe: Path, tmp_path: Path) -> None:
    """They are described in the output and read by the recogniser, which is once too often."""
    model = save_random_model(tmp_path / "model")
    (tmp_path / "a.wav").write_bytes(encoded("WAV", "FLOAT", noise(0.25), RATE))
    words = "fade\ncab\n"
    (tmp_path / "words").write_text(words)
    thread = written(pipe, words.encode())
    digests = []
    for file in (pipe, tmp_path / "words"):
        command = ("transcribe", model, tmp_path / "a.wav", "--format", "json", "--beam", 2)
        found = keyframe(*command, "--hotwords", file)
        assert found.exit_code == 0, found.stderr
        digests.append(json.loads(found.stdout)["options"]["hotwords"]["sha256"])
    thread.join()
    assert digests[0] == digests[1]


def test_standard_input() -> None:
    content = encoded("WAV", "PCM_16")
    for name in ("-", "/dev/stdin"):
        code = (
            f"from keyframe_asr.audio.reading import read_audio; print(read_audio({name!r}).size)"
        )
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, input=content, capture_output=True, check=True)
        assert int(found.stdout) == read_audio(content).size
