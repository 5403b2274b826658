"""One guess at the tokens of an utterance, and where in time each token was found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of tokens with its score.

    Attributes:
        tokens: ids without blank and end of sentence.
        score: log-probability of the sequence under whatever produced it, at most 0.
        positions: for each token the column of the log-probabilities it was found at,
            non-decreasing; empty where the search does not know (attention decoder).
        confidences: for each token its probability, in [0, 1].
    """

    tokens: tuple[int, ...] = ()
    score: float = 0.0
    positions: tuple[int, ...] = ()
    confidences: tuple[float, ...] = ()


EMPTY = Hypothesis()
"""Nothing was said."""
