"""Sums over the batches of an epoch, and the means that are logged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from keyframe_asr.data.dataset import Batch
from keyframe_asr.training.batch_results import BatchResult

_SUMMED = ("batches", "utterances", "loss", "audio_seconds", "frames", "keyframes", "tokens")
_PART = "part "


@dataclass
class EpochStatistics:
    """Sums over the batches of an epoch.

    Attributes:
        expected_batches: approximate number of batches of this process in the epoch.
        started: monotonic time of the start, in seconds.
        learning_rate: learning rate of the last update.
        waited: seconds spent waiting for data.
        parts: unweighted sum of each loss.
    """

    expected_batches: int
    started: float = field(default_factory=time.monotonic)
    learning_rate: float = 0.0
    batches: int = 0
    utterances: int = 0
    loss: float = 0.0
    audio_seconds: float = 0.0
    frames: int = 0
    keyframes: int = 0
    tokens: int = 0
    waited: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    def timed(self, updates: Iterator[list[Batch]]) -> Iterator[list[Batch]]:
        """Pass the updates through, adding the time spent loading them to `waited`."""
        while True:
            began = time.monotonic()
            batches = next(updates, None)
            self.waited += time.monotonic() - began
            if batches is None:
                return
            yield batches

    def over_processes(
        self, add_up: Callable[[dict[str, float]], dict[str, float]]
    ) -> EpochStatistics:
        """Return the sums over all processes; times remain those of this process."""
        sums: dict[str, float] = {name: getattr(self, name) for name in _SUMMED}
        total = add_up(sums | {_PART + name: value for name, value in self.parts.items()})
        everyone = replace(self, parts={})
        for name, value in total.items():
            if name.startswith(_PART):
                everyone.parts[name.removeprefix(_PART)] = value
            else:
                setattr(everyone, name, value)
        return everyone

    def so_far(self) -> dict[str, Any]:
        """What `take` needs to go on in another process."""
        sums: dict[str, Any] = {name: getattr(self, name) for name in _SUMMED}
        return sums | {
            "learning_rate": self.learning_rate,
            "waited": self.waited,
            "seconds": time.monotonic() - self.started,
            "parts": dict(self.parts),
        }

    def take(self, before: dict[str, Any]) -> None:
        """Add what `so_far` returned in the process that was interrupted."""
        for name in (*_SUMMED, "waited"):
            setattr(self, name, getattr(self, name) + before[name])
        self.learning_rate = before["learning_rate"]
        self.started -= before["seconds"]
        for name, value in before["parts"].items():
            self.parts[name] = self.parts.get(name, 0.0) + value

    def add(self, *results: BatchResult) -> None:
        """Add the results of batches."""
        for result in results:
            if not result.counts:
                continue
            self.batches += 1
            self.utterances += result.utterances
            self.loss += result.loss * result.utterances
            self.audio_seconds += result.audio_seconds
            self.tokens += result.tokens
            self.frames += result.frames
            self.keyframes += result.spikes
            for name, value in result.parts.items():
                self.parts[name] = self.parts.get(name, 0.0) + value * result.utterances

    def numbers(self) -> dict[str, float]:
        """Return means per utterance, and ratios."""
        count = max(1, self.utterances)
        return {
            "loss": self.loss / count,
            **{f"loss_{name}": value / count for name, value in self.parts.items()},
            "learning_rate": self.learning_rate,
            "keyframes_per_token": self.keyframes / max(1, self.tokens),
            "frame_reduction": 1 - self.keyframes / max(1, self.frames),
            "seconds": time.monotonic() - self.started,
            "waiting_share": self.waited / max(1e-9, time.monotonic() - self.started),
            "audio_seconds": self.audio_seconds,
        }
