"""However a stream is divided, and whatever is recognised with it, its updates are the same."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.random_model import RATE, noise, random_model
from keyframe_asr.audio.reading import Samples
from keyframe_asr.config.streaming import StreamingConfig
from keyframe_asr.inference.joining import in_stream
from keyframe_asr.inference.local_agreement import Agreement
from keyframe_asr.inference.options import (
    DecodeMode,
    RecognitionOptions,
    Segmentation,
    StreamOptions,
)
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.streaming import StreamState, StreamUpdate
from keyframe_asr.results import Token, Transcript
from keyframe_asr.text.tokenizer import BLANK, END

OPTIONS = StreamOptions(
    step=0.2,
    silence=0.5,
    silence_after_text=0.3,
    longest=2.0,
    recognition=RecognitionOptions(segmentation=Segmentation(search=0.8, padding=0.1)),
)

parts = st.lists(st.tuples(st.booleans(), st.floats(0.1, 1.5)), min_size=1, max_size=5)
sizes = st.lists(st.integers(1, 20_000), min_size=1, max_size=8)


@dataclass(frozen=True)
class Heard:
    """All that came of a stream."""

    committed: list[Token]
    final: list[Transcript]
    last: Transcript
    updates: list[StreamUpdate]


STREAMING = StreamingConfig(chunk=4, look_ahead=3, left_chunks=2, largest_chunk=8, left_keyframes=3)


@pytest.fixture(scope="module", params=["read again", "chunks", "chunks of all frames"])
def recognizer(request: pytest.FixtureRequest) -> Recognizer:
    if request.param == "read again":
        return Recognizer(random_model(), "cpu")
    return Recognizer(random_model(request.param == "chunks", streaming=STREAMING), "cpu")


@pytest.fixture(scope="module")
def streaming() -> Recognizer:
    model = random_model(streaming=STREAMING)
    config = model.config.model_copy(update={"emission_delay_seconds": 0.1})
    return Recognizer(replace(model, config=config), "cpu")


def sound(parts: Iterable[tuple[bool, float]]) -> Samples:
    pieces = [
        noise(seconds, seed) if loud else np.zeros(round(seconds * RATE), np.float32)
        for seed, (loud, seconds) in enumerate(parts)
    ]
    return np.concatenate(pieces)


def blocks(samples: Samples, sizes: Sequence[int]) -> Iterable[Samples]:
    start = 0
    for size in itertools.cycle(sizes):
        if start >= samples.size:
            return
        yield samples[start : start + size]
        start += size


def collected(updates: list[StreamUpdate], last: Transcript) -> Heard:
    return Heard(
        [token for update in updates for token in update.committed],
        [transcript for update in updates for transcript in update.final],
        last,
        updates,
    )


def heard(
    recognizer: Recognizer,
    given: Iterable[Samples],
    rate: int | None = None,
    options: StreamOptions = OPTIONS,
) -> Heard:
    state, updates = recognizer.start_stream(options, rate), []
    for block in given:
        state, update = recognizer.accept(state, block)
        updates.append(update)
    last = recognizer.last_update(state)
    assert [recognizer.finish(state)] == (list(last.final) or [Transcript("")])
    return collected([*updates, last], recognizer.finish(state))


def same(one: Heard, other: Heard) -> None:
    assert one.committed == other.committed
    assert one.final == other.final
    assert one.last == other.last


@given(parts, sizes)
@settings(max_examples=25, deadline=None)
def test_blocks_of_any_size_give_the_same(
    recognizer: Recognizer, parts: list[tuple[bool, float]], sizes: list[int]
) -> None:
    samples = sound(parts)
    whole, divided = heard(recognizer, [samples]), heard(recognizer, blocks(samples, sizes))
    same(whole, divided)
    assert whole.updates[-2].partial == divided.updates[-2].partial
    assert whole.updates[-2].text == divided.updates[-2].text


def test_the_model_hears_something_in_noise(recognizer: Recognizer) -> None:
    found = heard(recognizer, [sound([(True, 3.0), (False, 1.0), (True, 0.7)])])
    assert len(found.final) >= 2 and len(found.committed) > 4 and found.last.tokens


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_single_samples_give_the_same(recognizer: Recognizer, rate: int) -> None:
    samples = noise(0.7, rate=rate)
    whole = heard(recognizer, [samples], rate)
    same(whole, heard(recognizer, blocks(samples, [1]), rate))
    assert whole.last.text


@given(parts, sizes)
@settings(max_examples=25, deadline=None)
def test_tokens_are_in_order_and_already_heard(
    recognizer: Recognizer, parts: list[tuple[bool, float]], sizes: list[int]
) -> None:
    samples = sound(parts)
    state, latest = recognizer.start_stream(OPTIONS), 0.0
    for block in blocks(samples, sizes):
        state, update = recognizer.accept(state, block)
        for token in update.committed:
            assert latest <= token.start <= min(token.end, state.seconds)
            latest = token.start
        for transcript in update.final:
            assert transcript.text
            assert all(token.end <= state.seconds for token in transcript.tokens)


@given(parts)
@settings(max_examples=25, deadline=None)
def test_final_texts_are_those_of_transcribe(
    recognizer: Recognizer, parts: list[tuple[bool, float]]
) -> None:
    samples = sound(parts)
    state = recognizer.start_stream(OPTIONS)
    for block in blocks(samples, [512]):
        before = state
        state, update = recognizer.accept(state, block)
        for transcript in update.final:
            assert before.utterance is not None
            start = before.utterance.start
            spoken = samples[start : start + round(transcript.duration * RATE)]
            alone = recognizer.transcribe(spoken, before.options.recognition)
            assert transcript == in_stream(alone, start / RATE)


@given(parts, st.sampled_from(["axe", "ctc"]), st.sampled_from([None, 0.04, 0.2, 0.52]))
@settings(max_examples=40, deadline=None)
def test_committed_tokens_are_those_of_simulated_chunks(
    streaming: Recognizer, parts: list[tuple[bool, float]], mode: DecodeMode, chunk: float | None
) -> None:
    samples = sound([*parts, (False, 1.0)])
    state = streaming.start_stream(replace(OPTIONS, partial_decode=mode, chunk=chunk))
    simulation = RecognitionOptions(mode, simulate_streaming=True, chunk=chunk)
    committed: list[Token] = []
    for block in blocks(samples, [512]):
        before = state
        state, update = streaming.accept(state, block)
        committed += update.committed
        if before.utterance is None or state.utterance is not None:
            continue
        assert before.utterance.chunks is not None
        begin = before.utterance.chunks.begin  # not that of a part after a cut
        alone = streaming.transcribe(samples[begin : state.free], simulation)
        expected = in_stream(alone, begin / RATE)
        assert [one.text for one in committed] == [one.text for one in expected.tokens]
        for one, other in zip(committed, expected.tokens, strict=True):
            assert one.start == pytest.approx(other.start, abs=1e-6)
            assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
        committed = []
    assert state.utterance is None and not committed


def test_partial_text_is_the_run_of_the_ctc_that_has_not_ended(streaming: Recognizer) -> None:
    """With chunks of one frame and no look-ahead, what its last frame is."""
    samples = noise(3.0)
    options = StreamOptions(chunk=0.04, look_ahead=0.0, partial_decode="ctc")
    (output,) = streaming.feature_stream(0.04, 0.0).simulated([streaming.front_end(samples)])
    labels = output.inter_log_probs.argmax(axis=1)
    state, shown = streaming.start_stream(options), []
    for block in blocks(samples, [160]):
        state, update = streaming.accept(state, block)
        if state.utterance is not None and state.utterance.chunks is not None:
            frames = state.utterance.chunks.spikes.frames
            assert state.utterance.start == 0
            label = int(labels[frames - 1]) if frames else 0
            expected = "" if label in (BLANK, END) else streaming.piece(label)
            assert update.partial == expected
            shown.append(update.partial)
    assert any(shown) and not all(shown)


@pytest.mark.parametrize("mode", ["axe", "ctc"])
def test_speech_without_a_spike_commits_nothing(mode: DecodeMode) -> None:
    model = random_model(streaming=STREAMING)
    with torch.no_grad():
        model.network.inter_ctc.bias[BLANK] += 30.0
    recognizer = Recognizer(model, "cpu")
    found = heard(recognizer, [noise(2.0)], options=replace(OPTIONS, partial_decode=mode))
    assert found.committed == []


@given(st.lists(parts, min_size=2, max_size=3), sizes)
@settings(max_examples=10, deadline=None)
def test_streams_in_a_batch_do_not_change_one_another(
    recognizer: Recognizer, several: list[list[tuple[bool, float]]], sizes: list[int]
) -> None:
    divided = [list(blocks(sound(parts), sizes)) for parts in several]
    states = [recognizer.start_stream(OPTIONS) for _ in divided]
    updates: list[list[StreamUpdate]] = [[] for _ in divided]
    for turn in itertools.zip_longest(*divided):
        going = [place for place, block in enumerate(turn) if block is not None]
        found = recognizer.accept_batch(
            [states[place] for place in going], [turn[place] for place in going]
        )
        for place, (state, update) in zip(going, found, strict=True):
            states[place] = state
            updates[place].append(update)
    for place, alone in enumerate(divided):
        last = recognizer.last_update(states[place])
        one = collected([*updates[place], last], recognizer.finish(states[place]))
        other = heard(recognizer, alone)
        # a batch changes the last bits of probabilities
        assert _without_confidences(one) == _without_confidences(other)


def _without_confidences(heard: Heard) -> object:
    def plain(tokens: Iterable[Token]) -> list[tuple[str, float, float]]:
        return [(one.text, round(one.start, 6), round(one.end, 6)) for one in tokens]

    finals = [*heard.final, heard.last]
    return plain(heard.committed), [(one.text, plain(one.tokens)) for one in finals]


def test_a_state_is_a_value(recognizer: Recognizer) -> None:
    samples = sound([(True, 1.0), (False, 0.2), (True, 0.9), (False, 1.0), (True, 0.5)])
    given = list(blocks(samples, [7_000]))
    state: StreamState = recognizer.start_stream(OPTIONS)
    for block in given[:2]:
        state, _ = recognizer.accept(state, block)
    stored = pickle.dumps(state)
    first = [recognizer.accept(state, given[2])[1], recognizer.accept(state, given[2])[1]]
    assert first[0] == first[1]
    restored = pickle.loads(stored)
    for block in given[2:]:
        state, update = recognizer.accept(state, block)
        restored, other = recognizer.accept(restored, block)
        assert update == other
    assert recognizer.finish(state) == recognizer.finish(restored)


words = st.lists(st.sampled_from("ABC"), max_size=6)


def tokens(texts: Iterable[str]) -> list[Token]:
    return [Token(text, place / 2, place / 2 + 0.4, 1.0) for place, text in enumerate(texts)]


@given(st.lists(words, max_size=6))
def test_committed_tokens_stay(readings: list[list[str]]) -> None:
    agreed = Agreement()
    for reading in readings:
        following = agreed.with_reading(tokens(reading))
        assert following.committed[: len(agreed.committed)] == agreed.committed
        starts = [token.start for token in following.committed]
        assert starts == sorted(starts)
        agreed = following


@given(words)
def test_a_reading_repeated_is_committed(reading: list[str]) -> None:
    agreed = Agreement().with_reading(tokens(reading))
    assert not agreed.committed
    agreed = agreed.with_reading(tokens(reading))
    assert [token.text for token in agreed.committed] == reading
    assert not agreed.rest
