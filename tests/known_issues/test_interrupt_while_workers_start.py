"""Ctrl-C while worker processes were importing what they need ended in their tracebacks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

CHILDREN = 3
"""Two workers, and the tracker of multiprocessing."""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_no_traceback(tmp_path: Path) -> None:
    for number in range(8):
        noise = 0.1 * np.random.default_rng(number).normal(size=16_000)
        soundfile.write(tmp_path / f"{number}.wav", noise, 16_000)
    command = [sys.executable, "-m", "keyframe_asr.cli.main", "transcribe", "demo", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out"), "--workers", "2", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # what a shell starts in the background ignores interrupts, and so would we
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        text=True,
    )
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    waited = time.monotonic() + 60
    while len(listed.read_text().split()) < CHILDREN and time.monotonic() < waited:
        time.sleep(0.02)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in output + errors
    assert len(errors.splitlines()) == 1, errors
