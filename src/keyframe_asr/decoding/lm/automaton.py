"""A back-off model as an automaton in arrays: sorted arcs, states, and where each backs off to.

State 0 is the empty context; state i + 1 is the context that consists of n-gram i, counted through
all orders. An n-gram is the arc from the state of its first words to its last word. Its key is
`state * words + word`, so the n-grams of a model in the order of their keys are a trie stored level
by level: the arcs of a state are neighbours, and one binary search finds an arc.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from keyframe_asr.decoding.lm.arpa import NEVER, STOP, UNKNOWN_WORD, NgramModel, Ngrams
from keyframe_asr.errors import ModelError

UNLISTED = -7.0
"""Base-10 log-probability of an unknown word in a model without `<unk>`."""

Indices = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Automaton:
    """Arcs (E,) of all orders in ascending order of their keys.

    Attributes:
        words: the vocabulary.
        sizes: number of n-grams of each order; every word is a 1-gram, in this order.
        keys: (E,) state before the arc times the size of the vocabulary, plus the word.
        log10: (E,) base-10 log-probabilities.
        weights: (E,) base-10 back-off weights of the states that the arcs lead to.
    """

    words: tuple[str, ...]
    sizes: tuple[int, ...]
    keys: Indices
    log10: Numbers
    weights: Numbers

    @staticmethod
    def of(model: NgramModel) -> Automaton:
        """Arrange a model; n-grams whose first words are not in the model are dropped.

        Missing words `</s>` and `<unk>` are added with the log-probabilities `NEVER` and
        `UNLISTED`.

        Raises:
            ModelError: an n-gram is listed twice.
        """
        words = tuple(dict.fromkeys([*model.words, STOP, UNKNOWN_WORD]))
        first = model.orders[0]
        keys, log10, weights = (
            [np.arange(len(words), dtype=np.int64)],
            [np.full(len(words), NEVER)],
            [np.zeros(len(words))],
        )
        if UNKNOWN_WORD not in model.words:
            log10[0][-1] = UNLISTED
        log10[0][first.word_ids[:, 0]] = first.log10
        weights[0][first.word_ids[:, 0]] = first.weights
        _refuse_repeated(np.sort(first.word_ids[:, 0].astype(np.int64)), words)
        for ngrams in model.orders[1:]:
            found, order = _keys_of(ngrams, keys, len(words))
            _refuse_repeated(found, words)
            keys.append(found)
            log10.append(ngrams.log10[order])
            weights.append(ngrams.weights[order])
        sizes = tuple(map(len, keys))
        return Automaton(words, sizes, *map(np.concatenate, (keys, log10, weights)))

    def places(self, order: int) -> Indices:
        """Indices of the arcs of one order."""
        begin = sum(self.sizes[: order - 1])
        return np.arange(begin, begin + self.sizes[order - 1])

    @property
    def highest(self) -> int:
        """Index of the first arc of the highest order; the arcs from there on lead to no state."""
        return sum(self.sizes[:-1])

    @cached_property
    def contexts(self) -> Indices:
        """(E,) The state before each arc."""
        return self.keys // len(self.words)

    @cached_property
    def word_ids(self) -> Indices:
        """(E,) The word of each arc."""
        return self.keys % len(self.words)

    @cached_property
    def shorter(self) -> Indices:
        """(E,) The state of the longest proper suffix of each n-gram that is a state."""
        found = np.zeros(len(self.keys), dtype=np.int64)
        begin = self.sizes[0]
        for size in self.sizes[1:]:
            places = np.arange(begin, begin + size)
            begin += size
            words, states = self.word_ids[places], self.contexts[places]
            while len(places):  # ends, because the empty context has an arc for every word
                states = found[states - 1]
                arcs, there = self.find(states, words)
                found[places[there]] = arcs[there] + 1
                places, words, states = places[~there], words[~there], states[~there]
        return found

    @cached_property
    def following(self) -> Indices:
        """(E,) The state after each arc."""
        states = np.arange(1, len(self.keys) + 1)
        states[self.highest :] = self.shorter[self.highest :]
        return states

    def advance(
        self, states: Indices, words: Indices, weights: Numbers | None = None
    ) -> tuple[Numbers, Indices]:
        """Look up words (N,) after states (N,).

        Args:
            states: states of the automaton.
            words: numbers of words.
            weights: (E,) base-10 back-off weights to use instead of the automaton's.

        Returns:
            Base-10 log-probabilities (N,), and the arcs (N,) that have the words: after the state
            itself or after the longest shorter context that has one.
        """
        weights = self.weights if weights is None else weights
        found, log10 = np.zeros_like(words), np.zeros(len(words))
        open_ = np.arange(len(words))
        while len(open_):  # ends, because the empty context has an arc for every word
            arcs, there = self.find(states, words)
            found[open_[there]] = arcs[there]
            log10[open_[there]] += self.log10[arcs[there]]
            open_, states, words = open_[~there], states[~there], words[~there]
            log10[open_] += weights[states - 1]
            states = self.shorter[states - 1]
        return log10, found

    def find(self, states: Indices, words: Indices) -> tuple[Indices, NDArray[np.bool_]]:
        """Index of the arc of each pair of state and word (N,), and whether there is one."""
        keys = states * len(self.words) + words
        arcs = np.searchsorted(self.keys, keys)
        np.minimum(arcs, len(self.keys) - 1, out=arcs)
        return arcs, self.keys[arcs] == keys

    def model(self) -> NgramModel:
        """Return the n-grams as a model, each order sorted."""
        orders, begin, before = [], 0, np.empty((1, 0), dtype=np.int32)
        first_state = 0
        for size in self.sizes:
            arcs = slice(begin, begin + size)
            words = self.word_ids[arcs, None].astype(np.int32)
            rows = np.hstack((before[self.contexts[arcs] - first_state], words))
            orders.append(Ngrams(rows, self.log10[arcs], self.weights[arcs]))
            first_state, before = begin + 1, rows
            begin += size
        return NgramModel(self.words, tuple(orders))

    def keeping(self, kept: NDArray[np.bool_]) -> Automaton:
        """Return the automaton with only some of the arcs (E,).

        All 1-grams must be kept, and with an arc the arcs that lead to it.
        """
        begins = np.cumsum((0, *self.sizes[:-1]))
        sizes = tuple(int(size) for size in np.add.reduceat(kept, begins, dtype=np.int64))
        state = np.concatenate(([0], np.cumsum(kept)))  # of every old state, in the new automaton
        keys = state[self.contexts[kept]] * len(self.words) + self.word_ids[kept]
        return Automaton(self.words, sizes, keys, self.log10[kept], self.weights[kept])


def _keys_of(ngrams: Ngrams, keys: list[Indices], words: int) -> tuple[Indices, Indices]:
    """Sorted keys of the n-grams whose first words are arcs, and their places in the model."""
    rows = ngrams.word_ids.astype(np.int64)
    states, begin = rows[:, 0] + 1, words
    places = np.arange(len(rows))
    for order, column in enumerate(rows.T[1:-1], 1):
        wanted = states * words + column[places]
        if not len(keys[order]):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        arcs = np.minimum(np.searchsorted(keys[order], wanted), len(keys[order]) - 1)
        known = keys[order][arcs] == wanted
        places, states = places[known], arcs[known] + begin + 1
        begin += len(keys[order])
    found = states * words + rows[places, -1]
    if (found[1:] > found[:-1]).all():
        return found, places
    order_ = np.argsort(found, kind="stable")
    return found[order_], places[order_]


def _refuse_repeated(keys: Indices, words: Iterable[str]) -> None:
    """Raise `ModelError` if sorted keys of one order contain a duplicate."""
    repeated = (keys[1:] == keys[:-1]).nonzero()[0]
    if len(repeated):
        named = list(words)
        word = named[int(keys[repeated[0]]) % len(named)]
        raise ModelError(
            f"the language model has a duplicate n-gram that ends in '{word}'; create it again"
        )
