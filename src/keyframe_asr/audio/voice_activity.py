"""Where speech is: a score in [0, 1] for every 32 ms of a stream of samples.

Two detectors, used alike: the network of silero-vad (https://github.com/snakers4/silero-vad, the
extra `vad`), which knows speech from other sounds, and loudness, which needs nothing and only
tells louder from quieter. Loudness is no ground to leave anything out: it says where to cut.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from keyframe_asr.audio.reading import Samples
from keyframe_asr.timing import SAMPLE_RATE

Scores = npt.NDArray[np.float32]

HOP = 512
"""Samples for each score: silero-vad's only window at 16 kHz."""

HISTORY_HOPS = 20 * SAMPLE_RATE // HOP
"""Hops whose loudness says what is loud and what is quiet: 20 s."""

QUIET_SHARE, LOUD_SHARE = 0.1, 0.95
"""Of the hops, by loudness."""

QUIETEST_DECIBEL, LEAST_RANGE, GREATEST_RANGE = -100.0, 20.0, 50.0
"""In decibels: of full scale, and between the quiet and the loud of a recording."""


class SpeechDetector(Protocol):
    """Scores of a stream; its state goes on from block to block."""

    @property
    def knows_speech(self) -> bool:
        """Whether a low score is a ground to leave sound out."""

    def push(self, samples: Samples) -> Scores:
        """Scores (S // HOP,) of the next samples (S,), whose number is a multiple of `HOP`."""


class SileroDetector:
    """The speech probabilities of silero-vad's streaming network, on one CPU thread."""

    knows_speech = True

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        from silero_vad import load_silero_vad

        torch.set_num_threads(threads)  # importing it sets one thread for the whole process
        self._network: Any = load_silero_vad()

    @torch.inference_mode()
    def push(self, samples: Samples) -> Scores:
        """The network itself keeps its state and the end of the last window."""
        windows = torch.from_numpy(np.ascontiguousarray(samples)).view(-1, HOP)
        scores = [self._network(window, SAMPLE_RATE).item() for window in windows]
        return np.array(scores, dtype=np.float32)


class LoudnessDetector:
    """Loudness between the quiet and the loud of the last 20 s."""

    knows_speech = False

    def __init__(self) -> None:
        self._history: Scores = np.empty(0, dtype=np.float32)

    def push(self, samples: Samples) -> Scores:
        """0 at the quietest tenth of the last 20 s, 1 at the loudest twentieth of it."""
        if not samples.size:
            return np.empty(0, dtype=np.float32)
        level = decibels(samples, HOP)
        known = np.concatenate((self._history, level))
        padding = np.full(HISTORY_HOPS - 1 - self._history.size, np.inf, dtype=np.float32)
        recent = np.lib.stride_tricks.sliding_window_view(
            np.concatenate((padding, known)), HISTORY_HOPS
        )
        number = np.minimum(self._history.size + 1 + np.arange(level.size), HISTORY_HOPS)
        self._history = known[-(HISTORY_HOPS - 1) :]
        ordered, rows = np.sort(recent, axis=1), np.arange(level.size)
        quiet = ordered[rows, (QUIET_SHARE * (number - 1)).astype(int)]
        loud = ordered[rows, (LOUD_SHARE * (number - 1)).astype(int)]
        quiet = np.maximum(quiet, loud - GREATEST_RANGE)
        scores = (level - quiet) / np.maximum(loud - quiet, LEAST_RANGE)
        limited: Scores = np.clip(scores, 0.0, 1.0).astype(np.float32)
        return limited


def decibels(samples: Samples, hop: int) -> Scores:
    """Loudness (S // hop,) of each hop below full scale; what is left over is not looked at."""
    whole = samples[: samples.size // hop * hop].reshape(-1, hop).astype(np.float64)
    power = (whole**2).mean(axis=1)
    level: Scores = (10 * np.log10(power + 10 ** (QUIETEST_DECIBEL / 10))).astype(np.float32)
    return level
