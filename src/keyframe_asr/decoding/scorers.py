"""Shallow fusion: scorers outside the network that add to the scores of a beam search.

The state of a scorer after a token sequence is a row of integers, so a search step is one table
lookup for all utterances, beams and candidate tokens. A score may depend on the tokens only: equal
prefixes have equal states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from keyframe_asr.decoding.arrays import Bools, Floats, Integers
from keyframe_asr.decoding.hypothesis import padded


class Scorer(Protocol):
    """Adds a weighted score to a hypothesis token by token."""

    @property
    def start(self) -> tuple[int, ...]:
        """State before the first token."""

    def extend(self, states: Integers, tokens: Integers) -> tuple[Floats, Integers]:
        """Scores (N,) and next states (N, W) of hypotheses in states (N, W) followed by tokens."""

    def upper_bound(self, states: Integers) -> Floats:
        """Upper bounds (N,) of the score of any single token after these states."""

    def finish(self, states: Integers) -> Floats:
        """Scores (N,) of ending in these states."""


@dataclass(frozen=True)
class Weighted:
    """A scorer whose scores are multiplied by a weight of at least 0."""

    scorer: Scorer
    weight: float

    @property
    def start(self) -> tuple[int, ...]:
        """See `Scorer`."""
        return self.scorer.start

    def extend(self, states: Integers, tokens: Integers) -> tuple[Floats, Integers]:
        """See `Scorer`."""
        scores, following = self.scorer.extend(states, tokens)
        return self.weight * scores, following

    def upper_bound(self, states: Integers) -> Floats:
        """See `Scorer`."""
        return self.weight * self.scorer.upper_bound(states)

    def finish(self, states: Integers) -> Floats:
        """See `Scorer`."""
        return self.weight * self.scorer.finish(states)


@dataclass(frozen=True)
class ShallowFusion:
    """The sum of several scorers and a bonus per token, which offsets their costs."""

    scorers: tuple[Scorer, ...] = ()
    token_bonus: float = 0.0

    @property
    def start(self) -> tuple[int, ...]:
        """State before the first token: the concatenated states of the scorers."""
        return tuple(number for scorer in self.scorers for number in scorer.start)

    def extend(self, states: Integers, tokens: Integers) -> tuple[Floats, Integers]:
        """Scores (N,) and next states (N, W) of states (N, W) followed by tokens (N,)."""
        scores: Floats = np.full(tokens.shape, self.token_bonus)
        following = []
        for scorer, own in zip(self.scorers, self._split(states), strict=True):
            added, after = scorer.extend(own, tokens)
            scores = scores + added
            following.append(after)
        return scores, np.concatenate(following, axis=1) if following else states

    def upper_bound(self, states: Integers) -> Floats:
        """Upper bounds (N,) of the score of any token after states (N, W), for pruning."""
        bound: Floats = np.full(len(states), self.token_bonus)
        for scorer, own in zip(self.scorers, self._split(states), strict=True):
            bound = bound + scorer.upper_bound(own)
        return bound

    def finish(self, states: Integers) -> Floats:
        """Scores (N,) of hypotheses that end in states (N, W)."""
        scores: Floats = np.zeros(len(states))
        for scorer, own in zip(self.scorers, self._split(states), strict=True):
            scores = scores + scorer.finish(own)
        return scores

    def score(self, sentences: Sequence[Sequence[int]]) -> Floats:
        """Scores (N,) of complete token sequences, including the end of sentence."""
        tokens, lengths = padded(sentences)
        states = np.tile(np.array(self.start, dtype=np.int64), (len(sentences), 1))
        total: Floats = np.zeros(len(sentences))
        for place in range(tokens.shape[1]):
            inside = place < lengths
            added, after = self.extend(states, tokens[:, place])
            total = total + np.where(inside, added, 0.0)
            states = np.where(inside[:, None], after, states)
        return total + self.finish(states)

    def _split(self, states: Integers) -> list[Integers]:
        found, first = [], 0
        for scorer in self.scorers:
            found.append(states[:, first : first + len(scorer.start)])
            first += len(scorer.start)
        return found


class SparseTable:
    """Index of (row, column) pairs of integers, looked up by bisection in a sorted array."""

    def __init__(self, pairs: Sequence[tuple[int, int]] | Integers, columns: int) -> None:
        """Index pairs (N, 2) with columns in 0 to `columns` - 1; of equal pairs the first wins."""
        row, column = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
        keys = row * columns + column
        self._columns = columns
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def find(self, rows: Integers, columns: Integers) -> tuple[Integers, Bools]:
        """Index of each pair in the list the table was built from, and whether it is there."""
        keys = rows * self._columns + columns
        if not len(self._keys):
            return np.zeros_like(keys), np.zeros(keys.shape, dtype=np.bool_)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return self._order[place], self._keys[place] == keys
