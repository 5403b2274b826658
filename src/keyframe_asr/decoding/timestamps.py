"""When each token was said: the source frame of the keyframe it was found at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.results import Token

LONGEST_TOKEN_SECONDS = 0.4
"""A token followed by a pause or by nothing is taken to end at most so long after its start."""


def timed_tokens(
    hypothesis: Hypothesis,
    frames: Sequence[int],
    frame_seconds: float,
    duration: float,
    piece: Callable[[int], str],
    spike_lead: float = 0.0,
) -> list[Token]:
    """One token per id, start times non-decreasing and within the recording.

    Args:
        hypothesis: its positions say which entry of `frames` each token was found at.
        frames: source frame of each column; `range(U)` where columns are frames.
        frame_seconds: seconds between two encoder frames.
        duration: of the recording in seconds.
        piece: display form of a token id.
        spike_lead: seconds that spikes lie before the start of their tokens: a steady property of
            trained weights, since CTC does not care where within its sound a token spikes.
    """
    starts: list[float] = []
    for position in hypothesis.positions:
        start = max(frames[position] * frame_seconds + spike_lead, 0.0)
        starts.append(max(min(start, duration), starts[-1] if starts else 0.0))
    ends = (
        [
            min(following, start + LONGEST_TOKEN_SECONDS)
            for start, following in zip(starts, [*starts[1:], duration], strict=True)
        ]
        if starts
        else []
    )
    return [
        Token(piece(token), start, end, min(1.0, max(0.0, confidence)))
        for token, start, end, confidence in zip(
            hypothesis.tokens, starts, ends, hypothesis.confidences, strict=True
        )
    ]


def words(tokens: Sequence[Token], mark: str = "▁") -> list[Token]:
    """Join sentencepiece pieces into words: a piece that begins with the mark begins a word.

    A word starts with its first piece, ends with its last and is as certain as the least certain
    piece. Marks alone (a piece without letters) make no word of their own.
    """
    grouped: list[list[Token]] = []
    for token in tokens:
        if token.text.startswith(mark) or not grouped:
            grouped.append([])
        grouped[-1].append(token)
    joined = [
        Token(
            "".join(piece.text for piece in pieces).replace(mark, ""),
            pieces[0].start,
            pieces[-1].end,
            min(piece.confidence for piece in pieces),
        )
        for pieces in grouped
    ]
    return [word for word in joined if word.text]
