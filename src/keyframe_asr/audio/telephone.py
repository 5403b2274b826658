"""Simulated telephone lines, for augmentation and for measurements."""

from __future__ import annotations

import numpy as np
import soxr
from scipy import signal

from keyframe_asr.audio.reading import Samples
from keyframe_asr.timing import SAMPLE_RATE

TELEPHONE_RATE = 8_000
"""Sample rate of a telephone line in hertz."""

LOWEST = 300.0
"""Lowest frequency that a telephone line passes, in hertz."""

HIGHEST = 3400.0
"""Highest frequency that a telephone line passes, in hertz."""


def telephone(samples: Samples, highest: float = HIGHEST) -> Samples:
    """Simulate an 8 kHz line that passes 300 Hz to `highest` Hz; samples (S,) at 16 kHz."""
    if samples.size == 0:
        return samples
    narrow = soxr.resample(samples.astype(np.float64), SAMPLE_RATE, TELEPHONE_RATE)
    band = signal.butter(6, (LOWEST, highest), "bandpass", fs=TELEPHONE_RATE, output="sos")
    wide = soxr.resample(signal.sosfilt(band, narrow), TELEPHONE_RATE, SAMPLE_RATE)
    missing = max(0, samples.size - wide.size)  # resampling may round the length down
    found: Samples = np.ascontiguousarray(
        np.pad(wide, (0, missing))[: samples.size], dtype=np.float32
    )
    return found
