"""When each token was said: it starts at the source frame of the keyframe it was found at.

It ends where the next one starts, or earlier if the sound ends before. The sound decides because
the posteriors do not know: CTC is blank a frame after each spike, however long the token goes on
(measured against espeak-ng's word times, ends from posteriors are no better than a constant).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keyframe_asr.audio.loudness import SpeechLevel
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.results import Segment, Token, Word
from keyframe_asr.text.forms import is_han

WORD_BOUNDARY = "▁"
"""Begins a word in sentencepiece's pieces."""

LONGEST_TOKEN_SECONDS = 0.4
"""Where noise hides the end of a sound, a token ends at most so long after its start."""


def timed_tokens(
    hypothesis: Hypothesis,
    frames: Sequence[int],
    frame_seconds: float,
    duration: float,
    piece: Callable[[int], str],
    emission_delay: float = 0.0,
    level: SpeechLevel | None = None,
) -> list[Token]:
    """One token per id, start times non-decreasing and within the recording.

    Args:
        hypothesis: its positions say which entry of `frames` each token was found at.
        frames: source frame of each column; `range(U)` where columns are frames.
        frame_seconds: seconds between two encoder frames.
        duration: of the recording in seconds.
        piece: display form of a token id.
        emission_delay: seconds from the start of a token to its spike, negative where spikes come
            before it: a steady property of trained weights, since CTC does not care where within
            its sound a token spikes.
        level: how loud the recording is, which tells where tokens end; without it they end at the
            next start, or after `LONGEST_TOKEN_SECONDS`.
    """
    starts: list[float] = []
    for position in hypothesis.positions:
        start = max(frames[position] * frame_seconds - emission_delay, 0.0)
        starts.append(max(min(start, duration), starts[-1] if starts else 0.0))
    following = [*starts[1:], duration] if starts else []
    ends = [_end(start, limit, level) for start, limit in zip(starts, following, strict=True)]
    return [
        Token(piece(token), start, end, min(1.0, max(0.0, confidence)))
        for token, start, end, confidence in zip(
            hypothesis.tokens, starts, ends, hypothesis.confidences, strict=True
        )
    ]


def _end(start: float, limit: float, level: SpeechLevel | None) -> float:
    """Between the start and the limit, which is the next start or the end of the recording."""
    heard = None if level is None else level.sound_end(start, limit)
    return min(limit, start + LONGEST_TOKEN_SECONDS) if heard is None else heard


def words(tokens: Sequence[Token], mark: str = WORD_BOUNDARY) -> list[Word]:
    """Tokens as words, whatever kind of tokenizer they are of.

    A word ends at white space or sentencepiece's mark; every Han character is a word of its own.
    A word starts with its first token, ends with its last and is as certain as the least certain
    of them. A token with several words in it (sentencepiece on Mandarin) gives its time to its
    characters in equal parts. Texts of the words are those of the recognised text.
    """
    found: list[Word] = []
    joins = False
    for token in tokens:
        symbols = token.text.replace(mark, " ")
        visible = sum(not symbol.isspace() for symbol in symbols)
        place = 0
        for symbol in symbols:
            if symbol.isspace():
                joins = False
                continue
            start, end = _share(token, place, visible), _share(token, place + 1, visible)
            place += 1
            if joins and not is_han(symbol):
                last = found[-1]
                confidence = min(last.confidence, token.confidence)
                found[-1] = Word(last.text + symbol, last.start, end, confidence)
            else:
                found.append(Word(symbol, start, end, token.confidence))
            joins = not is_han(symbol)
    return found


def segments_of(text: str, tokens: Sequence[Token]) -> list[Segment]:
    """What was recognised at once as a segment, from its first word to its last; none if empty."""
    said = words(tokens)
    return [Segment(text, said[0].start, said[-1].end, list(tokens), said)] if said else []


def _share(token: Token, place: int, parts: int) -> float:
    """Where the part of that number begins, if the token's time is cut into equal parts."""
    if place == parts:
        return token.end
    return token.start + (token.end - token.start) * place / parts
