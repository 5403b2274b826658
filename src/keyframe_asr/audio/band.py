"""Highest frequency that a recording holds, whatever its file says.

A recording of a telephone, or one that was resampled from a lower rate, has next to nothing above
half of that rate. Uses NumPy only.
"""

from __future__ import annotations

import numpy as np

from keyframe_asr.audio.reading import Samples
from keyframe_asr.timing import SAMPLE_RATE

EMPTY_DECIBELS = -65.0
"""Power above a frequency, relative to that of the whole band, below which there is nothing."""

WINDOW, SHIFT = 512, 2048
"""Samples; a quarter of the recording is enough to look at."""

MEASURED_SECONDS = 30
"""From the start of the recording; more would only take longer."""


def highest_frequency(samples: Samples) -> float:
    """Frequency in hertz above which samples (S,) at 16 kHz hold nothing; 0 for silence."""
    part = samples[: MEASURED_SECONDS * SAMPLE_RATE].astype(np.float64)
    if part.size < WINDOW:
        part = np.pad(part, (0, WINDOW - part.size))
    frames = np.lib.stride_tricks.sliding_window_view(part, WINDOW)[::SHIFT]
    # the side lobes of Blackman's window are low enough not to fill the band above
    spectrum = np.abs(np.fft.rfft(frames * np.blackman(WINDOW), axis=1)) ** 2
    power = spectrum.mean(axis=0)
    power[:4] = 0.0  # an offset, or hum
    above = np.cumsum(power[::-1])[::-1]
    if above[0] <= 0.0:
        return 0.0
    held = np.flatnonzero(above > above[0] * 10 ** (EMPTY_DECIBELS / 10))
    return float((held[-1] + 1) * SAMPLE_RATE / WINDOW)
