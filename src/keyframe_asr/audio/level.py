"""Level of the speech in a recording, and the gain that brings it to a reference level.

The level of a recording is that of its loudest sound that lasts: the power of frames of 25 ms every
10 ms, without their mean, in decibels relative to full scale (0 dB is a mean square of 1); of it
the median over 150 ms; and of that the maximum. It follows any gain exactly, and depends neither on
pauses, nor on noise below the speech, nor on an offset, nor on clicks of less than 70 ms.

Every utterance, and every segment of a long recording, gets one gain. A stream, which cannot wait
for its loudest sound, takes the maximum over what it has heard lately (`RunningLevel`).

Uses NumPy only, so that the torch-free runtime can import it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.reading import Samples
from keyframe_asr.timing import FRAME_LENGTH_MS, FRAME_SHIFT_SAMPLES, SAMPLE_RATE

Levels = npt.NDArray[np.float64]
"""Decibels relative to full scale."""

LASTING_FRAMES = 15
"""Frames of 10 ms over which the median is taken; shorter than a vowel, longer than a click."""

LOWEST_LEVEL = -75.0
"""Decibels; what is quieter gets the gain of this level. It is six steps of 16-bit audio: below,
there is nothing but noise to amplify."""

_NO_POWER = 1e-20
"""Keeps the logarithm of digital silence finite."""


def speech_level(samples: Samples) -> float:
    """Level of samples (S,) at 16 kHz in decibels relative to full scale, at least -200."""
    if not samples.size:
        return float(_decibels(np.zeros(1))[0])
    return float(lasting(_decibels(_frame_power(samples)), LASTING_FRAMES).max())


def at_level(samples: Samples, level: float) -> Samples:
    """Bring samples (S,) at 16 kHz to a level in decibels; they may exceed 1 afterwards."""
    gain = level - max(speech_level(samples), LOWEST_LEVEL)
    scaled: Samples = samples * np.float32(10 ** (gain / 20))
    return scaled


def lasting(levels: Levels, frames: int) -> Levels:
    """Running median over `frames` of levels (T,), or over all if there are fewer; T > 0."""
    windows = np.lib.stride_tricks.sliding_window_view(levels, min(frames, levels.size))
    medians: Levels = np.median(windows, axis=1)
    return medians


class RunningLevel:
    """The level of a stream: that of its loudest sound that lasts, of the last seconds.

    Args:
        hop: samples per value.
        seconds: length of the history.
    """

    def __init__(self, hop: int, seconds: float) -> None:
        self._hop = hop
        self._median = max(1, round(LASTING_FRAMES * FRAME_SHIFT_SAMPLES / hop)) | 1
        self._window = max(1, round(seconds * SAMPLE_RATE / hop))
        self._recent: Levels = np.empty(0)
        self._lasting: Levels = np.empty(0)

    @property
    def memory(self) -> tuple[Levels, Levels]:
        """What is kept of the stream: the last levels, and those that lasted."""
        return self._recent, self._lasting

    @memory.setter
    def memory(self, memory: tuple[Levels, Levels]) -> None:
        self._recent, self._lasting = memory

    def push(self, samples: Samples) -> Levels:
        """Return the level (S // hop,) after each of the next hops; S is a multiple of the hop."""
        if not samples.size:
            return np.empty(0)
        hops = samples.astype(np.float64).reshape(-1, self._hop)
        known = np.concatenate((self._recent, _decibels(hops.var(axis=1))))
        new = len(hops)
        # before the first hop there is silence
        before = np.full(max(0, self._median - 1 + new - known.size), _decibels(np.zeros(1))[0])
        heard = lasting(np.concatenate((before, known)), self._median)[-new:]
        # copies, so that what is kept does not hold on to all that was pushed
        self._recent = known[-(self._median - 1) :].copy() if self._median > 1 else known[:0]
        history = np.concatenate((self._lasting, heard))
        start = np.full(max(0, self._window - 1 + new - history.size), -np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(
            np.concatenate((start, history)), self._window
        )
        self._lasting = history[-(self._window - 1) :].copy() if self._window > 1 else history[:0]
        loudest: Levels = windows[-new:].max(axis=1)
        return loudest


def _frame_power(samples: Samples) -> Levels:
    """Variance (T,) of each frame of samples (S,); of all samples if they are shorter."""
    size = min(FRAME_LENGTH_MS * SAMPLE_RATE // 1000, samples.size)
    values = samples.astype(np.float64)
    first = np.arange((samples.size - size) // FRAME_SHIFT_SAMPLES + 1) * FRAME_SHIFT_SAMPLES
    squares = np.concatenate(([0.0], np.cumsum(values**2)))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    mean = (sums[first + size] - sums[first]) / size
    power: Levels = (squares[first + size] - squares[first]) / size - mean**2
    return power


def _decibels(power: Levels) -> Levels:
    levels: Levels = 10 * np.log10(np.maximum(power, _NO_POWER))
    return levels
