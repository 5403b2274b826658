"""ONNX Runtime sent events and left an identifier on the disk, for every recording."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fixtures.server import SOURCE

PROGRAM = """
import os
import numpy as np
import keyframe_asr
keyframe_asr.load("demo", backend="onnx").transcribe(np.zeros(16000, np.float32))
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_recognition_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    """It reports nothing where it believes in an automatic build, so those variables are unset."""
    kept = ("PATH", "HOME", "LD_LIBRARY_PATH", "LANG")
    environment = {key: os.environ[key] for key in kept if key in os.environ}
    home = tmp_path / "home"
    home.mkdir()
    environment |= {"TMPDIR": str(tmp_path), "HOME": str(home), "PYTHONPATH": str(SOURCE)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert ran.stdout.split() == ["1"], ran.stderr
    assert list(tmp_path.rglob("*")) == [home]
