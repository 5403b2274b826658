"""Words and tokens prepared for output: clean text, integer ticks, no overlap."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from keyframe_asr.formats.source import TranscriptLike
from keyframe_asr.text.scripts import mixed_words
from keyframe_asr.transcript_parts import Token, Word

MILLISECONDS, MICROSECONDS = 1_000, 1_000_000
"""Ticks per second."""


@dataclass(frozen=True)
class TimedText:
    """A text from tick `start` to tick `end`; `spaced` if there is a space before it."""

    text: str
    start: int
    end: int
    spaced: bool = False


def words_of(transcript: TranscriptLike) -> Sequence[Word]:
    """The words of a transcript; without word times, the words of its text, evenly spaced."""
    if transcript.words or not transcript.text:
        return transcript.words
    texts = mixed_words(transcript.text)
    step = transcript.duration / max(1, len(texts))
    return [Word(text, place * step, (place + 1) * step, 1.0) for place, text in enumerate(texts)]


def normal_words(words: Sequence[Word]) -> list[Word]:
    """The words as they are scored: punctuation alone is none.

    Where one word displayed is several (`twenty-one`), its time is divided by their lengths.
    """
    found: list[Word] = []
    for word in words:
        if word.normal is None:
            found.append(word)
            continue
        texts = mixed_words(word.normal)
        seconds = (word.end - word.start) / max(1, sum(map(len, texts)))
        start = word.start
        for place, text in enumerate(texts, 1):
            end = word.end if place == len(texts) else start + seconds * len(text)
            found.append(Word(text, start, end, word.confidence))
            start = end
    return found


def timed_texts(
    items: Sequence[Word] | Sequence[Token], ticks: int, duration: float, shortest: int
) -> list[TimedText]:
    """Convert words or tokens to ticks, in order, without overlap, at least `shortest` ticks long.

    Times change only where necessary: tokens of the same frame are placed one after another. All
    end within the duration, unless there is no room for their minimum lengths.
    """
    cleaned = [(clean(item.text), item) for item in items]
    raw = [
        TimedText(text, max(0, round(item.start * ticks)), max(0, round(item.end * ticks)))
        for text, item in cleaned
        if text
    ]
    return separated(raw, round(duration * ticks), shortest)


def separated(raw: Sequence[TimedText], total: int, shortest: int) -> list[TimedText]:
    """Move and trim the texts so that none overlap and each has at least `shortest` ticks."""
    starts = [0] * len(raw)
    ends = [0] * len(raw)
    free = 0
    for place, span in enumerate(raw):
        following = raw[place + 1].start if place + 1 < len(raw) else span.end
        starts[place] = max(span.start, free)
        ends[place] = max(min(span.end, following), starts[place] + shortest)
        free = ends[place]
    limit = max(total, shortest * len(raw))
    for place in reversed(range(len(raw))):
        ends[place] = min(ends[place], limit)
        starts[place] = min(starts[place], ends[place] - shortest)
        limit = starts[place]
    return [
        TimedText(span.text, start, end) for span, start, end in zip(raw, starts, ends, strict=True)
    ]


def clean(text: str) -> str:
    """A text as one line: white space collapsed, control characters removed."""
    visible = "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or not _is_control(character)
    )
    return " ".join(visible.split())


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")
