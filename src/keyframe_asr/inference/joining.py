"""The transcripts of a recording's stretches put together, nothing lost and nothing twice.

Stretches that meet in a pause share no audio: their texts follow one another. Stretches that meet
at a cut within speech both heard what is around it: of the tokens there, the first gives those
that start before the cut and the second the others, and a token that falls to both or to neither
because its two times differ a little is kept once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from keyframe_asr.inference.segmentation import Span
from keyframe_asr.results import Segment, Token, Transcript, Word
from keyframe_asr.timing import SAMPLE_RATE

JITTER_SECONDS = 0.2
"""By so much the times may differ that two stretches give for one token."""

JITTERING_TOKENS = 3
"""More tokens than that are not said within that time."""

_WORD_BOUNDARY = "▁"

Timed = TypeVar("Timed", Token, Word)


@dataclass(frozen=True)
class Recognised:
    """What was found in a stretch; times of `transcript` count from where it is heard."""

    span: Span
    transcript: Transcript


def join_stretches(parts: Sequence[Recognised], duration: float) -> Transcript:
    """One transcript of a recording of `duration` seconds, in the recording's own times.

    `frame_reduction` is that of the stretches together, each by its length.
    """
    tokens = [_in_recording(part.transcript.tokens, part.span, duration) for part in parts]
    kept = _kept(parts, tokens)
    segments: list[Segment] = []
    raw, latest = "", 0.0
    for part, own, (first, last) in zip(parts, tokens, kept, strict=True):
        text = part.transcript.text
        if part.span.continued or last < len(own) or first > 0:
            text = "".join(token.text for token in own[first:last]).replace(_WORD_BOUNDARY, " ")
        if not text.strip():
            continue
        raw += text if part.span.continued else _separator(raw, text) + text
        words = _in_recording(part.transcript.words, part.span, duration)
        said = _ordered(own[first:last], latest)
        words = _ordered(_words_of(words, own, first, last), latest)
        if segments:
            segments[-1] = _ended_by(segments[-1], said[0].start)
        segments.append(segment_of(" ".join(text.split()), said, words))
        latest = max([one.start for one in said] + [one.start for one in words])
    return Transcript(
        text=" ".join(raw.split()),
        tokens=[token for segment in segments for token in segment.tokens],
        duration=duration,
        frame_reduction=_reduction(parts),
        words=[word for segment in segments for word in segment.words],
        segments=segments,
    )


def segment_of(text: str, tokens: list[Token], words: list[Word]) -> Segment:
    """A segment from the start of what was said in it to its end; there must be something."""
    said: Sequence[Token] | Sequence[Word] = words or tokens
    return Segment(text, said[0].start, said[-1].end, tokens, words)


def _in_recording(timed: Sequence[Timed], span: Span, duration: float) -> list[Timed]:
    offset = span.heard / SAMPLE_RATE
    return [
        replace(one, start=min(one.start + offset, duration), end=min(one.end + offset, duration))
        for one in timed
    ]


def _kept(parts: Sequence[Recognised], tokens: Sequence[list[Token]]) -> list[tuple[int, int]]:
    """For each stretch the first of its tokens that is kept, and the first after them."""
    kept = [(0, len(own)) for own in tokens]
    for place in range(1, len(parts)):
        if parts[place].span.continued:
            cut = parts[place].span.start / SAMPLE_RATE
            last, first = _at_cut(tokens[place - 1], tokens[place], cut)
            begin = kept[place - 1][0]
            kept[place - 1] = (begin, max(begin, last))
            kept[place] = (first, len(tokens[place]))
    return kept


def _at_cut(left: Sequence[Token], right: Sequence[Token], cut: float) -> tuple[int, int]:
    """How many tokens of the left stretch are kept, and from which on those of the right."""
    last = sum(token.start < cut for token in left)
    first = sum(token.start < cut for token in right)
    for number in range(JITTERING_TOKENS, 0, -1):
        if _same(left[last - number : last], right[first : first + number], number):
            return last, first + number  # both have them
        if _same(left[last : last + number], right[first - number : first], number):
            return last + number, first  # neither has
    return last, first


def _same(left: Sequence[Token], right: Sequence[Token], number: int) -> bool:
    return len(left) == len(right) == number and all(
        one.text == other.text and abs(one.start - other.start) <= JITTER_SECONDS
        for one, other in zip(left, right, strict=True)
    )


def _words_of(words: Sequence[Word], tokens: Sequence[Token], first: int, last: int) -> list[Word]:
    """Words that begin among the tokens kept; a word across a cut is the left stretch's."""
    begin = tokens[first].start if 0 < first < len(tokens) else float("-inf")
    end = tokens[last].start if last < len(tokens) else float("inf")
    return [word for word in words if begin <= word.start < end]


def _ordered(timed: Sequence[Timed], latest: float) -> list[Timed]:
    """The same, none starting before `latest` or ending before it starts."""
    found = []
    for one in timed:
        if one.start < latest:
            one = replace(one, start=latest, end=max(one.end, latest))
        found.append(one)
    return found


def _ended_by(segment: Segment, limit: float) -> Segment:
    """The segment with its last token and word ending when the next segment begins."""
    tokens = [replace(one, end=min(one.end, limit)) for one in segment.tokens]
    words = [replace(one, end=max(one.start, min(one.end, limit))) for one in segment.words]
    return segment_of(segment.text, tokens, words)


def _separator(before: str, after: str) -> str:
    """A space, except where Chinese characters meet."""
    return "" if _is_chinese(before.rstrip()[-1:]) and _is_chinese(after.lstrip()[:1]) else " "


def _is_chinese(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff"


def _reduction(parts: Sequence[Recognised]) -> float:
    seconds = sum(part.transcript.duration for part in parts)
    dropped = sum(part.transcript.frame_reduction * part.transcript.duration for part in parts)
    return dropped / seconds if seconds else 0.0
