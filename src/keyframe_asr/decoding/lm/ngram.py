"""Batched lookup of an n-gram model as a table of integer states and arcs.

A state stands for the longest known context of a history. Each word seen in the context has an arc.
Other words are looked up in the state of the next shorter context, plus the back-off weight.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from keyframe_asr.decoding.lm.arpa import (
    NEVER,
    START,
    STOP,
    UNKNOWN_WORD,
    NgramModel,
)
from keyframe_asr.decoding.scorers import SparseTable
from keyframe_asr.errors import ModelError

NATURAL = math.log(10)

UNLISTED = -7.0
"""Base-10 log-probability of an unknown word in a model without `<unk>`."""


class NgramTable:
    """Natural log-probabilities of words after states, on one device.

    Attributes:
        word_ids: id of each word of the model.
        start: state at the beginning of a sentence.
        stop: id of the word that ends a sentence.
        unknown: id of the unknown word.
        highest: upper bound of the log-probability of any word after any state.
    """

    def __init__(self, model: NgramModel, device: torch.device) -> None:
        """Build the tables; n-grams whose prefix is not in the model are dropped.

        Raises:
            ModelError: an n-gram is listed twice.
        """
        words = list(dict.fromkeys([*model.words, STOP, UNKNOWN_WORD]))
        self.word_ids = {word: number for number, word in enumerate(words)}
        self.stop, self.unknown = self.word_ids[STOP], self.word_ids[UNKNOWN_WORD]
        contexts = _Contexts(model, len(words))
        self.start = (
            int(contexts.longest(torch.tensor([[self.word_ids[START]]])))
            if START in model.words
            else 0
        )
        # the empty context has an arc for every word, so every lookup ends
        added = torch.arange(len(model.words), len(words))
        rare = [UNLISTED if words[number] == UNKNOWN_WORD else NEVER for number in added.tolist()]
        pairs = [torch.stack((torch.zeros_like(added), added), dim=1)]
        scores = [torch.tensor(rare, dtype=torch.float64)]
        following = [torch.zeros_like(added)]
        weights, shorter = [torch.zeros(1, dtype=torch.float64)], [torch.zeros(1, dtype=torch.long)]
        for place, ngrams in enumerate(model.orders):
            rows = torch.from_numpy(ngrams.word_ids).long()
            context, known = contexts.find(rows[:, :-1])
            pairs.append(torch.stack((context, rows[:, -1]), dim=1)[known])
            _refuse_repeated(pairs[-1], words)
            scores.append(torch.from_numpy(ngrams.log10)[known])
            following.append(contexts.longest(rows[known]))
            if place + 1 < len(model.orders):
                weights.append(torch.from_numpy(ngrams.weights))
                shorter.append(contexts.longest(rows[:, 1:]))
        self._arcs = SparseTable(torch.cat(pairs), len(words), device)
        self._scores = _natural(scores, device)
        self._following = torch.cat(following).to(device)
        self._weights = _natural(weights, device)
        self._shorter = torch.cat(shorter).to(device)
        # unnormalised models have back-off weights above 0
        shortening = float(self._weights.max().clamp(min=0.0))
        self.highest = float(self._scores.max()) + shortening * (len(model.orders) - 1)

    def advance(self, states: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (N,) of words (N,) after states (N,), and the next states (N,)."""
        place, there = self._arcs.find(states, words)
        total = torch.where(there, self._scores[place], 0.0)
        following = torch.where(there, self._following[place], 0)
        open_ = (~there).nonzero().squeeze(1)
        states = states[open_]
        while len(open_):  # ends, because the empty context has an arc for every word
            total[open_] += self._weights[states]
            states = self._shorter[states]
            place, there = self._arcs.find(states, words[open_])
            found = open_[there]
            total[found] += self._scores[place[there]]
            following[found] = self._following[place[there]]
            open_, states = open_[~there], states[~there]
        return total, following

    def unigrams(self) -> Tensor:
        """Log-probabilities (W,) of all words without context."""
        words = torch.arange(len(self.word_ids), device=self._weights.device)
        return self.advance(torch.zeros_like(words), words)[0]


def _refuse_repeated(pairs: Tensor, words: list[str]) -> None:
    """Raise `ModelError` if pairs (N, 2) of context and word of one order contain a duplicate."""
    keys, order = (pairs[:, 0] * len(words) + pairs[:, 1]).sort()
    repeated = (keys[1:] == keys[:-1]).nonzero().flatten()
    if len(repeated):
        word = words[int(pairs[order[repeated[0]], 1])]
        raise ModelError(
            f"the language model has a duplicate n-gram that ends in '{word}'; create it again"
        )


def _natural(log10: list[Tensor], device: torch.device) -> Tensor:
    return (torch.cat(log10) * NATURAL).float().to(device)


class _Contexts:
    """The states of the model: all contexts, the empty one is 0."""

    def __init__(self, model: NgramModel, words: int) -> None:
        self._orders: list[tuple[SparseTable, int]] = []
        first = 1
        for ngrams in model.orders[:-1]:
            rows = torch.from_numpy(ngrams.word_ids).long()
            before, known = self.find(rows[:, :-1])
            # n-grams with an unknown prefix get a row (-1) that is never looked up
            pairs = torch.stack((before.where(known, torch.tensor(-1)), rows[:, -1]), dim=1)
            self._orders.append((SparseTable(pairs, words, torch.device("cpu")), first))
            first += len(rows)

    def find(self, ngrams: Tensor) -> tuple[Tensor, Tensor]:
        """States (N,) of n-grams (N, n) of word ids, and whether they are states."""
        states = torch.zeros(len(ngrams), dtype=torch.long)
        known = torch.ones(len(ngrams), dtype=torch.bool)
        for place, words in enumerate(ngrams.unbind(1)):
            if place >= len(self._orders):
                return states, torch.zeros_like(known)
            table, first = self._orders[place]
            row, there = table.find(states, words)
            states, known = row + first, known & there
        return states, known

    def longest(self, ngrams: Tensor) -> Tensor:
        """States (N,) of the longest suffix of each n-gram (N, n) that is a state."""
        found = torch.zeros(len(ngrams), dtype=torch.long)
        for begin in range(ngrams.shape[1] - 1, -1, -1):
            states, known = self.find(ngrams[:, begin:])
            found = torch.where(known, states, found)
        return found
