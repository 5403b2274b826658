"""Whisper's log-mel (arXiv 2212.04356, section 2.2) in NumPy.

Hann windows of 25 ms every 10 ms, centred, on the signal reflected at both ends; power spectrum;
mel bands on Slaney's scale (Auditory Toolbox, 1998), linear below 1 kHz and logarithmic above, each
of area 1; logarithm to base 10, at least the utterance's maximum minus 8, then (x + 4) / 4.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from keyframe_asr.timing import FRAME_SHIFT_SAMPLES, SAMPLE_RATE

Floats = npt.NDArray[np.float32]

WINDOW = 400
"""Samples of a window: 25 ms."""

LEAST_POWER = 1e-10
"""Powers below this count as this."""

_LINEAR_HERTZ = 200.0 / 3
_BREAK_HERTZ = 1000.0
_BREAK_MEL = _BREAK_HERTZ / _LINEAR_HERTZ
_MELS_PER_STEP = 27.0 / math.log(6.4)
_FRAMES_AT_ONCE = 4000


def whisper_mel(samples: Floats, bins: int) -> Floats:
    """Log-mel (S // 160, bins) of samples (S,) in [-1, 1] at 16 kHz."""
    frames = samples.size // FRAME_SHIFT_SAMPLES
    if frames == 0:
        return np.empty((0, bins), dtype=np.float32)
    # reflection needs more than half a window of samples
    padded = np.pad(samples.astype(np.float32), (0, max(0, WINDOW - samples.size)))
    padded = np.pad(padded, WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::FRAME_SHIFT_SAMPLES]
    hann, filters = _hann(), _filters(bins)
    powers = np.empty((frames, bins), dtype=np.float32)
    for first in range(0, frames, _FRAMES_AT_ONCE):
        part = slice(first, min(frames, first + _FRAMES_AT_ONCE))
        spectrum = np.fft.rfft(windows[part] * hann)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        # not by BLAS, whose rounding depends on its number of threads, and so on the machine's load
        powers[part] = np.einsum("tf,bf->tb", power, filters)
    logarithms = np.log10(np.maximum(powers, np.float32(LEAST_POWER)))
    clamped: Floats = np.maximum(logarithms, logarithms.max() - np.float32(8))
    return (clamped + np.float32(4)) / np.float32(4)


@functools.cache
def _hann() -> Floats:
    angles = 2 * np.pi * np.arange(WINDOW) / WINDOW
    return (0.5 - 0.5 * np.cos(angles)).astype(np.float32)


@functools.cache
def _filters(bins: int) -> Floats:
    """Weights (bins, 201) of the frequencies of the spectrum in each mel band."""
    highest = _mel(SAMPLE_RATE / 2)
    edges = _hertz(np.linspace(0, highest, bins + 2))
    frequencies = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequencies - lower) / (centre - lower)
    falling = (upper - frequencies) / (upper - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (upper - lower))).astype(np.float32)


def _mel(hertz: float) -> float:
    if hertz < _BREAK_HERTZ:
        return hertz / _LINEAR_HERTZ
    return _BREAK_MEL + math.log(hertz / _BREAK_HERTZ) * _MELS_PER_STEP


def _hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _BREAK_HERTZ * np.exp((mels - _BREAK_MEL) / _MELS_PER_STEP)
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_HERTZ, above)
