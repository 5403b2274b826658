"""Hypothesis: a recognised token sequence with scores, positions and confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from keyframe_asr.decoding.arrays import Integers, inside_lengths
from keyframe_asr.text.tokenizer import BLANK


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of tokens with its score.

    Attributes:
        tokens: ids without blank and end of sentence.
        score: log-probability of the sequence under the search that produced it, plus `external`.
        positions: column of the log-probabilities at which each token was found, non-decreasing;
            empty if the search has no alignment (attention decoder).
        confidences: probability of each token, in [0, 1].
        external: score added by language model, hotwords and token bonus.
        alternatives: the n-best hypotheses, this one first, if more than one was requested.
        of_decoder: True if the tokens are those of a pretrained decoder, not the model's own.
        language: tag of the language in which a pretrained decoder writes; None without one.
    """

    tokens: tuple[int, ...] = ()
    score: float = 0.0
    positions: tuple[int, ...] = ()
    confidences: tuple[float, ...] = ()
    external: float = 0.0
    alternatives: tuple[Hypothesis, ...] = ()
    of_decoder: bool = False
    language: str | None = None


def with_alternatives(ranked: Sequence[Hypothesis], count: int) -> Hypothesis:
    """Return the first of hypotheses sorted by score, with the best `count` as its alternatives.

    Alternatives are stored only if `count` is more than one. Without hypotheses, returns `EMPTY`.
    """
    best = ranked[0] if ranked else EMPTY
    return best if count <= 1 else replace(best, alternatives=tuple(ranked[:count]) or (EMPTY,))


EMPTY = Hypothesis()
"""The hypothesis without tokens."""


def padded(sequences: Sequence[Sequence[int]], fill: int = BLANK) -> tuple[Integers, Integers]:
    """Token ids (N, L), padded with `fill` to the longest sequence, and lengths (N,)."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    longest = int(lengths.max(initial=0))
    ids = np.full((len(sequences), longest), fill, dtype=np.int64)
    ids[inside_lengths(lengths, longest)] = list(chain.from_iterable(sequences))
    return ids, lengths
