"""Once, a loud file and its own samples gave different texts: reading a file clips what is beyond
full scale, and samples that were passed as an array were taken as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from fixtures.random_model import RATE, random_model
from keyframe_asr.inference.batch_recognizer import read_recording
from keyframe_asr.inference.recognizer import Recognizer


def test_a_loud_file_and_its_samples_are_heard_alike(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    assert np.abs(samples).max() > 2
    path = tmp_path / "loud.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    recognizer = Recognizer(random_model(), "cpu")
    heard = []
    for given in (path, samples):
        recording = read_recording(given)
        assert isinstance(recording, np.ndarray)
        heard.append(recognizer.encode([recording]).encoded.inter_log_probs)
    assert np.array_equal(*heard)
    assert recognizer.transcribe(path) == recognizer.transcribe(samples)
