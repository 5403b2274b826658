"""Linear interpolation of n-gram models into one, as SRILM's `ngram -mix-lm` does.

The n-grams are those of all models. The probability of each is the mean of what the models give it,
weighted by their shares; the words that a model does not have divide the probability of its unknown
word. Words are normalised to a sum of one, and back-off weights are computed anew, so that what
follows every context also sums to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keyframe_asr.decoding.lm.arpa import START, UNKNOWN_WORD, NgramModel, Ngrams
from keyframe_asr.decoding.lm.automaton import Automaton, Indices, Numbers
from keyframe_asr.decoding.lm.pruning import backoff_weights


def mixed(models: Sequence[NgramModel], shares: Sequence[float]) -> NgramModel:
    """Interpolate models.

    Args:
        models: at least one.
        shares: weight of each model, above 0; they are normalised to a sum of one.

    Raises:
        ValueError: there is not one share above 0 for each model.
        ModelError: an n-gram of a model is listed twice.
    """
    if len(models) != len(shares) or not models or min(shares) <= 0:
        raise ValueError("give one share above 0 for each of one or more language models")
    parts = [Automaton.of(model) for model in models]
    union = _union(parts)
    total = np.zeros(len(union.keys))
    for part, share in zip(parts, shares, strict=True):
        total += share / math.fsum(shares) * 10 ** _looked_up(union, part)
    words = union.places(1)
    said = words[[word != START for word in union.words]]  # the start is only a context
    total[said] /= total[said].sum()
    union = replace(union, log10=np.log10(total))
    return replace(union, weights=backoff_weights(union)).model()


def _union(parts: Sequence[Automaton]) -> Automaton:
    """The n-grams of all models, without probabilities."""
    words = list(dict.fromkeys(word for part in parts for word in part.words))
    number = {word: index for index, word in enumerate(words)}
    orders: list[list[Indices]] = [[] for _ in range(max(len(part.sizes) for part in parts))]
    for part in parts:
        translated = np.array([number[word] for word in part.words])
        for rows, ngrams in zip(orders, part.model().orders, strict=False):
            rows.append(translated[ngrams.word_ids])
    return Automaton.of(
        NgramModel(
            tuple(words),
            tuple(
                Ngrams(rows.astype(np.int32), np.zeros(len(rows)), np.zeros(len(rows)))
                for rows in (np.unique(np.concatenate(found), axis=0) for found in orders)
            ),
        )
    )


def _looked_up(union: Automaton, part: Automaton) -> Numbers:
    """Base-10 log-probabilities (E,) that one model gives to all n-grams."""
    number = {word: index for index, word in enumerate(part.words)}
    unknown = number[UNKNOWN_WORD]
    translated = np.array([number.get(word, unknown) for word in union.words])
    divided = np.log10((translated == unknown).sum())
    log10 = np.zeros(len(union.keys))
    states = np.zeros(len(union.keys) + 1, dtype=np.int64)  # of the model, per state of the union
    for order in range(1, len(union.sizes) + 1):
        places = union.places(order)
        before = states[union.contexts[places]]
        words = translated[union.word_ids[places]]
        log10[places], arcs = part.advance(before, words)
        log10[places[words == unknown]] -= divided
        states[places + 1] = part.following[arcs]
    return log10
