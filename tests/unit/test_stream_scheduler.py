"""A long reading of one stream stops only that stream."""

from __future__ import annotations

import numpy as np

import keyframe_asr
from fixtures.random_model import noise
from fixtures.spoken import RATE, SENTENCES, spoken
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.stream_requests import Reading, Steps, StreamScheduler, read
from keyframe_asr.results import Transcript

SECONDS = 3.0
BEST = RecognitionOptions()


def readings(seconds: float) -> Steps[tuple[Transcript, ...]]:
    return (yield from read(noise(seconds), BEST))


def failing() -> Steps[None]:
    yield Reading(np.zeros((2, 2, 2), np.float32), (BEST,))


def test_chunks_come_first_and_readings_in_turn() -> None:
    recognizer = keyframe_asr.load("demo-streaming")
    state = recognizer.start_stream()
    said = spoken(SENTENCES[0])[:RATE]  # it has not ended, so there are chunks only
    scheduler = StreamScheduler(recognizer, SECONDS)
    for key, seconds in enumerate((2.0, 1.0, 1.0)):
        scheduler.begin(key, readings(seconds))
    scheduler.begin(3, recognizer.accepting(state, said))
    turns = []
    while scheduler:
        turns.append(scheduler.turn())
    assert [list(ended) for ended in turns] == [[3], [0], [1, 2]]
    after, update = recognizer.accept(state, said)
    assert turns[0][3][1] == update and turns[0][3][0].seconds == after.seconds
    assert turns[1][0] == (recognizer.transcribe(noise(2.0), BEST),)


def test_who_fails_fails_alone_and_who_leaves_is_forgotten() -> None:
    recognizer = keyframe_asr.load("demo")
    scheduler = StreamScheduler(recognizer, 100.0)
    scheduler.begin(0, failing())
    scheduler.begin(1, readings(1.0))
    scheduler.begin(2, readings(1.0))
    scheduler.drop(2)
    found = {**scheduler.turn(), **scheduler.turn()}
    assert sorted(found) == [0, 1] and not scheduler
    assert isinstance(found[0], Exception) and isinstance(found[1][0], Transcript)
