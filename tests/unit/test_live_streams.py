"""Streams of speech, silence and noise, with a model that streams and one that reads again."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model
from keyframe_asr.audio.reading import Samples
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser
from keyframe_asr.errors import AudioError, ModelError, OptionError
from keyframe_asr.inference.options import RecognitionOptions, StreamOptions
from keyframe_asr.inference.recognizer import Recognizer, load
from keyframe_asr.inference.streaming import StreamState, StreamUpdate
from keyframe_asr.results import Transcript

NOTHING = Transcript("")
TEXTS = ("三九六", "打开灯", "左转")


@pytest.fixture(scope="module")
def demo() -> Recognizer:
    return load("demo", backend="onnx", threads=1)


@pytest.fixture(scope="module")
def streaming() -> Recognizer:
    return load("demo-streaming", backend="onnx", threads=1)


@pytest.fixture(scope="module", params=["demo", "demo-streaming"])
def either(request: pytest.FixtureRequest) -> Recognizer:
    return load(request.param, backend="onnx", threads=1)


@pytest.fixture(scope="module")
def speech() -> list[Samples]:
    synthesiser = SpeechSynthesiser()
    spoken = [synthesiser.say(text, "cmn+f3")[0] for text in TEXTS]
    return [one + silence(one.size / RATE) for one in spoken]


def silence(seconds: float) -> Samples:
    """Quiet noise, as of a microphone."""
    random = np.random.default_rng(0)
    return (1e-3 * random.normal(size=round(seconds * RATE))).astype(np.float32)


def with_pauses(speech: Sequence[Samples], seconds: float = 2.0) -> Samples:
    return np.concatenate([part for one in speech for part in (one, silence(seconds))])


def stream(
    recognizer: Recognizer, samples: Samples, options: StreamOptions | None = None
) -> Iterator[tuple[StreamState, StreamUpdate]]:
    state = recognizer.start_stream(options)
    for start in range(0, samples.size, 1_600):
        state, update = recognizer.accept(state, samples[start : start + 1_600])
        yield state, update


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of every recording that is encoded from now on."""
    found: list[float] = []
    encode = Recognizer.encode

    def counted(self: Recognizer, recordings: Sequence[Samples], *rest: object) -> object:
        found.extend(one.size / RATE for one in recordings)
        return encode(self, recordings, *rest)

    monkeypatch.setattr(Recognizer, "encode", counted)
    return found


def test_utterances_come_one_by_one(either: Recognizer, speech: list[Samples]) -> None:
    samples = with_pauses(speech)
    found = [
        (state.seconds, one) for state, update in stream(either, samples) for one in update.final
    ]
    assert [transcript.text for _, transcript in found] == list(TEXTS)
    begin = 0.0
    for (now, transcript), one in zip(found, speech, strict=True):
        end = begin + one.size / RATE
        assert begin - 0.3 < transcript.tokens[0].start < transcript.tokens[-1].end < end + 0.3
        assert transcript.segments[0].words[0].start == transcript.words[0].start
        assert end < now < end + 2.0
        begin = end + 2.0


def test_tokens_are_committed_while_they_are_spoken(
    either: Recognizer, speech: list[Samples]
) -> None:
    shown, committed, before_the_end = [], "", 0
    for state, update in stream(either, with_pauses(speech[:1])):
        committed += "".join(token.text for token in update.committed)
        before_the_end += len(update.committed) * (state.seconds < speech[0].size / RATE)
        shown.append(update.text + update.partial)
        if not update.final:
            assert update.text == committed or not update.text
    assert committed == TEXTS[0]
    assert before_the_end > 0
    assert TEXTS[0] in shown
    assert shown[-1] == ""


def test_finish_gives_what_is_left(either: Recognizer, speech: list[Samples]) -> None:
    samples = np.concatenate((with_pauses(speech[:1]), speech[1]))
    *_, (state, _) = stream(either, samples)
    assert either.finish(state).text == TEXTS[1]
    assert either.finish(state).tokens[0].start > speech[0].size / RATE + 1.7
    assert either.finish(either.start_stream()).text == ""


def test_the_end_of_a_stream_commits_what_a_pause_would(
    either: Recognizer, speech: list[Samples]
) -> None:
    state = either.start_stream()
    paused = either.accept(state, with_pauses(speech[:1]))[1]
    state, update = either.accept(state, speech[0])
    last = either.last_update(state)
    committed = [*update.committed, *last.committed]
    assert [one.text for one in committed] == [one.text for one in paused.committed]
    assert [one.text for one in last.final] == [TEXTS[0]]


