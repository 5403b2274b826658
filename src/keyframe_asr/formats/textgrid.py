"""Praat TextGrid (long form, UTF-8) with interval tiers of words and tokens."""

from __future__ import annotations

from collections.abc import Sequence

from keyframe_asr.formats.source import Source, TranscriptLike
from keyframe_asr.formats.timed_text import (
    MICROSECONDS,
    TimedText,
    normal_words,
    timed_texts,
    words_of,
)
from keyframe_asr.transcript_parts import Token, Word

SHORTEST = MICROSECONDS // 1000
"""Minimum length of an interval in ticks; Praat rejects empty intervals."""


def to_textgrid(transcript: TranscriptLike, source: Source) -> str:
    """Both tiers cover 0 to the duration without gaps; intervals without speech have no text.

    Words are those that are scored, tokens those that were written.
    """
    del source
    found = {
        "words": _intervals(normal_words(words_of(transcript)), transcript.duration),
        "tokens": _intervals(transcript.tokens, transcript.duration),
    }
    total = max(round(transcript.duration * MICROSECONDS), SHORTEST)
    total = max(total, *(tier[-1].end if tier else 0 for tier in found.values()))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_seconds(total)}",
        "tiers? <exists>",
        f"size = {len(found)}",
        "item []:",
    ]
    for number, (name_of_tier, spans) in enumerate(found.items(), 1):
        lines += [f"    item [{number}]:", *_tier(name_of_tier, _gapless(spans, total), total)]
    return "\n".join(lines) + "\n"


def _intervals(items: Sequence[Word] | Sequence[Token], duration: float) -> list[TimedText]:
    return timed_texts(items, MICROSECONDS, duration, SHORTEST)


def _gapless(spans: Sequence[TimedText], total: int) -> list[TimedText]:
    """Fill the gaps between spans with empty intervals."""
    filled: list[TimedText] = []
    free = 0
    for span in spans:
        if span.start > free:
            filled.append(TimedText("", free, span.start))
        filled.append(span)
        free = span.end
    if free < total:
        filled.append(TimedText("", free, total))
    return filled


def _tier(name: str, intervals: Sequence[TimedText], total: int) -> list[str]:
    lines = [
        '        class = "IntervalTier"',
        f'        name = "{name}"',
        "        xmin = 0",
        f"        xmax = {_seconds(total)}",
        f"        intervals: size = {len(intervals)}",
    ]
    for number, span in enumerate(intervals, 1):
        quoted = span.text.replace('"', '""')
        lines += [
            f"        intervals [{number}]:",
            f"            xmin = {_seconds(span.start)}",
            f"            xmax = {_seconds(span.end)}",
            f'            text = "{quoted}"',
        ]
    return lines


def _seconds(ticks: int) -> str:
    return f"{ticks / MICROSECONDS:.6f}".rstrip("0").rstrip(".")
