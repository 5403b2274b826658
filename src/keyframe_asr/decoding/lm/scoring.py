"""Language models of words, characters or tokens as scorers of a beam search.

A word model scores a word when the next word begins or the sentence ends. Until then, the prefix of
the word gets the score of the most probable word with that prefix, without context (look-ahead,
Ortmanns et al., "Language-model look-ahead for large vocabulary speech recognition", ICSLP 1996).
In an unknown word, every token after the longest known prefix gets a uniform probability. A model
of tokens or characters scores each token by its units.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Literal

import numpy as np

from keyframe_asr.decoding.arrays import Floats, Integers
from keyframe_asr.decoding.hypothesis import padded
from keyframe_asr.decoding.lm.arpa import (
    START,
    STOP,
    UNKNOWN_WORD,
    NgramModel,
)
from keyframe_asr.decoding.lm.ngram import NgramTable
from keyframe_asr.decoding.scorers import Scorer, SparseTable
from keyframe_asr.errors import ModelError
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.text.trie import BOUNDARY, ROOT, Pieces, Trie, surfaces

Unit = Literal["word", "character", "token"]


def language_model_scorer(
    model: NgramModel, tokenizer: Tokenizer, spaced: bool, weight: float
) -> Scorer:
    """Create the scorer of a language model; its unit is derived from its vocabulary.

    Args:
        model: of words, characters or tokens.
        tokenizer: of the recogniser.
        spaced: True if spaces separate words in the language.
        weight: of the model's natural log-probabilities, at least 0.

    Raises:
        ModelError: the model's units do not match the recogniser's, or it is damaged.
        ValueError: the weight is negative.
    """
    if weight < 0:
        raise ValueError(f"the language model weight is {weight}; it must be at least 0")
    table = NgramTable(model)
    unit = unit_of(model, spaced)
    if unit == "word":
        return WordScorer(table, tokenizer, weight)
    # sentencepiece begins a text with a boundary, which character models do not contain
    skips = unit == "character" and (START, BOUNDARY) not in model
    return UnitScorer(table, _units(tokenizer, unit), skips, weight)


def split_units(text: str, unit: Unit, tokenizer: Tokenizer | None = None) -> list[str]:
    """Split a text into the units of a language model; `token` needs the tokenizer."""
    collapsed = " ".join(text.split())
    if unit == "word":
        return collapsed.split()
    if unit == "character":
        return list(collapsed.replace(" ", BOUNDARY))
    if tokenizer is None:
        raise ValueError("unit 'token' needs a tokenizer")
    texts = surfaces(tokenizer)
    return [texts[token] or UNKNOWN_WORD for token in tokenizer.encode(collapsed)]


def unit_of(model: NgramModel, spaced: bool) -> Unit:
    """Derive the unit of a model from its vocabulary.

    Raises:
        ModelError: the model has words, but the language has no spaces.
    """
    words = [word for word in model.words if word not in (START, STOP, UNKNOWN_WORD)]
    if any(BOUNDARY in word for word in words):
        return "character" if all(len(word) == 1 for word in words) else "token"
    if spaced:
        return "word"
    long = [word for word in words if len(word) > 1 and not word.startswith("<")]
    longer = next((word for word in long if not word.isascii()), None)
    # a character model may hold single words in another script
    if longer is None and len(long) > len(words) / 2:
        longer = long[0]
    if longer:
        raise ModelError(
            f"the language model contains words such as '{longer}', but this recogniser writes no "
            "spaces; create a character model: keyframe language-model --unit character"
        )
    return "character"


def _units(tokenizer: Tokenizer, unit: Unit) -> list[list[str]]:
    """The units of each token."""
    texts = surfaces(tokenizer)
    return [list(text) if unit == "character" else [text] if text else [] for text in texts]


class UnitScorer:
    """Scores every token by its units. State: of the model, and 1 after the first token."""

    def __init__(
        self,
        table: NgramTable,
        units: list[list[str]],
        skips_boundary: bool,
        weight: float,
    ) -> None:
        """Build the table of units.

        Args:
            table: the language model.
            units: of every token.
            skips_boundary: do not score a word boundary at the beginning of a sentence.
            weight: of the log-probabilities.
        """
        self._table, self._weight = table, weight
        longest = max(map(len, units), default=0) or 1
        self._upper_bound = weight * max(table.highest, 0.0) * longest
        unknown = [UNKNOWN_WORD]
        ids = [
            [table.word_ids.get(unit, table.unknown) for unit in token_units or unknown]
            for token_units in units
        ]
        self._units, _ = padded(ids, fill=-1)
        never = len(table.word_ids)
        self._skipped = table.word_ids.get(BOUNDARY, table.unknown) if skips_boundary else never

    @property
    def start(self) -> tuple[int, ...]:
        """The beginning of a sentence, before the first token."""
        return (self._table.start, 0)

    def extend(self, states: Integers, tokens: Integers) -> tuple[Floats, Integers]:
        """See `Scorer`."""
        state, begun = states.T
        total: Floats = np.zeros(tokens.shape)
        for place in range(self._units.shape[1]):
            unit = self._units[tokens, place]
            scored = unit >= 0
            if place == 0:
                scored = scored & ((unit != self._skipped) | (begun == 1))
            added, after = self._table.advance(state, np.maximum(unit, 0))
            total = total + np.where(scored, added, 0.0)
            state = np.where(scored, after, state)
        return self._weight * total, np.stack((state, np.ones_like(begun)), axis=1)

    def upper_bound(self, states: Integers) -> Floats:
        """See `Scorer`."""
        return np.full(len(states), self._upper_bound)

    def finish(self, states: Integers) -> Floats:
        """See `Scorer`."""
        stop = np.full(len(states), self._table.stop)
        return self._weight * self._table.advance(states[:, 0], stop)[0]


class WordScorer:
    """Scores words of any tokenisation. State: of the model, and trie node of the open word."""

    def __init__(self, table: NgramTable, tokenizer: Tokenizer, weight: float) -> None:
        self._table, self._weight = table, weight
        trie = Trie()
        paths = {
            number: trie.add(word)
            for word, number in table.word_ids.items()
            if word not in (START, STOP, UNKNOWN_WORD)
        }
        self._unknown_node = len(trie.children)  # stands for every unknown word
        pieces = Pieces(surfaces(tokenizer))
        word_at = np.full(self._unknown_node + 1, table.unknown)
        word_at[[path[-1] for path in paths.values()]] = list(paths)
        moves = pieces.all_walks(trie)
        if paths and (word_at[moves[:, 2]] == table.unknown).all():
            raise ModelError(
                "no word of the language model can be written with the recogniser's tokens; create "
                "it from text in the recogniser's normal form, for instance in upper case"
            )
        self._moves = SparseTable(moves[:, :2], tokenizer.vocab_size)
        self._targets = moves[:, 2] if len(moves) else np.zeros(1, dtype=np.int64)
        self._begins = np.array(pieces.begins)
        bare = [
            begins and not text for begins, text in zip(pieces.begins, pieces.letters, strict=True)
        ]
        self._bare = np.array(bare)
        self._words = word_at
        self._look_ahead = _look_ahead(table, paths, self._unknown_node)
        self._spelled = -math.log(tokenizer.vocab_size)
        self._upper_bound = max(table.highest, 0.0) + float(self._look_ahead.max())

    @property
    def start(self) -> tuple[int, ...]:
        """The beginning of a sentence, without an open word."""
        return (self._table.start, ROOT)

    def extend(self, states: Integers, tokens: Integers) -> tuple[Floats, Integers]:
        """See `Scorer`."""
        state, node = states.T
        begins = self._begins[tokens]
        closed, after = self._close(state, node)
        total = np.where(begins, closed, 0.0)
        state = np.where(begins, after, state)
        node = np.where(begins, ROOT, node)
        place, known = self._moves.find(node, tokens)
        target = np.where(known, self._targets[place], self._unknown_node)
        target = np.where(self._bare[tokens], node, target)
        total = total + self._look_ahead[target] - self._look_ahead[node]
        spelled = (target == self._unknown_node) & ~self._bare[tokens]
        total = total + self._spelled * spelled
        return self._weight * total, np.stack((state, target), axis=1)

    def upper_bound(self, states: Integers) -> Floats:
        """See `Scorer`. The open word may get a higher score than its look-ahead."""
        return self._weight * (self._upper_bound - self._look_ahead[states[:, 1]])

    def finish(self, states: Integers) -> Floats:
        """See `Scorer`."""
        closed, after = self._close(*states.T)
        stop = np.full(len(states), self._table.stop)
        return self._weight * (closed + self._table.advance(after, stop)[0])

    def _close(self, state: Integers, node: Integers) -> tuple[Floats, Integers]:
        """Score of the open word (0 without one) minus its look-ahead, and the next state."""
        added, after = self._table.advance(state, self._words[node])
        is_open = node != ROOT
        cost = np.where(is_open, added - self._look_ahead[node], 0.0)
        return cost, np.where(is_open, after, state)


def _look_ahead(table: NgramTable, paths: dict[int, list[int]], unknown_node: int) -> Floats:
    """Per node, the best unigram log-probability of a word with that prefix.

    Args:
        table: the language model.
        paths: nodes along each word, by its id.
        unknown_node: the last node, of all unknown words.
    """
    unigrams = table.unigrams()
    best = np.full(unknown_node + 1, -np.inf, dtype=unigrams.dtype)
    lengths = [len(path) for path in paths.values()]
    nodes = np.fromiter(chain.from_iterable(paths.values()), dtype=np.int64)
    np.maximum.at(best, nodes, np.repeat(unigrams[list(paths)], lengths))
    best[ROOT], best[unknown_node] = 0.0, unigrams[table.unknown]
    return best
