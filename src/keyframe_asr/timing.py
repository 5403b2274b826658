"""Time constants of the front end and of progress, with units; frames of a text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

SAMPLE_RATE = 16_000
"""Samples per second of all audio after reading."""

FRAME_SHIFT_MS = 10
"""Milliseconds between consecutive fbank frames."""

FRAME_LENGTH_MS = 25
"""Milliseconds of audio that one fbank frame covers."""

FRAME_SHIFT_SAMPLES = SAMPLE_RATE * FRAME_SHIFT_MS // 1000

FRAMES_PER_SECOND = 1000 // FRAME_SHIFT_MS

SECONDS_BETWEEN_LINES = 15.0
"""Seconds between lines of progress where standard error is not a terminal."""


def encoder_frame_seconds(subsampling_factor: int) -> float:
    """Seconds between consecutive encoder frames: 0.04 at a subsampling factor of 4."""
    return subsampling_factor * FRAME_SHIFT_MS / 1000


def frames_needed(tokens: Sequence[object]) -> int:
    """Minimum number of frames of a CTC: one per token, plus a blank between equal neighbours."""
    return len(tokens) + sum(first == second for first, second in pairwise(tokens))
