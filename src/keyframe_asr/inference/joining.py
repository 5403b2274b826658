"""Join the transcripts of a recording's segments.

Segments that meet in a pause share no audio, and their texts are concatenated. Segments that meet
at a cut within speech overlap. The first contributes the tokens that start before the cut, the
second the others. A token that both or neither would contribute, because its two times differ
slightly, is kept once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

from keyframe_asr.config.text_choices import Separation
from keyframe_asr.decoding.timestamps import WORD_BOUNDARY, segments_of
from keyframe_asr.inference.segmentation import SegmentBounds
from keyframe_asr.results import Segment, Token, Transcript, Word
from keyframe_asr.text.scripts import is_unspaced, joins_previous, mixed_text
from keyframe_asr.timing import SAMPLE_RATE

JITTER_SECONDS = 0.2
"""Largest difference between the times of one token in two segments."""

JITTERING_TOKENS = 3
"""Largest number of tokens spoken within that time."""

LONGEST_REST_SECONDS = 2.0
"""Tokens of a word that is cut start at most this long after its last token before the cut."""


Part = TypeVar("Part", Token, Word, Segment)


@dataclass(frozen=True)
class RecognisedSegment:
    """The transcript of a segment, with times relative to the start of the segment's audio."""

    bounds: SegmentBounds
    transcript: Transcript


def join_segments(
    parts: Sequence[RecognisedSegment], duration: float, separation: Separation = "spaces"
) -> Transcript:
    """Join segments to one transcript of a recording of `duration` seconds.

    Times are relative to the recording. `frame_reduction` is the mean over the segments, weighted
    by duration. A word that begins in one segment and ends in the next belongs to the first.
    `separation` says what separates words in the text form of the model.
    """
    tokens = [_in_recording(part.transcript.tokens, part.bounds, duration) for part in parts]
    segments: list[Segment] = []
    within: list[bool] = []  # True if a segment begins at a cut within speech
    latest = 0.0
    for part, own, (first, last) in zip(parts, tokens, _kept(parts, tokens), strict=True):
        kept = _ordered(own[first:last], latest)
        if not _text(kept).strip():
            continue
        latest = kept[-1].start
        if segments:
            segments[-1] = _ended_by(segments[-1], kept[0].start, separation)
        if segments and part.bounds.continued:
            before = segments[-1]
            finishing = _finishing(before.tokens, kept)
            if finishing:
                longer = [*before.tokens, *kept[:finishing]]
                segments[-1] = spoken(longer, separation, before.language)
                kept = kept[finishing:]
        if kept:
            segments.append(spoken(kept, separation, part.transcript.language))
            within.append(part.bounds.continued)
    return Transcript(
        text=_joined(segments, within, separation),
        tokens=[token for segment in segments for token in segment.tokens],
        duration=duration,
        frame_reduction=_reduction(parts),
        words=[word for segment in segments for word in segment.words],
        segments=segments,
        language=_most_spoken(segments),
        keyframes=[time for part in parts for time in _keyframes(part, duration)],
    )


def _keyframes(part: RecognisedSegment, duration: float) -> list[float]:
    """Return the times of a segment's keyframes, without those of its overlap."""
    bounds = part.bounds
    offset, last = bounds.audio_start / SAMPLE_RATE, min(bounds.end / SAMPLE_RATE, duration)
    times = [time + offset for time in part.transcript.keyframes]
    return [time for time in times if bounds.start / SAMPLE_RATE <= time < last]


def spoken(tokens: list[Token], separation: Separation, language: str | None = None) -> Segment:
    """Return the segment of these tokens, whose text must not be empty."""
    (segment,) = segments_of(text_of(tokens, separation), tokens)
    return replace(segment, language=language)


def text_of(tokens: Sequence[Token], separation: Separation) -> str:
    """Return the text of these tokens."""
    words = _text(tokens).split()
    return mixed_text(words) if separation == "mixed" else " ".join(words)


def in_stream(transcript: Transcript, seconds: float) -> Transcript:
    """Return a transcript whose times are later by `seconds`."""
    segments = [
        replace(one, tokens=later(one.tokens, seconds), words=later(one.words, seconds))
        for one in later(transcript.segments, seconds)
    ]
    return replace(
        transcript,
        tokens=later(transcript.tokens, seconds),
        words=later(transcript.words, seconds),
        segments=segments,
        keyframes=[time + seconds for time in transcript.keyframes],
    )


def later(parts: Sequence[Part], seconds: float) -> list[Part]:
    """Return parts of a transcript whose times are later by `seconds`."""
    return [replace(one, start=one.start + seconds, end=one.end + seconds) for one in parts]


