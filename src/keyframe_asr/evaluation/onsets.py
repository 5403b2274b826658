"""How far CTC spikes lie from the onsets of sound, on speech whose word times nobody knows.

After a pause, a token begins where sound begins. CTC spikes steadily later (or, with wide
attention, earlier) than that, and what holds after pauses is taken for all tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.loudness import SpeechLevel
from keyframe_asr.audio.reading import Samples
from keyframe_asr.timing import FRAMES_PER_SECOND

PAUSE_SECONDS = 0.3
"""Quiet before an onset. At the beginning of a recording a third of it will do."""

SOUND_SECONDS = 0.05
"""What is loud for a shorter time is a click."""

EARLIEST_SECONDS, LATEST_SECONDS = 0.5, 1.0
"""Before and after an onset: a spike outside of that, or nearer to the end of the sound before the
pause, belongs to other sound."""

FEWEST_ONSETS = 30
"""Fewer say nothing."""


@dataclass(frozen=True)
class Onset:
    """Where sound begins, and where the sound before it ended (-inf: there was none); seconds."""

    seconds: float
    before: float


@dataclass
class SpikeLeads:
    """Seconds from the spikes of tokens after pauses to the onsets of their sound."""

    values: list[float] = field(default_factory=list)

    def add(self, samples: Samples, spikes: Sequence[float]) -> None:
        """Take note of one recording: samples (S,) at 16 kHz, seconds of the spikes, ascending."""
        found = onsets_of(samples)
        ends = [*(one.seconds for one in found[1:]), np.inf]
        for onset, end in zip(found, ends, strict=False):
            # what spikes earlier may be the last token before the pause
            first = max(onset.seconds - EARLIEST_SECONDS, (onset.before + onset.seconds) / 2)
            near = [one for one in spikes if first <= one < end]
            if near and near[0] <= onset.seconds + LATEST_SECONDS:
                self.values.append(onset.seconds - near[0])

    @property
    def median(self) -> float | None:
        """In seconds; None where there are too few onsets."""
        enough = len(self.values) >= FEWEST_ONSETS
        return round(float(np.median(self.values)), 3) if enough else None

    def report(self) -> dict[str, Any]:
        """How many onsets were heard, and by how many seconds the spikes are before them."""
        if not self.values:
            return {"count": 0}
        tenth, half, most = np.percentile(self.values, [10, 50, 90])
        return {
            "count": len(self.values),
            "median": round(float(half), 3),
            "from_10_to_90_percent": [round(float(tenth), 3), round(float(most), 3)],
        }


def onsets_of(samples: Samples) -> list[Onset]:
    """Where sound begins after a pause in samples (S,) at 16 kHz; nowhere if noise hides it."""
    level = SpeechLevel.of_samples(samples)
    return [] if level is None else onsets(level.loud)


def onsets(loud: npt.NDArray[np.bool_]) -> list[Onset]:
    """Where sound begins after a pause; `loud` (T,) tells each 10 ms."""
    shortest = round(SOUND_SECONDS * FRAMES_PER_SECOND)
    found: list[Onset] = []
    quiet, needed, ended = 0, round(PAUSE_SECONDS / 3 * FRAMES_PER_SECOND), -np.inf
    for place in range(loud.size):
        sound = loud[place : place + shortest]
        if not loud[place] or (quiet and not (sound.size == shortest and sound.all())):
            quiet += 1
            continue
        if quiet >= needed:
            found.append(Onset(place / FRAMES_PER_SECOND, ended))
        quiet, needed = 0, round(PAUSE_SECONDS * FRAMES_PER_SECOND)
        ended = (place + 1) / FRAMES_PER_SECOND
    return found
