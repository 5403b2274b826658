"""TextGrid of Praat, long form, UTF-8: an interval tier of words and one of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from keyframe_asr.formats.timed_text import MICROSECONDS, TimedText, timed_texts, words_of
from keyframe_asr.results import Token, Transcript, Word

SHORTEST = MICROSECONDS // 1000
"""Praat wants intervals to have a length; tokens of one frame have none."""


def to_textgrid(transcript: Transcript, name: str) -> str:
    """Both tiers from 0 to the duration without gaps: where nothing is said, the text is empty."""
    del name
    found = {
        "words": _intervals(words_of(transcript), transcript.duration),
        "tokens": _intervals(transcript.tokens, transcript.duration),
    }
    total = max(round(transcript.duration * MICROSECONDS), SHORTEST)
    total = max(total, *(one[-1].end if one else 0 for one in found.values()))
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
    for number, (tier, said) in enumerate(found.items(), 1):
        lines += [f"    item [{number}]:", *_tier(tier, _gapless(said, total), total)]
    return "\n".join(lines) + "\n"


def _intervals(items: Sequence[Word] | Sequence[Token], duration: float) -> list[TimedText]:
    return timed_texts(items, MICROSECONDS, duration, SHORTEST)


def _gapless(said: Sequence[TimedText], total: int) -> list[TimedText]:
    """With an empty interval wherever there is none; a rounding error of time is no gap."""
    filled: list[TimedText] = []
    free = 0
    for span in said:
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
