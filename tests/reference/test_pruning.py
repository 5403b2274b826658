"""Pruning of n-gram models against slow, simple versions of what it computes."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from fixtures.errors import refused
from keyframe_asr.decoding.lm.arpa import START, STOP, NgramModel, Words
from keyframe_asr.decoding.lm.automaton import Automaton
from keyframe_asr.decoding.lm.kneser_ney import estimate
from keyframe_asr.decoding.lm.packed import packed_bytes, write_packed
from keyframe_asr.decoding.lm.pruning import (
    backoff_weights,
    expected_lookups,
    pruned_to_size,
    removal_costs,
    without,
)
from keyframe_asr.errors import ModelError
from reference.ngram import entries, log10


def texts(number: int = 120, words: int = 6) -> list[list[str]]:
    """Sentences in which one word often follows another."""
    generator = random.Random(4)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:words]
    found = []
    for _ in range(number):
        place = generator.randrange(words)
        sentence = []
        for _ in range(generator.randint(1, 6)):
            place = (place + min(int(generator.expovariate(0.6)), words)) % words
            sentence.append(letters[place])
        found.append(sentence)
    return found


@pytest.fixture(scope="module", params=[2, 3])
def model(request: pytest.FixtureRequest) -> NgramModel:
    return estimate(texts(), request.param)


def spelled(arcs: Automaton) -> list[Words]:
    return [ngram for order in entries(arcs.model()) for ngram in order]


def context_of(model: NgramModel, history: Words) -> Words:
    """The longest suffix of a history that may be a context."""
    history = history[max(0, len(history) - len(model.orders) + 1) :]
    while history and history not in entries(model)[len(history) - 1]:
        history = history[1:]
    return history


def lookups(model: NgramModel) -> dict[Words, float]:
    """Expected lookups per sentence, by going through all sentences word by word."""
    found: dict[Words, float] = defaultdict(float)
    reached = {(START,): 1.0}
    while sum(reached.values()) > 1e-9:
        following: dict[Words, float] = defaultdict(float)
        for history, probability in reached.items():
            context, mass = context_of(model, history), probability
            found[context] += mass
            while context:
                mass *= 10 ** entries(model)[len(context) - 1][context][1]
                context = context_of(model, context[1:])
                found[context] += mass
            for word in model.words:
                if word not in (START, STOP):
                    after = context_of(model, (*history, word))
                    following[after] += probability * 10 ** log10(model, history, word)
        reached = following
    return found


def test_expected_lookups(model: NgramModel) -> None:
    arcs = Automaton.of(model)
    contexts = [(), *spelled(arcs)[: arcs.highest]]
    wanted = lookups(model)
    found = expected_lookups(arcs)
    assert found.tolist() == pytest.approx([wanted[one] for one in contexts], rel=1e-4, abs=1e-5)
    assert found.sum() > 3  # several lookups per sentence


def test_backoff_weights_of_a_normalised_model_are_its_own(model: NgramModel) -> None:
    arcs = Automaton.of(model)
    assert backoff_weights(arcs).tolist() == pytest.approx(arcs.weights.tolist(), abs=1e-9)


def test_a_removed_ngram_costs_its_relative_entropy(model: NgramModel) -> None:
    """Of the highest order, where no longer n-gram matters."""
    arcs = Automaton.of(model)
    costs, ngrams, used = removal_costs(arcs), spelled(arcs), lookups(model)
    assert np.isinf(costs[: arcs.sizes[0]]).all()
    for place in arcs.places(len(arcs.sizes))[::9]:
        kept = np.ones(len(costs), dtype=bool)
        kept[place] = False
        left = without(arcs, kept).model()
        history = ngrams[place][:-1]
        divergence = math.fsum(
            10 ** log10(model, history, word)
            * math.log(10)
            * (log10(model, history, word) - log10(left, history, word))
            for word in model.words
        )
        assert costs[place] == pytest.approx(used[history] * divergence, rel=1e-3, abs=1e-8)


def test_an_ngram_costs_at_least_what_those_that_begin_with_it_do() -> None:
    arcs = Automaton.of(estimate(texts(), 4))
    costs = removal_costs(arcs)
    higher = np.arange(arcs.sizes[0], len(costs))
    before = arcs.contexts[higher] - 1
    assert (costs[before] >= costs[higher]).all()


@pytest.mark.parametrize("fraction", [0.9, 0.5, 0.1])
def test_a_pruned_model_fits_and_still_sums_to_one(fraction: float, tmp_path: Path) -> None:
    whole = estimate(texts(400, words=26), 3)
    fixed, each = packed_bytes(Automaton.of(whole))
    above = sum(size * len(order) for size, order in zip(each[1:], whole.orders[1:], strict=True))
    limit = fixed + int(fraction * above)
    left = pruned_to_size(whole, limit)
    write_packed(left, tmp_path / "left.ngram")
    assert (tmp_path / "left.ngram").stat().st_size <= limit
    assert len(left.orders[1]) + len(left.orders[2]) > 0
    assert sum(map(len, left.orders)) < sum(map(len, whole.orders))
    for history in [(), (START,), *list(entries(left)[0])[:9], *list(entries(left)[1])[::9]]:
        total = sum(10 ** log10(left, history, word) for word in left.words)
        assert total == pytest.approx(1.0, abs=1e-6)


def perplexity(model: NgramModel, sentences: list[list[str]]) -> float:
    scores = [
        log10(model, (START, *words[:place]), word)
        for words in sentences
        for place, word in enumerate([*words, STOP])
    ]
    return float(10 ** (-math.fsum(scores) / len(scores)))


def test_pruning_by_cost_loses_less_than_pruning_at_random() -> None:
    held_out, training = texts(600, words=26)[:100], texts(600, words=26)[100:]
    arcs = Automaton.of(estimate(training, 2))
    costs = removal_costs(arcs)
    number = arcs.sizes[0] + arcs.sizes[1] // 3
    by_cost = np.argsort(-costs, kind="stable")[:number]
    at_random = np.concatenate(
        (arcs.places(1), np.random.default_rng(1).permutation(arcs.places(2)))
    )[:number]
    found = []
    for chosen in (by_cost, at_random):
        kept = np.zeros(len(costs), dtype=bool)
        kept[chosen] = True
        found.append(perplexity(without(arcs, kept).model(), held_out))
    full = perplexity(arcs.model(), held_out)
    assert found[0] - full < 0.5 * (found[1] - full)


def test_a_model_that_fits_stays_as_it_is(model: NgramModel) -> None:
    assert pruned_to_size(model, 8_000_000) is model


def test_words_that_do_not_fit_are_refused(model: NgramModel) -> None:
    with refused(ModelError, 100, len(model.words)):
        pruned_to_size(model, 100)
