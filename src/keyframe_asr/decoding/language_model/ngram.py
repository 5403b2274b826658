"""An n-gram model as integers: contexts are states, and a step is a lookup for many at once.

A state stands for the longest known context of a history. Its words have arcs; a word without one
is looked for in the state of the next shorter context, at the price of the back-off weight.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from keyframe_asr.decoding.fusion import SparseTable
from keyframe_asr.decoding.language_model.arpa import (
    NEVER,
    START,
    STOP,
    UNKNOWN_WORD,
    NgramModel,
    Words,
)

NATURAL = math.log(10)

UNLISTED = -7.0
"""Base-10 log-probability of an unknown word in a model that has none: about one in its text."""


class NgramTable:
    """Log-probabilities (natural) of words after states, on one device.

    Attributes:
        word_ids: number of each word of the model.
        start: state at the beginning of a sentence.
        stop: number of the word that ends a sentence.
        unknown: number of the word that stands for all others.
    """

    def __init__(self, model: NgramModel, device: torch.device) -> None:
        words = list(dict.fromkeys([*model.words, STOP, UNKNOWN_WORD]))
        self.word_ids = {word: number for number, word in enumerate(words)}
        self.stop, self.unknown = self.word_ids[STOP], self.word_ids[UNKNOWN_WORD]
        self._order = len(model.orders)
        states = _states(model)
        self.start = states[_longest((START,), states)]
        pairs, scores, following = [], [], []
        for ngrams in model.orders:
            for ngram, (log10, _) in ngrams.items():
                context = states.get(ngram[:-1])
                if context is None:
                    continue  # nothing leads there
                pairs.append((context, self.word_ids[ngram[-1]]))
                scores.append(log10 * NATURAL)
                following.append(states[_longest(ngram, states)])
        for word in words:  # the empty context knows every word, so that each search ends
            if (word,) not in model.orders[0]:
                pairs.append((0, self.word_ids[word]))
                scores.append((UNLISTED if word == UNKNOWN_WORD else NEVER) * NATURAL)
                following.append(0)
        self._arcs = SparseTable(pairs, len(words), device)
        self._scores = torch.tensor(scores, device=device)
        self._following = torch.tensor(following, device=device)
        weights = [_weight(model, context) * NATURAL for context in states]
        shorter = [states[_longest(context[1:], states)] for context in states]
        self._weights = torch.tensor(weights, device=device)
        self._shorter = torch.tensor(shorter, device=device)

    def advance(self, states: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (N,) of words (N,) after states (N,), and the states after them."""
        total = torch.zeros(states.shape, device=states.device)
        following = states
        open_ = torch.ones_like(states, dtype=torch.bool)
        for _ in range(self._order):
            place, there = self._arcs.find(states, words)
            found = open_ & there
            total = total + torch.where(found, self._scores[place], 0.0)
            following = torch.where(found, self._following[place], following)
            open_ = open_ & ~there
            total = total + torch.where(open_, self._weights[states], 0.0)
            states = torch.where(open_, self._shorter[states], states)
        return total, following

    def unigrams(self) -> Tensor:
        """Log-probabilities (W,) of all words without context."""
        words = torch.arange(len(self.word_ids), device=self._weights.device)
        return self.advance(torch.zeros_like(words), words)[0]


def _states(model: NgramModel) -> dict[Words, int]:
    """Every context that the model can tell apart; the empty one is 0."""
    contexts: dict[Words, int] = {(): 0}
    for ngrams in model.orders[:-1]:
        for ngram in ngrams:
            contexts.setdefault(ngram, len(contexts))
    return contexts


def _longest(history: Words, states: dict[Words, int]) -> Words:
    """The longest end of a history that is a state."""
    while history not in states:
        history = history[1:]
    return history


def _weight(model: NgramModel, context: Words) -> float:
    return model.orders[len(context) - 1].get(context, (0.0, 0.0))[1] if context else 0.0
