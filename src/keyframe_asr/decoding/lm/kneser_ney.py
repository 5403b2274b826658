"""N-gram estimation: interpolated modified Kneser-Ney smoothing.

Chen & Goodman, "An empirical study of smoothing techniques for language modeling" (1999), as
organised by Heafield et al., "Scalable modified Kneser-Ney language model estimation" (ACL 2013).
Lower orders count the distinct contexts of an n-gram (n-grams at the start of a sentence keep their
counts). Three discounts per order are computed from the counts of counts. Unigrams are interpolated
with the uniform distribution, which gives the unknown word its probability.

Deviation: if a small text has no n-grams seen once, twice, three or four times, the discounts of
that order are 0.5, 1 and 1.5 (KenLM's fallback). Nothing is pruned. N-grams with `<unk>` are not
counted, as if the text were cut there.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from keyframe_asr.decoding.lm.arpa import (
    NEVER,
    START,
    STOP,
    UNKNOWN_WORD,
    Entry,
    NgramModel,
    Words,
)
from keyframe_asr.errors import ManifestError

FALLBACK = (0.5, 1.0, 1.5)


class NoWordsError(ManifestError):
    """A text from which no language model can be estimated."""


def estimate(sentences: Iterable[Sequence[str]], order: int = 3) -> NgramModel:
    """Estimate a back-off model from sentences (words without start and stop symbols).

    Raises:
        NoWordsError: the text has no words.
    """
    counts = [Counter[Words]() for _ in range(order)]
    for sentence in sentences:
        words = (START, *(word for word in sentence if word not in (START, STOP)), STOP)
        if len(words) > 2 and set(words[1:-1]) != {UNKNOWN_WORD}:
            _count(words, counts)
    if not counts[0]:
        raise NoWordsError("the text contains no words; give one sentence per line")
    adjusted = [_adjusted(counts, place) for place in range(order)]
    probabilities, weights = _unigrams(adjusted[0])
    tables, contexts = [probabilities], [weights]
    for place in range(1, order):
        probabilities, weights = _interpolated(adjusted[place], tables[-1])
        tables.append(probabilities)
        contexts.append(weights)
    return NgramModel.of(
        [
            _entries(probabilities, contexts[place + 1] if place + 1 < order else {})
            for place, probabilities in enumerate(tables)
        ]
    )


def _count(words: Words, counts: list[Counter[Words]]) -> None:
    """Count all n-grams; the start symbol is a context, never a predicted word."""
    for place in range(len(counts)):
        for first in range(len(words) - place):
            ngram = words[first : first + place + 1]
            if ngram != (START,) and UNKNOWN_WORD not in ngram:
                counts[place][ngram] += 1


def _adjusted(counts: list[Counter[Words]], place: int) -> dict[Words, int]:
    """Adjusted counts: below the highest order, the number of distinct preceding words."""
    if place + 1 == len(counts):
        return dict(counts[place])
    contexts = Counter(ngram[1:] for ngram in counts[place + 1] if ngram[1:] != (START,))
    return {
        # at least one: only an unknown word may have come before
        ngram: count if ngram[0] == START else max(contexts[ngram], 1)
        for ngram, count in counts[place].items()
    }


def _discounts(counts: Iterable[int]) -> tuple[float, float, float]:
    """Discounts of n-grams seen once, twice, and more often (equation 17 of the paper)."""
    one, two, three, four = (Counter(counts)[times] for times in (1, 2, 3, 4))
    if not (one and two and three and four):
        return FALLBACK
    ratio = one / (one + 2 * two)
    found = (
        1 - 2 * ratio * two / one,
        2 - 3 * ratio * three / two,
        3 - 4 * ratio * four / three,
    )
    # outside these bounds a probability or a back-off weight would not be positive
    return found if all(0 < d < n for n, d in enumerate(found, 1)) else FALLBACK


def _unigrams(counts: dict[Words, int]) -> tuple[dict[Words, float], dict[Words, float]]:
    """Unigrams interpolated with the uniform distribution over all words and the unknown word."""
    vocabulary = set(counts) | {(UNKNOWN_WORD,)}
    probabilities, weights = _interpolated(counts, {(): 1 / len(vocabulary)})
    uniform = weights[()] / len(vocabulary)
    return {**dict.fromkeys(sorted(vocabulary), uniform), **probabilities}, weights


def _interpolated(
    counts: dict[Words, int], lower: dict[Words, float]
) -> tuple[dict[Words, float], dict[Words, float]]:
    """Probability of each n-gram, and back-off weight of each context."""
    discounts = _discounts(counts.values())
    totals: dict[Words, int] = defaultdict(int)
    taken: dict[Words, float] = defaultdict(float)
    for ngram, count in counts.items():
        totals[ngram[:-1]] += count
        taken[ngram[:-1]] += discounts[min(count, 3) - 1]
    weights = {context: taken[context] / total for context, total in totals.items()}
    probabilities = {}
    for ngram, count in counts.items():
        context = ngram[:-1]
        kept = (count - discounts[min(count, 3) - 1]) / totals[context]
        probabilities[ngram] = kept + weights[context] * lower[ngram[1:]]
    return probabilities, weights


def _entries(probabilities: dict[Words, float], weights: dict[Words, float]) -> dict[Words, Entry]:
    entries: dict[Words, Entry] = {}
    if (START,) in weights:  # the start symbol is only a context
        entries[START,] = (NEVER, math.log10(weights[START,]))
    for ngram, probability in probabilities.items():
        weight = weights.get(ngram)
        entries[ngram] = (math.log10(probability), math.log10(weight) if weight else 0.0)
    return entries
