"""Which tokens of an utterance that is still being spoken will stay: local agreement.

An encoder that looks at everything reads an utterance anew each time more of it has been heard, and
may change what it read before. What two consecutive readings have in common from the start is
committed (LocalAgreement-2: Liu, Spanakis and Niehues, Interspeech 2020, arXiv 2005.11185;
Macháček, Dabre and Bojar, 2023, arXiv 2307.14743, "whisper_streaming"). Committed tokens never
change.

Deviations: case and punctuation need not agree, since a decoder ends every reading with a full
stop. And a later reading may contradict what is committed; which of its tokens are new is then
decided by edit distance, where whisper_streaming compares times and n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from keyframe_asr.inference.joining import letters
from keyframe_asr.results import Token

JITTER_SECONDS = 0.2
"""Largest difference between the times of one token in two readings."""


@dataclass(frozen=True)
class Agreement:
    """What is known of the tokens of an utterance.

    Attributes:
        committed: tokens that stay.
        rest: those that follow in the latest reading, and may change.
    """

    committed: tuple[Token, ...] = ()
    rest: tuple[Token, ...] = ()

    def with_reading(self, reading: Sequence[Token]) -> Agreement:
        """Return the agreement after another reading of the utterance so far."""
        rest = following(self.committed, reading)
        pairs = zip(self.rest, rest, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: letters(pair[0]) == letters(pair[1]), pairs))
        return Agreement(self.committed + _in_order(self.committed, rest[:same]), rest[same:])

    def all_committed(self) -> Agreement:
        """Return the agreement after a reading that is the same as the latest."""
        return Agreement(self.committed + _in_order(self.committed, self.rest))


def following(committed: Sequence[Token], reading: Sequence[Token]) -> tuple[Token, ...]:
    """Return the tokens of a reading that come after those committed.

    Its beginning is the one with the smallest edit distance to what is committed: of several the
    longest that does not reach beyond the last committed token in time.
    """
    known, read = [*map(letters, committed)], [*map(letters, reading)]
    if read[: len(known)] == known:
        return tuple(reading[len(known) :])
    distances = list(range(len(reading) + 1))
    for row, token in enumerate(known, start=1):
        before, distances[0] = distances[0], row
        for column, other in enumerate(read, start=1):
            cost = before + (token != other)
            before = distances[column]
            distances[column] = min(cost, before + 1, distances[column - 1] + 1)
    nearest = [place for place, one in enumerate(distances) if one == min(distances)]
    until = committed[-1].start + JITTER_SECONDS
    heard = [place for place in nearest if not place or reading[place - 1].start <= until]
    return tuple(reading[max(heard, default=nearest[0]) :])


def _in_order(committed: Sequence[Token], new: Sequence[Token]) -> tuple[Token, ...]:
    """Move starts before the last committed one to it: times of two readings differ a little."""
    latest = committed[-1].start if committed else 0.0
    return tuple(
        replace(one, start=latest, end=max(one.end, latest)) if one.start < latest else one
        for one in new
    )
