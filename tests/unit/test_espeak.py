"""espeak-ng through ctypes: sound, word times, voices, and independence of what was said before."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.errors import refused
from keyframe_asr.data.corpora.synthetic import sentences
from keyframe_asr.data.corpora.synthetic.espeak import (
    Samples,
    SpeechSynthesiser,
    SpeechSynthesisError,
)
from keyframe_asr.timing import SAMPLE_RATE

FAST = 450


@pytest.fixture(scope="module")
def synthesiser() -> SpeechSynthesiser:
    return SpeechSynthesiser()


def loudness(samples: Samples, start: float, end: float) -> float:
    piece = samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    return float(np.sqrt(np.mean(np.square(piece))))


def fundamental(samples: Samples) -> float:
    """Hertz of the strongest period between 60 and 400 Hz, by autocorrelation."""
    correlation = np.correlate(samples, samples, "full")[len(samples) - 1 :]
    low, high = SAMPLE_RATE // 400, SAMPLE_RATE // 60
    return SAMPLE_RATE / (low + int(np.argmax(correlation[low:high])))


@pytest.mark.parametrize(
    ("voice", "text", "words"),
    [
        ("cmn", "三九六打开灯", list("三九六打开灯")),
        ("cmn+f3", "八", ["八"]),
        ("en-us+m4", "enter sixty four", ["enter", "sixty", "four"]),
    ],
)
def test_every_word_has_its_time(
    synthesiser: SpeechSynthesiser, voice: str, text: str, words: list[str]
) -> None:
    samples, times = synthesiser.say(text, voice)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert np.abs(samples).max() <= 1
    assert [time.text for time in times] == words
    edges = [edge for time in times for edge in (time.start, time.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= len(samples) / SAMPLE_RATE
    for time in times:
        assert time.end - time.start > 0.05
        assert loudness(samples, time.start, time.end) > 0.01


def test_words_are_where_the_sound_is(synthesiser: SpeechSynthesiser) -> None:
    """With pauses between the words, the sound is inside their times and nowhere else."""
    samples, times = synthesiser.say("一二五一二", "cmn+m3", word_gap=20)
    silent = np.ones(len(samples), bool)
    margin = 0.015
    for time in times:
        first, last = (round(t * SAMPLE_RATE) for t in (time.start - margin, time.end + margin))
        silent[max(first, 0) : last] = False
        assert loudness(samples, time.start, time.start + 0.1) > 0.02
    assert silent.sum() > 0.5 * SAMPLE_RATE
    assert np.abs(samples[silent]).max() < 0.003


def test_rate_and_pitch_do_what_they_say(synthesiser: SpeechSynthesiser) -> None:
    slow, _ = synthesiser.say("三六九", "cmn", rate=100)
    fast, _ = synthesiser.say("三六九", "cmn", rate=250)
    assert len(slow) > 1.5 * len(fast)
    low, _ = synthesiser.say("一", "cmn", pitch=20)
    high, _ = synthesiser.say("一", "cmn", pitch=80)
    assert fundamental(high) > 1.3 * fundamental(low)


def test_nothing_to_say_is_silence(synthesiser: SpeechSynthesiser) -> None:
    samples, times = synthesiser.say("", "cmn")
    assert times == []
    assert not samples.any()


def test_an_instance_does_not_hear_what_others_said() -> None:
    first = SpeechSynthesiser()
    expected = [first.say(text, "cmn+f1")[0] for text in ("一二三", "四五六")]
    other = SpeechSynthesiser()
    other.say("打开灯", "cmn+m2")
    second = SpeechSynthesiser()
    for text, samples in zip(("一二三", "四五六"), expected, strict=True):
        np.testing.assert_array_equal(second.say(text, "cmn+f1")[0], samples)


@pytest.mark.parametrize("voice", ["cmn+nobody", "klingon-x", "en-gb"])
def test_an_unknown_voice_is_named(synthesiser: SpeechSynthesiser, voice: str) -> None:
    with refused(SpeechSynthesisError, f"'{voice}'"):
        synthesiser.say("一", voice)


def test_every_mandarin_command_has_a_time_for_every_character(
    synthesiser: SpeechSynthesiser,
) -> None:
    for command in sentences.MANDARIN_COMMANDS:
        for digit in sentences.MANDARIN_COMMAND_DIGITS:
            text = command.format(digit)
            _, times = synthesiser.say(text, "cmn", rate=FAST)
            assert [time.text for time in times] == list(text)


def test_every_english_word_is_one_word(synthesiser: SpeechSynthesiser) -> None:
    for word in sorted(sentences.ENGLISH_VOCABULARY):
        _, times = synthesiser.say(sentences.english_spoken(f"{word} SIX"), "en-us", rate=FAST)
        assert len(times) == 2, word


def test_the_letter_a_is_no_article(synthesiser: SpeechSynthesiser) -> None:
    _, letter = synthesiser.say(sentences.english_spoken("B A B"), "en-us")
    _, article = synthesiser.say("b a b", "en-us")
    assert letter[1].end - letter[1].start > 1.5 * (article[1].end - article[1].start)
