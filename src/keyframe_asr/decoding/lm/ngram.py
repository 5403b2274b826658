"""Batched lookup of an n-gram model: words after states, for all hypotheses at once.

States and arcs are those of the automaton. A word that a state has no arc for is looked up in the
state that it backs off to, plus the back-off weight.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from keyframe_asr.decoding.arrays import Bools, Floats, Integers
from keyframe_asr.decoding.lm.arpa import START, STOP, UNKNOWN_WORD, NgramModel
from keyframe_asr.decoding.lm.automaton import Automaton

NATURAL = math.log(10)


class NgramTable:
    """Natural log-probabilities of words after states.

    Attributes:
        word_ids: id of each word of the model.
        start: state at the beginning of a sentence.
        stop: id of the word that ends a sentence.
        unknown: id of the unknown word.
        highest: upper bound of the log-probability of any word after any state.
    """

    def __init__(self, model: NgramModel) -> None:
        """Build the tables; n-grams whose first words are not in the model are dropped.

        Raises:
            ModelError: an n-gram is listed twice.
        """
        arcs = Automaton.of(model)
        self.word_ids = {word: number for number, word in enumerate(arcs.words)}
        self.stop, self.unknown = self.word_ids[STOP], self.word_ids[UNKNOWN_WORD]
        contexts = arcs.highest > 0 and START in self.word_ids
        self.start = self.word_ids[START] + 1 if contexts else 0
        self._keys = arcs.keys
        self._scores = _natural(arcs.log10)
        self._following = arcs.following
        # the empty context comes before the states of n-grams
        weights = np.concatenate(([0.0], arcs.weights[: arcs.highest]))
        self._weights = _natural(weights)
        self._shorter = np.concatenate(([0], arcs.shorter[: arcs.highest]))
        # unnormalised models have back-off weights above 0
        shortening = max(float(self._weights.max()), 0.0)
        self.highest = float(self._scores.max()) + shortening * (len(model.orders) - 1)

    def advance(self, states: Integers, words: Integers) -> tuple[Floats, Integers]:
        """Log-probabilities (N,) of words (N,) after states (N,), and the next states (N,)."""
        place, there = self._find(states, words)
        total = np.where(there, self._scores[place], 0.0)
        following = np.where(there, self._following[place], 0)
        open_ = np.flatnonzero(~there)
        states = states[open_]
        while len(open_):  # ends, because the empty context has an arc for every word
            total[open_] += self._weights[states]
            states = self._shorter[states]
            place, there = self._find(states, words[open_])
            found = open_[there]
            total[found] += self._scores[place[there]]
            following[found] = self._following[place[there]]
            open_, states = open_[~there], states[~there]
        return total, following

    def unigrams(self) -> Floats:
        """Log-probabilities (W,) of all words without context."""
        return self._scores[: len(self.word_ids)]

    def _find(self, states: Integers, words: Integers) -> tuple[Integers, Bools]:
        """Index of the arc of each pair of state and word (N,), and whether there is one."""
        keys = states * len(self.word_ids) + words
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return place, self._keys[place] == keys


def _natural(log10: NDArray[np.float64]) -> NDArray[np.float32]:
    return (log10 * NATURAL).astype(np.float32)
