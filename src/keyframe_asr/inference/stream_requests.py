"""What streams ask of the model, and how the requests of several streams are answered together.

A stream is a generator that asks and gets answers, and never calls the model. So the requests of
many streams form batches, and the logic of a stream is tested apart from the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from keyframe_asr.audio.reading import Samples
from keyframe_asr.decoding.arrays import Floats
from keyframe_asr.inference.batch_recognizer import BatchRecognizer, batches_by_length
from keyframe_asr.inference.network import FeatureStream
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.results import Transcript
from keyframe_asr.streams.state import FeatureOutput, FeatureState
from keyframe_asr.timing import SAMPLE_RATE


@dataclass(frozen=True)
class Reading:
    """Recognise these samples (S,) at 16 kHz in each of these ways: one transcript for each way."""

    samples: Samples
    ways: tuple[RecognitionOptions, ...]


@dataclass(frozen=True)
class ChunkStep:
    """Continue an utterance with its next features: the state that follows, and what is new.

    Attributes:
        stream: of the network.
        state: of the utterance, made by `stream`.
        features: (T, F) the next ones.
        last: the utterance ends after them.
    """

    stream: FeatureStream
    state: FeatureState
    features: Floats
    last: bool


Request: TypeAlias = Reading | ChunkStep
Answer: TypeAlias = "tuple[Transcript, ...] | tuple[FeatureState, FeatureOutput]"

T = TypeVar("T")
R = TypeVar("R", bound=Request)
Steps: TypeAlias = Generator[Request, Answer, T]
"""Makes requests, and returns a result."""


def read(samples: Samples, *ways: RecognitionOptions) -> Steps[tuple[Transcript, ...]]:
    """Make the request for a reading."""
    return (yield Reading(samples, ways))  # type: ignore[return-value]


def step(request: ChunkStep) -> Steps[tuple[FeatureState, FeatureOutput]]:
    """Make the request for a step."""
    return (yield request)  # type: ignore[return-value]


class StreamScheduler:
    """Runs the steps of streams that come and go, so that a long reading stops only its own stream.

    Args:
        recognizer: answers the requests.
        seconds: readings are answered for so much audio at once, but for one at least.
    """

    def __init__(self, recognizer: BatchRecognizer, seconds: float) -> None:
        self._recognizer, self._seconds = recognizer, seconds
        self._running: dict[int, Steps[Any]] = {}
        self._readings: dict[int, Reading] = {}
        self._ready: dict[int, Answer | None] = {}
        self._ended: dict[int, Any] = {}

    def __bool__(self) -> bool:
        """True if a stream has not ended."""
        return bool(self._running)

    def begin(self, key: int, steps: Steps[Any]) -> None:
        """Add the steps of a stream."""
        self._running[key], self._ready[key] = steps, None

    def drop(self, key: int) -> None:
        """Forget the steps of a stream."""
        for known in (self._running, self._readings, self._ready):
            known.pop(key, None)

    def turn(self) -> dict[int, Any]:
        """Do all chunks that are asked for, then some readings, of which the next turn makes use.

        Returns:
            The results of the streams that have ended; an exception where one has failed.
        """
        while chunks := self._asked():
            self._answer(chunks, _steps)
        if self._readings:
            chosen = self._next_readings()
            self._answer(chosen, partial(_readings, self._recognizer))
        ended, self._ended = self._ended, {}
        return ended

    def _asked(self) -> dict[int, ChunkStep]:
        """Go on with the streams that have their answers; return the chunks that they ask for."""
        chunks: dict[int, ChunkStep] = {}
        ready, self._ready = self._ready, {}
        for key, answer in ready.items():
            steps = self._running[key]
            try:
                request = next(steps) if answer is None else steps.send(answer)
            except StopIteration as ended:
                self._end(key, ended.value)
            except Exception as error:
                self._end(key, error)
            else:
                if isinstance(request, Reading):
                    self._readings[key] = request
                else:
                    chunks[key] = request
        return chunks

    def _next_readings(self) -> dict[int, Reading]:
        """Take the readings that have waited longest, of streams that are read in the same way."""
        chosen: dict[int, Reading] = {}
        longest = 0
        for key, reading in list(self._readings.items()):
            first = next(iter(chosen.values()), reading)
            longest = max(longest, reading.samples.size)
            too_long = (len(chosen) + 1) * longest > self._seconds * SAMPLE_RATE
            if chosen and (reading.ways != first.ways or too_long):
                break
            chosen[key] = self._readings.pop(key)
        return chosen

    def _answer(
        self, asked: Mapping[int, R], answer: Callable[[Sequence[R]], Sequence[Answer]]
    ) -> None:
        """Answer requests together; if that fails, each alone, so that only the bad one fails."""
        try:
            found = answer(list(asked.values()))
        except Exception as error:
            if len(asked) == 1:
                self._end(next(iter(asked)), error)
            else:
                for key, request in asked.items():
                    self._answer({key: request}, answer)
            return
        self._ready |= zip(asked, found, strict=True)

    def _end(self, key: int, result: Any) -> None:
        self.drop(key)
        self._ended[key] = result


def run_together(recognizer: BatchRecognizer, streams: Iterable[Steps[T]]) -> list[T]:
    """Run the steps of several streams to their ends, and return their results.

    Raises:
        Exception: that of the first stream that has failed.
    """
    scheduler = StreamScheduler(recognizer, math.inf)
    for key, steps in enumerate(streams):
        scheduler.begin(key, steps)
    found: dict[int, Any] = {}
    while scheduler:
        found |= scheduler.turn()
    for key in sorted(found):
        if isinstance(found[key], Exception):
            raise found[key]
    return [found[key] for key in sorted(found)]


def _readings(
    recognizer: BatchRecognizer, readings: Sequence[Reading]
) -> list[tuple[Transcript, ...]]:
    """Recognise readings, in batches of those that are read in the same ways."""
    found: dict[int, tuple[Transcript, ...]] = {}
    for ways in dict.fromkeys(reading.ways for reading in readings):
        sizes = {
            place: reading.samples.size
            for place, reading in enumerate(readings)
            if reading.ways == ways
        }
        for batch in batches_by_length(sizes, ways[-1].batch_seconds):
            encoded = recognizer.encode([readings[place].samples for place in batch])
            transcripts = [recognizer.decode(encoded, one) for one in ways]
            found |= zip(batch, zip(*transcripts, strict=True), strict=True)
    return [found[place] for place in range(len(readings))]


def _steps(steps: Sequence[ChunkStep]) -> list[tuple[FeatureState, FeatureOutput]]:
    """Do steps, those with the same chunks in one batch."""
    found: dict[int, tuple[FeatureState, FeatureOutput]] = {}
    for stream in dict.fromkeys(id(one.stream) for one in steps):
        places = [place for place, one in enumerate(steps) if id(one.stream) == stream]
        batch = [steps[place] for place in places]
        states, outputs = batch[0].stream.step(
            [one.state for one in batch],
            [one.features for one in batch],
            [one.last for one in batch],
        )
        found |= zip(places, zip(states, outputs, strict=True), strict=True)
    return [found[place] for place in range(len(steps))]
