"""A back-off model looked up one n-gram at a time, as an ARPA file defines it."""

from __future__ import annotations

from functools import cache

from keyframe_asr.decoding.lm.arpa import NEVER, UNKNOWN_WORD, NgramModel, Words


@cache
def entries(model: NgramModel) -> list[dict[Words, tuple[float, float]]]:
    """For each order the base-10 log-probability and back-off weight of every n-gram."""
    found: list[dict[Words, tuple[float, float]]] = []
    for ngrams in model.orders:
        spelled = [tuple(model.words[word] for word in row) for row in ngrams.word_ids.tolist()]
        numbers = zip(ngrams.log10.tolist(), ngrams.weights.tolist(), strict=True)
        found.append(dict(zip(spelled, numbers, strict=True)))
    return found


def log10(model: NgramModel, history: Words, word: str) -> float:
    """Base-10 log-probability of a word after a history."""
    history = history[max(0, len(history) - len(model.orders) + 1) :]
    found = entries(model)[len(history)].get((*history, word))
    if found is not None:
        return found[0]
    if not history:
        return NEVER if word == UNKNOWN_WORD else log10(model, (), UNKNOWN_WORD)
    weight = entries(model)[len(history) - 1].get(history, (0.0, 0.0))[1]
    return weight + log10(model, history[1:], word)
