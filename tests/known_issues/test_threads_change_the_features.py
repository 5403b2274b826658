"""Once, confidences of the same recording differed from run to run: Whisper's mel bands were summed
by BLAS, whose rounding depends on its number of threads, which the load of the machine decides."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from keyframe_asr.io.threads import THREADS

DIGEST = """
import hashlib, numpy
from keyframe_asr.audio.whisper_mel import whisper_mel
samples = numpy.random.default_rng(0).uniform(-0.5, 0.5, 160000).astype(numpy.float32)
print(hashlib.sha256(whisper_mel(samples, 80).tobytes()).hexdigest())
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has one thread")
def test_features_do_not_depend_on_the_number_of_threads() -> None:
    found = set()
    for threads in ("1", "2"):
        kept = {**os.environ, THREADS: threads, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", DIGEST]
        found.add(subprocess.run(command, env=kept, capture_output=True, check=True).stdout)
    assert len(found) == 1
