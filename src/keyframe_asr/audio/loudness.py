"""Level of a recording every 10 ms, and where a sound in it ends.

The threshold between sound and silence is set relative to the levels of the quietest and loudest
frames of the recording, so gain and steady noise do not affect it. Uses NumPy only, so that the
torch-free runtime can import it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.reading import Samples
from keyframe_asr.timing import (
    FRAME_LENGTH_MS,
    FRAME_SHIFT_SAMPLES,
    FRAMES_PER_SECOND,
    SAMPLE_RATE,
)

QUIET_PERCENTILE, LOUD_PERCENTILE = 5, 95
THRESHOLD_FRACTION = 0.3
"""Position of the threshold between the quiet (0) and the loud (1) level, in decibels."""

MIN_RANGE_DECIBELS = 10.0
"""Smallest difference between the loud and the quiet level; below it, noise masks where sounds
end."""

SILENT_FRAMES = 8
"""Consecutive quiet frames that make a pause; the closure of a stop (t, k) is usually shorter."""

LONGEST_SOUND_SECONDS = 0.8
"""Longest duration of a token; sound that continues after it belongs to something else."""

MAX_RANGE_DECIBELS = 70.0
"""Frames further below the loud level count as this quiet: digital silence is no quieter than the
noise of a good recording."""

_NO_POWER = 1e-20
"""Keeps the logarithm of digital silence finite."""


@dataclass(frozen=True)
class SpeechLevel:
    """Which frames of a recording are loud.

    Attributes:
        loud: (T,) one value per 10 ms; frame t covers 25 ms starting at t * 10 ms.
    """

    loud: npt.NDArray[np.bool_]

    @classmethod
    def of_samples(cls, samples: Samples) -> SpeechLevel | None:
        """Measure samples (S,) at 16 kHz; None if their range is too small to tell loud frames."""
        decibels = _decibels(samples)
        if not decibels.size:
            return None
        quiet, loud = _extremes(decibels)
        if loud - quiet < MIN_RANGE_DECIBELS:
            return None
        return cls(decibels > quiet + THRESHOLD_FRACTION * (loud - quiet))

    def sound_end(self, start: float, limit: float) -> float | None:
        """Time in seconds at which the first sound after `start` ends, at most `limit`.

        None if no frame between `start` and `limit` is loud.
        """
        first, last = (round(time * FRAMES_PER_SECOND) for time in (start, limit))
        loud = self.loud[first : max(last, first + 1)]
        if not loud.any():
            return None
        longest = round(LONGEST_SOUND_SECONDS * FRAMES_PER_SECOND)
        quiet = 0
        for place in range(int(loud.argmax()), min(loud.size, longest)):
            quiet = 0 if loud[place] else quiet + 1
            if quiet == SILENT_FRAMES:
                return _inside(start, limit, first + place + 1 - quiet)
        if loud.size <= longest:
            return limit
        return _inside(start, limit, first + longest - quiet)


def signal_to_noise(samples: Samples) -> float | None:
    """Estimate the signal-to-noise ratio of samples (S,) at 16 kHz in decibels, 0 to 70.

    It is the loud level over the quiet one, so it is too low for speech without a pause. None if
    the recording is shorter than a frame.
    """
    decibels = _decibels(samples)
    if not decibels.size:
        return None
    quiet, loud = _extremes(decibels)
    return loud - quiet


def _decibels(samples: Samples) -> npt.NDArray[np.float64]:
    """Power (T,) of each frame."""
    shifts = FRAME_LENGTH_MS * SAMPLE_RATE // 1000
    count = max(0, (samples.size - shifts) // FRAME_SHIFT_SAMPLES + 1)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    first = np.arange(count) * FRAME_SHIFT_SAMPLES
    mean = np.maximum(energy[first + shifts] - energy[first], 0.0) / shifts if count else first
    decibels: npt.NDArray[np.float64] = 10 * np.log10(mean + _NO_POWER)
    return decibels


def _extremes(decibels: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The quiet and the loud level."""
    quiet, loud = np.percentile(decibels, (QUIET_PERCENTILE, LOUD_PERCENTILE))
    return float(max(quiet, loud - MAX_RANGE_DECIBELS)), float(loud)


def _inside(start: float, limit: float, frame: int) -> float:
    return min(limit, max(start, frame / FRAMES_PER_SECOND))