def test_the_last_word_does_not_wait_for_the_end_of_its_utterance(
    streaming: Recognizer, speech: list[Samples]
) -> None:
    options = StreamOptions(chunk=0.16, look_ahead=0.16, silence_after_text=5.0)
    samples = with_pauses(speech[:1])
    times = [
        state.seconds for state, update in stream(streaming, samples, options) if update.committed
    ]
    assert times[-1] < speech[0].size / RATE + 0.7


def test_an_offset_of_the_microphone_changes_nothing(
    either: Recognizer, speech: list[Samples]
) -> None:
    samples = with_pauses(speech) + np.float32(0.05)
    found = [one.text for _, update in stream(either, samples) for one in update.final]
    assert found == list(TEXTS)


def test_a_state_of_another_model_is_refused(demo: Recognizer, streaming: Recognizer) -> None:
    state = streaming.start_stream()
    for refusing in (lambda: demo.accept(state, noise(0.1)), lambda: demo.finish(state)):
        with refused(ModelError, "demo-streaming", "demo"):
            refusing()
    with refused(OptionError, "StreamOptions"):
        demo.start_stream(8_000)  # type: ignore[arg-type]


def test_other_rates(either: Recognizer, speech: list[Samples]) -> None:
    doubled = np.repeat(speech[0], 2)  # 32 kHz
    state = either.start_stream(sample_rate=32_000)
    state, _ = either.accept(state, (doubled * 32_767).astype(np.int16))
    assert either.finish(state).text == TEXTS[0]


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.1])
def test_an_hour_of_silence_costs_and_keeps_nothing(
    level: float, either: Recognizer, readings: list[float]
) -> None:
    minute = level * np.random.default_rng(0).normal(size=60 * RATE).clip(-5, 5).astype(np.float32)
    state = either.start_stream()
    for _ in range(60):
        state, update = either.accept(state, minute)
        assert update == StreamUpdate()
        assert len(pickle.dumps(state)) < 40_000
    assert state.seconds == 3600
    assert either.finish(state).text == ""
    assert readings == []


def test_an_hour_of_noise_is_kept_in_bounded_memory(
    demo: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    state = demo.start_stream(StreamOptions(step=10.0))
    read = 0

    def emptied(self: Recognizer, audio: object, options: object) -> object:
        nonlocal read
        read += 1
        return [NOTHING]

    monkeypatch.setattr(Recognizer, "encode", lambda self, recordings: recordings)
    monkeypatch.setattr(Recognizer, "decode", emptied)
    bursts = (np.arange(60 * RATE) // 8_000 % 2).astype(np.float32)
    for _ in range(60):
        block = 0.1 * bursts * random.normal(size=60 * RATE).astype(np.float32)
        state, update = demo.accept(state, block)
        assert update == StreamUpdate()
        assert len(pickle.dumps(state)) < 1_200_000
    assert read > 60


def test_a_minute_of_noise_is_kept_in_bounded_memory_by_a_model_that_streams(
    streaming: Recognizer,
) -> None:
    random = np.random.default_rng(0)
    state, sizes, ended = streaming.start_stream(), [], 0
    bursts = (np.arange(60 * RATE) // 8_000 % 2).astype(np.float32)
    sound = 0.1 * bursts * random.normal(size=bursts.size).astype(np.float32)
    for start in range(0, sound.size, RATE):
        before = state.utterance
        state = streaming.accept(state, sound[start : start + RATE])[0]
        sizes.append(len(pickle.dumps(state)))
        ended += state.utterance is not None and before is not None
    assert max(sizes) < 2_000_000
    assert max(sizes[40:]) < 1.1 * max(sizes[:40])
    assert ended > 40  # it goes on where the utterance is cut


def test_an_utterance_without_pause_is_cut(either: Recognizer, speech: list[Samples]) -> None:
    samples = np.concatenate([*speech * 4, silence(2.0)])
    final, committed = [], []
    options = StreamOptions(longest=3.0, partial_decode="ctc")
    for _, update in stream(either, samples, options):
        final += update.final
        committed += update.committed
    assert len(final) > 2
    assert max(transcript.duration for transcript in final) <= 3.1
    spoken = "".join(TEXTS * 4)
    assert abs(len("".join(one.text for one in final)) - len(spoken)) <= 3
    assert abs(len(committed) - len(spoken)) <= 3


def test_a_model_that_streams_reads_an_utterance_once_more_at_its_end(
    streaming: Recognizer, speech: list[Samples], readings: list[float]
) -> None:
    samples = with_pauses(speech)
    final = [one for _, update in stream(streaming, samples) for one in update.final]
    assert readings == [one.duration for one in final]
    assert len(readings) == len(speech)


def test_a_state_moves_between_back_ends(streaming: Recognizer, speech: list[Samples]) -> None:
    torch_one = load("demo-streaming", backend="torch")
    samples = with_pauses(speech)
    state, shown = streaming.start_stream(), ""
    for number, start in enumerate(range(0, samples.size, 1_600)):
        recognizer = (streaming, torch_one)[number % 2]
        state = pickle.loads(pickle.dumps(state))
        state, update = recognizer.accept(state, samples[start : start + 1_600])
        shown += "".join(token.text for token in update.committed)
    assert shown == "".join(TEXTS)


def test_less_look_ahead_is_earlier_text(streaming: Recognizer, speech: list[Samples]) -> None:
    first = []
    for look_ahead in (0.0, 0.48, 0.96):
        options = StreamOptions(look_ahead=look_ahead)
        first.append(
            next(
                state.seconds
                for state, update in stream(streaming, with_pauses(speech), options)
                if update.committed
            )
        )
    assert first == sorted(first) and first[0] < first[2] - 0.3


def test_silence_within_an_utterance_is_not_read_again(
    demo: Recognizer, speech: list[Samples], readings: list[float]
) -> None:
    samples = np.concatenate((speech[0], silence(8.0)))
    list(stream(demo, samples, StreamOptions(silence=20.0, silence_after_text=20.0)))
    assert len(readings) <= samples.size / RATE / 0.4 - 15
    assert max(readings) < speech[0].size / RATE + 1.0


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"step": 0.0}, "step"),
        ({"silence": -1.0}, "silence"),
        ({"silence_after_text": float("nan")}, "silence_after_text"),
        ({"longest": 30.0}, "longest"),
        ({"chunk": 0.0}, "chunk"),
        ({"look_ahead": -0.1}, "look_ahead"),
        ({"chunk": 0.3, "partial_decode": "attention"}, "chunk"),
        ({"partial_decode": "joint"}, "partial_decode"),
        ({"recognition": "ctc"}, "recognition"),
        ({"recognition": RecognitionOptions(simulate_streaming=True)}, "recognition"),
    ],
)
def test_options_out_of_range(given: dict, option: str) -> None:
    with pytest.raises(OptionError) as caught:
        StreamOptions(**given)
    assert caught.value.option == option


