"""Voice activity detection: a score in [0, 1] for every 32 ms of a stream of samples.

Two detectors have the same interface. silero-vad (https://github.com/snakers4/silero-vad, extra
`vad`) is a network that distinguishes speech from other sounds; its graph runs on onnxruntime, and
nothing of its package is imported, because that needs torch. `LoudnessDetector` has no
dependencies and only compares levels: it can say where to cut, but not what to leave out. Neither
depends on the gain of the recording.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.level import RunningLevel
from keyframe_asr.audio.reading import Samples
from keyframe_asr.packages import missing, silent_onnxruntime
from keyframe_asr.timing import SAMPLE_RATE

Scores = npt.NDArray[np.float32]

HOP = 512
"""Samples per score; the only window that silero-vad has at 16 kHz."""

SILERO_CONTEXT, SILERO_STATE = 64, (2, 1, 128)
"""Samples before the window that silero-vad also hears, and the shape of its state."""

HISTORY_HOPS = 20 * SAMPLE_RATE // HOP
"""Hops over which the quiet and the loud level are measured: 20 s."""

QUIET_QUANTILE, LOUD_QUANTILE = 0.1, 0.95
"""Quantiles of the levels that count as quiet and loud."""

FLOOR_DECIBELS, MAX_RANGE = -160.0, 50.0
"""Decibels: the level of digital silence relative to full scale, and the largest difference between
quiet and loud; what is quieter counts as quiet."""

LOUD_DECIBELS = 20.0
"""Decibels above the quiet level that score 1, whatever the loud level is: else a quiet speaker
after a loud one would score as a pause."""

DETECTION_LEVEL, DETECTION_SECONDS = -20.0, 2.0
"""Level in decibels that silero-vad gets, and the seconds over which the level is measured."""


Memory = tuple[npt.NDArray[Any], ...]
"""All that a detector keeps of a stream: arrays that are replaced, never written into."""


class SpeechDetector(Protocol):
    """Scores a stream block by block; keeps state between blocks.

    Attributes:
        memory: that state; it can be set to that of another stream.
    """

    memory: Memory

    @property
    def knows_speech(self) -> bool:
        """True if a low score means non-speech, which may be left out."""

    def push(self, samples: Samples) -> Scores:
        """Return scores (S // HOP,) of the next samples (S,); S is a multiple of `HOP`."""


class SileroDetector:
    """Speech probabilities of silero-vad's streaming network, on one CPU thread.

    The network hears less speech in quiet recordings, so it gets all at the same running level.
    """

    knows_speech = True

    def __init__(self) -> None:
        onnxruntime = silent_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            _silero_graph().read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._level = RunningLevel(HOP, DETECTION_SECONDS)
        self._context = np.zeros((1, SILERO_CONTEXT), dtype=np.float32)
        self._state = np.zeros(SILERO_STATE, dtype=np.float32)

    @property
    def memory(self) -> Memory:
        """Last samples, state of the network, and levels."""
        return (self._context, self._state, *self._level.memory)

    @memory.setter
    def memory(self, memory: Memory) -> None:
        self._context, self._state, *levels = memory
        self._level = RunningLevel(HOP, DETECTION_SECONDS)  # not that of a copy of this detector
        self._level.memory = (levels[0], levels[1])

    def push(self, samples: Samples) -> Scores:
        """Return scores (S // HOP,). The last samples and the network's state are kept."""
        gain = 10 ** (
            (DETECTION_LEVEL - np.maximum(self._level.push(samples), FLOOR_DECIBELS)) / 20
        )
        scaled = np.clip(samples.reshape(-1, HOP) * gain[:, None], -1, 1).astype(np.float32)
        return np.array([self._score(window) for window in scaled], dtype=np.float32)

    def _score(self, window: Samples) -> float:
        """Return the score of the next hop (HOP,)."""
        heard = np.concatenate((self._context, window[None]), axis=1)
        inputs = {"input": heard, "state": self._state, "sr": np.array(SAMPLE_RATE)}
        score, self._state = self._session.run(None, inputs)
        self._context = heard[:, -SILERO_CONTEXT:]
        return float(score.item())


def _silero_graph() -> Path:
    """Return the file of silero-vad's graph. Raises `PackageError` if it is not installed."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        raise missing("silero-vad", "the detector 'silero'", "or use 'auto' or 'loudness'")
    return Path(found.origin).parent / "data" / "silero_vad.onnx"


class LoudnessDetector:
    """Level above the quiet level of the last 20 s."""

    knows_speech = False

    def __init__(self) -> None:
        self._history: Scores = np.empty(0, dtype=np.float32)

    @property
    def memory(self) -> Memory:
        """Levels of the last 20 s."""
        return (self._history,)

    @memory.setter
    def memory(self, memory: Memory) -> None:
        (self._history,) = memory

    def push(self, samples: Samples) -> Scores:
        """Return scores (S // HOP,): 0 at the 10 % quantile of the last 20 s, 1 above it."""
        if not samples.size:
            return np.empty(0, dtype=np.float32)
        hops = samples.reshape(-1, HOP)
        # without the offset of a cheap microphone, which would hide the speech
        level = decibels((hops - hops.mean(axis=1, keepdims=True)).ravel(), HOP)
        known = np.concatenate((self._history, level))
        padding = np.full(HISTORY_HOPS - 1 - self._history.size, np.inf, dtype=np.float32)
        recent = np.lib.stride_tricks.sliding_window_view(
            np.concatenate((padding, known)), HISTORY_HOPS
        )
        number = np.minimum(self._history.size + 1 + np.arange(level.size), HISTORY_HOPS)
        self._history = known[-(HISTORY_HOPS - 1) :].copy()
        ordered, rows = np.sort(recent, axis=1), np.arange(level.size)
        quiet = ordered[rows, (QUIET_QUANTILE * (number - 1)).astype(int)]
        loud = ordered[rows, (LOUD_QUANTILE * (number - 1)).astype(int)]
        quiet = np.maximum(quiet, loud - MAX_RANGE)
        scores = (level - quiet) / LOUD_DECIBELS
        limited: Scores = np.clip(scores, 0.0, 1.0).astype(np.float32)
        return limited


def decibels(samples: Samples, hop: int) -> Scores:
    """Level (S // hop,) of each hop relative to full scale; an incomplete last hop is ignored."""
    whole = samples[: samples.size // hop * hop].reshape(-1, hop).astype(np.float64)
    power = (whole**2).mean(axis=1)
    level: Scores = (10 * np.log10(power + 10 ** (FLOOR_DECIBELS / 10))).astype(np.float32)
    return level
