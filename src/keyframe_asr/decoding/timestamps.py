"""Timestamps of tokens and words.

A token starts at the source frame of its keyframe. It ends where the next token starts, or earlier
if the sound ends before. Ends come from the loudness because posteriors do not contain them: CTC is
blank one frame after each spike, however long the token is (measured against espeak-ng's word
times, ends from posteriors are no better than a constant).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keyframe_asr.audio.loudness import SpeechLevel
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.results import Segment, Token, Word
from keyframe_asr.text.scripts import closes, is_unspaced, joins_previous, opens

WORD_BOUNDARY = "▁"
"""Marks the beginning of a word in sentencepiece tokens."""

LONGEST_TOKEN_SECONDS = 0.4
"""Maximum duration of a token where noise hides the end of the sound."""


def timed_tokens(
    hypothesis: Hypothesis,
    frames: Sequence[int],
    frame_seconds: float,
    duration: float,
    piece: Callable[[int], str],
    emission_delay: float = 0.0,
    level: SpeechLevel | None = None,
) -> list[Token]:
    """Tokens with times; start times are non-decreasing and within the recording.

    Args:
        hypothesis: its positions are indices into `frames`.
        frames: source frame of each column; `range(U)` if columns are frames.
        frame_seconds: seconds between consecutive encoder frames.
        duration: of the recording in seconds.
        piece: returns the display form of a token id.
        emission_delay: seconds from the start of a token to its spike, negative if spikes come
            earlier. Constant for trained weights: CTC does not prescribe where within its sound a
            token spikes.
        level: loudness of the recording, used to find the ends of tokens; without it, tokens end at
            the next start or after `LONGEST_TOKEN_SECONDS`.
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
    """End of a token; `limit` is the start of the next token or the end of the recording."""
    sound_end = None if level is None else level.sound_end(start, limit)
    return min(limit, start + LONGEST_TOKEN_SECONDS) if sound_end is None else sound_end


def words(tokens: Sequence[Token], mark: str = WORD_BOUNDARY) -> list[Word]:
    """Join tokens of any tokenizer into words.

    Words are separated by white space or sentencepiece's mark; every character, with its marks, of
    a script without spaces is a word. Punctuation belongs to the word that it stands next to. A
    word spans its first to its last token, and its confidence is the lowest of its tokens. The time
    of a token with several words (sentencepiece on Mandarin) is divided equally among its
    characters, without punctuation.
    """
    found: list[Word] = []
    joins = open_ = False  # the last word may get more letters, or more marks
    for token in tokens:
        symbols = token.text.replace(mark, " ")
        visible = sum(not symbol.isspace() for symbol in symbols)
        spoken = sum(not (symbol.isspace() or closes(symbol)) for symbol in symbols)
        place = 0
        for symbol in symbols:
            if symbol.isspace():
                joins = open_ = False
                continue
            following = place if spoken and closes(symbol) else place + 1
            start, end = (_boundary(token, at, spoken or visible) for at in (place, following))
            place = following
            last_text = found[-1].text if found else ""
            belongs = joins and (not is_unspaced(symbol) or opens(last_text))
            if belongs or (open_ and (closes(symbol) or joins_previous(symbol, last_text))):
                last = found[-1]
                confidence = min(last.confidence, token.confidence)
                found[-1] = Word(last.text + symbol, last.start, end, confidence)
                joins = joins and not (belongs and is_unspaced(symbol))
            else:
                found.append(Word(symbol, start, end, token.confidence))
                joins = not is_unspaced(symbol)
            open_ = True
    return found


def segments_of(text: str, tokens: Sequence[Token]) -> list[Segment]:
    """One segment from the first to the last word; none without words."""
    found = words(tokens)
    return [Segment(text, found[0].start, found[-1].end, list(tokens), found)] if found else []


def _boundary(token: Token, place: int, parts: int) -> float:
    """Start of part number `place` when the token's time is divided into equal parts."""
    if place == parts:
        return token.end
    return token.start + (token.end - token.start) * place / parts