def test_a_mode_that_the_model_lacks() -> None:
    recognizer = Recognizer(random_model(decoder=False), "cpu")
    with refused(ModelError):
        recognizer.start_stream(StreamOptions(partial_decode="attention"))
    with refused(ModelError):
        recognizer.start_stream(StreamOptions(recognition=RecognitionOptions("attention")))


def test_a_model_that_cannot_stream_has_no_chunks(demo: Recognizer) -> None:
    with refused(ModelError, "model.encoder.streaming"):
        demo.start_stream(StreamOptions(chunk=0.3))
    with refused(ModelError, "model.encoder.streaming"):
        demo.transcribe(noise(1.0), RecognitionOptions(simulate_streaming=True))


@pytest.mark.parametrize(
    "block",
    [
        np.zeros((2, 1_000), np.float32),
        np.zeros(10, np.int32),
        np.full(10, np.nan, np.float32),
        np.full(10, 1_000.0, np.float32),
        [0.0, 0.1],
    ],
)
def test_what_is_no_block(demo: Recognizer, block: object) -> None:
    state = demo.start_stream()
    with refused(AudioError):
        demo.accept(state, block)


@pytest.mark.parametrize("name", ["demo", "demo-streaming"])
def test_both_back_ends_give_the_same(name: str, speech: list[Samples]) -> None:
    samples = with_pauses(speech)
    found = []
    for recognizer in (load(name, backend="onnx", threads=1), load(name, backend="torch")):
        updates = [update for _, update in stream(recognizer, samples)]
        committed = [token for update in updates for token in update.committed]
        final = [transcript.text for update in updates for transcript in update.final]
        found.append(([(one.text, one.start) for one in committed], final))
    assert found[0] == found[1]
    assert "".join(text for text, _ in found[0][0]) == "".join(TEXTS)


def test_silero_finds_the_same_utterances(either: Recognizer, speech: list[Samples]) -> None:
    pytest.importorskip("silero_vad")
    options = StreamOptions(recognition=RecognitionOptions(voice_activity="silero"))
    samples = with_pauses(speech)
    found = [one.text for _, update in stream(either, samples, options) for one in update.final]
    assert found == list(TEXTS)


def test_the_detectors_of_two_streams_are_apart(demo: Recognizer, speech: list[Samples]) -> None:
    pytest.importorskip("silero_vad")
    options = StreamOptions(recognition=RecognitionOptions(voice_activity="silero"))
    one = demo.start_stream(options)
    demo.accept(demo.start_stream(options), noise(2.0))
    one, update = demo.accept(one, with_pauses(speech[:1]))
    assert [transcript.text for transcript in update.final] == [TEXTS[0]]
