"""What streams ask of the model, and how the requests of several streams are answered together.

A stream is a generator that asks and gets answers, and never calls the model. So the requests of
many streams form batches, and the logic of a stream is tested apart from the network.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from keyframe_asr.audio.reading import Samples
from keyframe_asr.decoding.arrays import Floats
from keyframe_asr.inference.batch_recognizer import BatchRecognizer, batches_by_length
from keyframe_asr.inference.network import FeatureStream
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.results import Transcript
from keyframe_asr.streams.state import FeatureOutput, FeatureState


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
Steps: TypeAlias = Generator[Request, Answer, T]
"""Makes requests, and returns a result."""


def read(samples: Samples, *ways: RecognitionOptions) -> Steps[tuple[Transcript, ...]]:
    """Make the request for a reading."""
    return (yield Reading(samples, ways))  # type: ignore[return-value]


def step(request: ChunkStep) -> Steps[tuple[FeatureState, FeatureOutput]]:
    """Make the request for a step."""
    return (yield request)  # type: ignore[return-value]


def run_together(recognizer: BatchRecognizer, streams: Iterable[Steps[T]]) -> list[T]:
    """Run the steps of several streams, whose requests form batches; return their results."""
    running = dict(enumerate(streams))
    results: dict[int, T] = {}
    given: dict[int, Answer | None] = dict.fromkeys(running)
    while given:
        asked: dict[int, Request] = {}
        for place, answer in given.items():
            try:
                asked[place] = (
                    next(running[place]) if answer is None else running[place].send(answer)
                )
            except StopIteration as ended:
                results[place] = ended.value
        readings = {place: one for place, one in asked.items() if isinstance(one, Reading)}
        steps = {place: one for place, one in asked.items() if isinstance(one, ChunkStep)}
        given = {
            **dict(zip(readings, _readings(recognizer, list(readings.values())), strict=True)),
            **dict(zip(steps, _steps(list(steps.values())), strict=True)),
        }
    return [results[place] for place in sorted(results)]


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
