"""Subtitles: SRT (SubRip) and WebVTT (W3C), with cues that follow the rules of subtitle editors.

A cue has at most two lines of 42 columns, or of 32 (16 Han characters, each two columns wide) if
they contain wide characters. Cues are 0.8 to 7 seconds long and two frames apart as far as the
speech allows, and never overlap. A new cue begins at a pause, and already at a short one after a
sentence. Without a pause, it begins at the longest gap between words in the second half of the
words that fit, if possible after punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from keyframe_asr.formats.source import Source, TranscriptLike
from keyframe_asr.formats.timed_text import (
    MILLISECONDS,
    TimedText,
    clean,
    separated,
    timed_texts,
    words_of,
)
from keyframe_asr.text.scripts import closes, clusters, opens, spaces_before

COLUMNS, WIDE_COLUMNS = 42, 32
"""Maximum width of a line; the smaller limit is for lines with any wide (Han) character."""

SHORTEST, LONGEST = 800, 7_000
"""Minimum and maximum duration of a cue in milliseconds."""

FRAME_GAP = 84
"""Milliseconds between two cues: two frames at 24 frames per second, the lowest common rate."""

PAUSE, LONG_PAUSE = 500, 1_500
"""Milliseconds of silence: the first ends a cue of sufficient length, the second any cue."""

SENTENCE_PAUSE = 200
"""Milliseconds of silence that end a cue of sufficient length after the end of a sentence; less may
follow an abbreviation."""

FLASH = 40
"""Milliseconds of one video frame: the absolute minimum duration of a cue."""


PUNCTUATION_COLUMNS = 8
"""A line that ends with punctuation is worth this much more difference between the two lines."""

_SENTENCE_ENDS = frozenset(".!?…。．！？")
_CLAUSE_ENDS = _SENTENCE_ENDS | frozenset(",;:，、；：")
_ABBREVIATION = re.compile(r"[A-Z][a-z]{0,2}\.")
"""Such as `Mr.`, after which no sentence ends."""

_CLOSING_QUOTES = "\"'”’»)）」』》】"

_NO_LINE_START = frozenset("ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶー々ゝゞヽヾ")
"""Small kana and marks that repeat or lengthen the character before them."""

_NO_LINE_END = frozenset("เแโใไເແໂໃໄ")
"""Vowels of Thai and Lao that are written before their consonant."""

_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class Cue:
    """One or two lines of text, shown from `start` to `end` in milliseconds."""

    lines: tuple[str, ...]
    start: int
    end: int


def to_srt(transcript: TranscriptLike, source: Source) -> str:
    """Numbered cues; "" without words.

    SRT has no escaping, so the arrow `-->` in a text is replaced.
    """
    del source
    blocks = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_srt_text(cue)}\n"
        for number, cue in enumerate(cues_of(transcript), 1)
    ]
    return "\n".join(blocks)


def to_vtt(transcript: TranscriptLike, source: Source) -> str:
    """The header and the cues, with markup characters escaped."""
    del source
    blocks = ["WEBVTT\n"]
    for cue in cues_of(transcript):
        text = "\n".join(cue.lines).translate(_VTT_ESCAPES)
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{text}\n")
    return "\n".join(blocks)


def cues_of(transcript: TranscriptLike) -> list[Cue]:
    """The cues of a transcript in temporal order, without overlap."""
    duration = transcript.duration
    timed = timed_texts(words_of(transcript), MILLISECONDS, duration, shortest=1)
    spaces = spaces_before([word.text for word in timed], clean(transcript.text))
    words = [
        part
        for word, spaced in zip(timed, spaces, strict=True)
        for part in _split_to_lines(replace(word, spaced=spaced))
    ]
    groups = _groups(_unbroken(words))
    cues = [Cue(tuple(wrapped(group)), group[0].start, group[-1].end) for group in groups]
    return _timed(cues, round(duration * MILLISECONDS))


def width(text: str) -> int:
    """Columns of a text: two for wide characters, none for combining characters."""
    return sum(
        0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else 1 + _is_wide(character)
        for character in text
    )


def wrapped(words: Sequence[TimedText]) -> list[str]:
    """One line if the words fit, else two lines of similar width; empty if they do not fit.

    The first of two lines rather ends with punctuation than elsewhere.
    """
    whole = _joined(words)
    if width(whole) <= _limit(whole):
        return [whole]
    pairs = [[_joined(words[:place]), _joined(words[place:])] for place in range(1, len(words))]
    fitting = [pair for pair in pairs if all(width(line) <= _limit(line) for line in pair)]

    def longer(pair: list[str]) -> int:
        return max(map(width, pair)) - PUNCTUATION_COLUMNS * _ends(pair[0], _CLAUSE_ENDS)

    return min(fitting, key=longer, default=[])


def _groups(words: Sequence[TimedText]) -> list[list[TimedText]]:
    """Group the words into cues."""
    groups: list[list[TimedText]] = []
    group: list[TimedText] = []
    for word in words:
        if group and _is_pause(group, word):
            groups.append(group)
            group = []
        group.append(word)
        if len(group) > 1 and not _fits(group):
            place = _longest_gap(group)
            groups.append(group[:place])
            group = group[place:]
    return [*groups, group] if group else groups


def _unbroken(words: Sequence[TimedText]) -> list[TimedText]:
    """Join the words between which no line may break, where there is no space."""
    joined: list[TimedText] = []
    for word in words:
        before = joined[-1] if joined else None
        if before is not None and not word.spaced:
            kept = word.text[0] in _NO_LINE_START or before.text[-1] in _NO_LINE_END
            kept = kept or closes(word.text[0]) or opens(before.text[-1])
            both = before.text + word.text
            if kept and width(both) <= _limit(both):
                joined[-1] = replace(before, text=both, end=word.end)
                continue
        joined.append(word)
    return joined


def _is_pause(group: Sequence[TimedText], word: TimedText) -> bool:
    silence = word.start - group[-1].end
    long_enough = word.start - FRAME_GAP - group[0].start >= SHORTEST
    pause = SENTENCE_PAUSE if _ends(group[-1].text, _SENTENCE_ENDS) else PAUSE
    return silence >= LONG_PAUSE or (silence >= pause and long_enough)


def _ends(text: str, marks: frozenset[str]) -> bool:
    return text.rstrip(_CLOSING_QUOTES)[-1:] in marks


def _fits(group: Sequence[TimedText]) -> bool:
    return group[-1].end - group[0].start <= LONGEST and bool(wrapped(group))


def _longest_gap(group: Sequence[TimedText]) -> int:
    """Index at which to split a group that no longer fits, never before its middle.

    After a sentence or else a clause, if one ends there.
    """
    last = len(group) - 1
    places = [
        place
        for place in range(max(1, len(group) // 2), len(group))
        if place == last or _fits(group[place:])
    ]

    def preferred(place: int) -> tuple[bool, bool, int, int]:
        before = group[place - 1]
        clause = _ends(before.text, _CLAUSE_ENDS)
        sentence = _ends(before.text, _SENTENCE_ENDS) and not _ABBREVIATION.fullmatch(before.text)
        return sentence, clause, group[place].start - before.end, place

    return max(places, key=preferred)


def _timed(cues: Sequence[Cue], total: int) -> list[Cue]:
    """Adjust the times: readable durations and gaps, within the recording if there is room."""
    apart = separated([TimedText("", cue.start, cue.end) for cue in cues], total, FLASH)
    timed: list[Cue] = []
    for place, (cue, span) in enumerate(zip(cues, apart, strict=True)):
        following = apart[place + 1].start if place + 1 < len(apart) else None
        latest = max(total, span.end) if following is None else following
        gapped = latest if following is None else following - FRAME_GAP
        end = max(span.end, span.start + SHORTEST)
        end = min(end, max(gapped, span.start + SHORTEST), span.start + LONGEST, latest)
        start = span.start
        if end - start < SHORTEST:  # no room at the end: show the cue before the speech
            free = timed[-1].end + FRAME_GAP if timed else 0
            start = min(start, max(free, end - SHORTEST))
        timed.append(replace(cue, start=start, end=end))
    return timed


def _split_to_lines(word: TimedText) -> list[TimedText]:
    """Split a word that is longer than a line, dividing its time evenly."""
    parts: list[str] = [""]
    for character in clusters(word.text):
        longer = parts[-1] + character
        if parts[-1] and width(longer) > _limit(longer):
            parts.append(character)
        else:
            parts[-1] = longer
    times = [word.start + (word.end - word.start) * n // len(parts) for n in range(len(parts) + 1)]
    return [
        TimedText(part, times[place], times[place + 1], word.spaced and not place)
        for place, part in enumerate(parts)
    ]


def _joined(words: Sequence[TimedText]) -> str:
    return "".join(f" {word.text}" if word.spaced else word.text for word in words).strip()


def _limit(line: str) -> int:
    return WIDE_COLUMNS if any(map(_is_wide, line)) else COLUMNS


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _srt_text(cue: Cue) -> str:
    return "\n".join(cue.lines).replace("-->", "→")


def _clock(milliseconds: int, separator: str) -> str:
    """Format as hours, minutes, seconds and milliseconds: 00:01:02,345."""
    seconds, rest = divmod(milliseconds, MILLISECONDS)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{separator}{rest:03}"
