"""A full disk behind standard output ended in a traceback, and so could a pipe that was closed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import ERROR
from fixtures.random_model import RATE, noise, save_random_model

FULL = Path("/dev/full")
PROGRAM = [sys.executable, "-m", "keyframe_asr.cli.main"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.skipif(not FULL.exists(), reason="this system has no full device")
@pytest.mark.parametrize("verb", ["transcribe", "--help", "--version"])
def test_a_full_disk_is_one_line(tmp_path: Path, verb: str) -> None:
    soundfile.write(tmp_path / "a.wav", noise(0.5), RATE)
    model = save_random_model(tmp_path / "model")
    arguments = [model, tmp_path / "a.wav"] if verb == "transcribe" else []
    with FULL.open("w") as full:
        ended = subprocess.run(
            [*PROGRAM, verb, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
        )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(ERROR) and os.strerror(28) in line


def test_a_closed_pipe_is_silent() -> None:
    process = subprocess.Popen(
        [*PROGRAM, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr as said:
        assert said.read() == b""
    assert process.wait() == 1
