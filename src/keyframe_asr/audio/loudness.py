"""How loud a recording is, 100 times a second, and where a sound in it ends.

The threshold between sound and silence lies between the level of the recording's quietest and of
its loudest frames, so that neither gain nor steady noise moves it. Plain NumPy: any engine can use
it.
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
THRESHOLD_SHARE = 0.3
"""Of the way from quiet to loud, in decibels."""

LEAST_RANGE_DECIBELS = 10.0
"""Between quiet and loud; with less of it, noise hides where sounds end."""

SILENT_FRAMES = 8
"""So many quiet frames in a row are a pause; the closure of a stop (t, k) is mostly shorter."""

LONGEST_SOUND_SECONDS = 0.8
"""No token lasts longer: what goes on after it is something else."""

_FLOOR = 1e-5
"""Below the noise of 16-bit audio."""


@dataclass(frozen=True)
class SpeechLevel:
    """Which frames of a recording are loud.

    Attributes:
        loud: (T,) one per 10 ms; frame t sees 25 ms from t * 10 ms on.
    """

    loud: npt.NDArray[np.bool_]

    @classmethod
    def of_samples(cls, samples: Samples) -> SpeechLevel | None:
        """Level of samples (S,) at 16 kHz; None where noise hides what is speech, or all is."""
        shifts = FRAME_LENGTH_MS * SAMPLE_RATE // 1000
        count = (samples.size - shifts) // FRAME_SHIFT_SAMPLES + 1
        if count < 1:
            return None
        energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
        first = np.arange(count) * FRAME_SHIFT_SAMPLES
        mean = np.maximum(energy[first + shifts] - energy[first], 0.0) / shifts
        decibels = 20 * np.log10(np.sqrt(mean) + _FLOOR)
        quiet, loud = np.percentile(decibels, (QUIET_PERCENTILE, LOUD_PERCENTILE))
        if loud - quiet < LEAST_RANGE_DECIBELS:
            return None
        return cls(decibels > quiet + THRESHOLD_SHARE * (loud - quiet))

    def sound_end(self, start: float, limit: float) -> float | None:
        """Seconds at which the sound that begins at or after `start` has ended, `limit` at most.

        None where no frame between them is loud.
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


def _inside(start: float, limit: float, frame: int) -> float:
    return min(limit, max(start, frame / FRAMES_PER_SECOND))