def _most_spoken(segments: Sequence[Segment]) -> str | None:
    """Return the language of most seconds of speech."""
    seconds: dict[str, float] = {}
    for segment in segments:
        if segment.language is not None:
            before = seconds.get(segment.language, 0.0)
            seconds[segment.language] = before + segment.end - segment.start
    return max(seconds, key=seconds.__getitem__, default=None)


def _text(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens).replace(WORD_BOUNDARY, " ")


def _finishing(before: Sequence[Token], after: Sequence[Token]) -> int:
    """Return how many tokens after a cut belong to the word begun before it."""
    for number, (one, other) in enumerate(pairwise([before[-1], *after])):
        if other.start - before[-1].start > LONGEST_REST_SECONDS or words_part(one, other):
            return number
    return len(after)


def words_part(one: Token, other: Token) -> bool:
    """True if a word ends between two successive tokens."""
    joint = _at_joint(one, other)
    separate = any(map(str.isspace, joint)) or any(map(is_unspaced, joint))
    return separate and not joins_previous(joint[1], joint[0])


def _in_recording(tokens: Sequence[Token], bounds: SegmentBounds, duration: float) -> list[Token]:
    offset = bounds.audio_start / SAMPLE_RATE
    return [
        replace(one, start=min(one.start + offset, duration), end=min(one.end + offset, duration))
        for one in tokens
    ]


def _kept(
    parts: Sequence[RecognisedSegment], tokens: Sequence[list[Token]]
) -> list[tuple[int, int]]:
    """Return the range [first, stop) of tokens that is kept of each segment."""
    kept = [(0, len(own)) for own in tokens]
    for index in range(1, len(parts)):
        if parts[index].bounds.continued:
            cut = parts[index].bounds.start / SAMPLE_RATE
            last, first = _at_cut(tokens[index - 1], tokens[index], cut)
            begin = kept[index - 1][0]
            kept[index - 1] = (begin, max(begin, last))
            kept[index] = (first, len(tokens[index]))
    return kept


def _at_cut(left: Sequence[Token], right: Sequence[Token], cut: float) -> tuple[int, int]:
    """Return how many tokens of the left segment and which first token of the right to keep."""
    last = sum(token.start < cut for token in left)
    first = sum(token.start < cut for token in right)
    for number in range(JITTERING_TOKENS, 0, -1):
        if _same(left[last - number : last], right[first : first + number], number):
            return last, first + number  # both would keep them
        if _same(left[last : last + number], right[first - number : first], number):
            return last + number, first  # neither would
    return last, first


def _same(left: Sequence[Token], right: Sequence[Token], number: int) -> bool:
    return len(left) == len(right) == number and all(
        letters(one) == letters(other) and abs(one.start - other.start) <= JITTER_SECONDS
        for one, other in zip(left, right, strict=True)
    )


def letters(token: Token) -> str:
    """Return what tells tokens apart: a decoder writes either case and punctuation at a cut."""
    text = token.text.casefold()
    return "".join(one for one in text if one.isalnum()) or text


def _ordered(tokens: Sequence[Token], latest: float) -> list[Token]:
    """Move starts before `latest` to `latest`, and ends along with them."""
    return [
        replace(one, start=latest, end=max(one.end, latest)) if one.start < latest else one
        for one in tokens
    ]


def _ended_by(segment: Segment, limit: float, separation: Separation) -> Segment:
    """Limit the ends of a segment's tokens to the start of the next segment."""
    tokens = [replace(one, end=min(one.end, limit)) for one in segment.tokens]
    return spoken(tokens, separation, segment.language)


def _joined(segments: Sequence[Segment], within: Sequence[bool], separation: Separation) -> str:
    """Concatenate the texts of segments; a cut within text without spaces adds none."""
    if separation == "mixed":
        return mixed_text([segment.text for segment in segments])
    text = ""
    for number, segment in enumerate(segments):
        joint = _at_joint(segments[number - 1].tokens[-1], segment.tokens[0]) if number else ""
        goes_on = within[number] and not any(map(str.isspace, joint))
        unspaced = not number or separation == "none" or (goes_on and any(map(is_unspaced, joint)))
        text += segment.text if unspaced else f" {segment.text}"
    return text


def _at_joint(one: Token, other: Token) -> tuple[str, str]:
    """Return the last symbol of a token and the first of the next."""
    return _text([one])[-1:], _text([other])[:1]


def _reduction(parts: Sequence[RecognisedSegment]) -> float:
    seconds = sum(part.transcript.duration for part in parts)
    dropped = sum(part.transcript.frame_reduction * part.transcript.duration for part in parts)
    return dropped / seconds if seconds else 0.0
