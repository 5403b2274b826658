"""Batched prefix beam search against enumeration and against a dictionary of prefixes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from keyframe_asr.decoding.hotwords import HotwordScorer
from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis
from keyframe_asr.decoding.lm.kneser_ney import estimate
from keyframe_asr.decoding.lm.scoring import language_model_scorer
from keyframe_asr.decoding.prefix_beam import prefix_beam
from keyframe_asr.decoding.scorers import Scorer, ShallowFusion
from keyframe_asr.decoding.viterbi import Columns
from keyframe_asr.text.tokenizer import CharacterTokenizer
from reference.prefix_search import (
    Tokens,
    all_paths,
    best_columns,
    dictionary_search,
    every_sentence,
    nothing,
)

BONUS = 0.3
NO_FUSION = ShallowFusion()
LETTERS = CharacterTokenizer("ABC ")
BOTH = pytest.mark.parametrize("collapse", [True, False])


class Bigrams:
    """A toy scorer whose state is the last token; its matrix is random."""

    def __init__(self, vocabulary: int, generator: torch.Generator) -> None:
        self.matrix = torch.randn(vocabulary, vocabulary, generator=generator).numpy()
        self.start = (2,)

    def extend(self, states: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.matrix[states[:, 0], tokens], tokens[:, None]

    def upper_bound(self, states: np.ndarray) -> np.ndarray:
        return self.matrix[states[:, 0]].max(axis=1)

    def finish(self, states: np.ndarray) -> np.ndarray:
        return self.matrix[states[:, 0], 2]

    def external(self, tokens: Tokens, ended: bool) -> float:
        pairs = list(zip((2, *tokens), (*tokens, 2), strict=True))
        total = sum(float(self.matrix[pair]) for pair in (pairs if ended else pairs[:-1]))
        return total + BONUS * len(tokens)


def random_batch(seed: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities of every sharpness, ragged; what is padding is not a number."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = int(torch.randint(5, 8, (), generator=generator))
    columns = int(torch.randint(1, 10, (), generator=generator))
    logits = torch.randn(5, columns, vocabulary, generator=generator)
    sharpness = 4 * torch.rand(5, 1, 1, generator=generator)
    log_probs = (sharpness * logits).log_softmax(-1)
    lengths = torch.randint(0, columns + 1, (5,), generator=generator)
    lengths[0] = columns
    for row, length in enumerate(lengths.tolist()):
        log_probs[row, length:] = torch.nan
    return log_probs, lengths


def search(
    collapse: bool, log_probs: Tensor, lengths: Tensor, size: int, fusion: ShallowFusion = NO_FUSION
) -> list[list[Hypothesis]]:
    return prefix_beam(Columns(log_probs.numpy(), lengths.numpy(), collapse), size, fusion)


def assert_same(found: list[Hypothesis], wanted: list[tuple[Tokens, float]]) -> None:
    assert [one.tokens for one in found] == [tokens for tokens, _ in wanted]
    assert [one.score for one in found] == pytest.approx([score for _, score in wanted], abs=1e-4)


@BOTH
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_same_as_a_dictionary_of_prefixes(collapse: bool, fused: bool, size: int) -> None:
    compared = 0
    for seed in range(25):
        log_probs, lengths = random_batch(seed)
        scorer = Bigrams(log_probs.shape[2], torch.Generator().manual_seed(seed))
        fusion = ShallowFusion((scorer,), BONUS) if fused else ShallowFusion()
        external = scorer.external if fused else nothing
        found = search(collapse, log_probs, lengths, size, fusion)
        for row, length in enumerate(lengths.tolist()):
            columns = log_probs[row, :length].double().numpy()
            assert_same(found[row], dictionary_search(columns, size, collapse, external))
            compared += 1
    assert compared == 125


def language_model(words: bool) -> Scorer:
    texts = [["AB", "C"], ["A", "AB", "CA"], ["C", "C", "BA"], ["AB", "C"]]
    units = texts if words else [list("▁".join(text)) for text in texts]
    return language_model_scorer(estimate(units), LETTERS, True, 0.7)


def hot_words() -> Scorer:
    return HotwordScorer({"AB": 1.0, "CA B": 0.8, "C": -0.3}, LETTERS, True)


@BOTH
@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize(
    "scorer", [language_model(words=True), language_model(words=False), hot_words()]
)
def test_real_scorers_rule_out_nothing_that_a_dictionary_keeps(
    collapse: bool, size: int, scorer: Scorer
) -> None:
    fusion = ShallowFusion((scorer,), BONUS)

    @cache
    def after(tokens: Tokens) -> tuple[float, np.ndarray]:
        if not tokens:
            return 0.0, np.array([fusion.start])
        total, states = after(tokens[:-1])
        added, states = fusion.extend(states, np.array([tokens[-1]]))
        return total + float(added[0]), states

    def external(tokens: Tokens, ended: bool) -> float:
        total, states = after(tokens)
        return total + float(fusion.finish(states)[0]) if ended else total

    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        sharpness = 6 * torch.rand(3, 7, 1, generator=generator)
        logits = sharpness * torch.randn(3, 7, LETTERS.vocab_size, generator=generator)
        log_probs = logits.log_softmax(-1)
        found = search(collapse, log_probs, torch.tensor([7, 5, 2]), size, fusion)
        for row, length in enumerate((7, 5, 2)):
            columns = log_probs[row, :length].double().numpy()
            assert_same(found[row], dictionary_search(columns, size, collapse, external))


@BOTH
@pytest.mark.parametrize("fused", [False, True])
def test_a_beam_that_holds_everything_is_exact(collapse: bool, fused: bool) -> None:
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        columns = seed % 4 + 1
        log_probs = (2 * torch.randn(1, columns, 5, generator=generator)).log_softmax(-1)
        scorer = Bigrams(5, generator)
        fusion = ShallowFusion((scorer,), BONUS) if fused else ShallowFusion()
        external = scorer.external if fused else nothing
        (found,) = search(collapse, log_probs, torch.tensor([columns]), 125, fusion)
        wanted = every_sentence(log_probs[0].double().numpy(), collapse, external)
        assert len(found) == len(wanted)
        assert_same(found, wanted)
        for one in found:
            assert one.external == pytest.approx(external(one.tokens, True), abs=1e-4)


@BOTH
def test_tokens_lie_where_the_best_path_has_them(collapse: bool) -> None:
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        log_probs = (3 * torch.randn(2, 5, 5, generator=generator)).log_softmax(-1)
        lengths = torch.tensor([5, seed % 5])
        for row, several in enumerate(search(collapse, log_probs, lengths, 20)):
            columns = log_probs[row, : lengths[row]].double().numpy()
            paths = all_paths(columns, collapse)
            for one in several:
                assert list(one.positions) == best_columns(columns, paths[one.tokens], collapse)
                sure = [
                    float(np.exp(columns[at, token]))
                    for at, token in zip(one.positions, one.tokens, strict=True)
                ]
                assert one.confidences == pytest.approx(sure, abs=1e-5)


@BOTH
@pytest.mark.parametrize("fused", [False, True])
def test_an_utterance_ignores_the_others_of_its_batch(collapse: bool, fused: bool) -> None:
    for seed in range(20):
        log_probs, lengths = random_batch(seed)
        scorer = Bigrams(log_probs.shape[2], torch.Generator().manual_seed(seed))
        fusion = ShallowFusion((scorer,), BONUS) if fused else ShallowFusion()
        together = search(collapse, log_probs, lengths, 4, fusion)
        for row in range(5):
            only = log_probs[row : row + 1, : lengths[row]]
            (alone,) = search(collapse, only, lengths[row : row + 1], 4, fusion)
            assert len(alone) == len(together[row])
            for one, other in zip(alone, together[row], strict=True):
                # how many values are computed at once may change the last bit
                assert one.score == pytest.approx(other.score, rel=1e-5)
                assert one.confidences == pytest.approx(other.confidences, rel=1e-5)
                assert one.external == pytest.approx(other.external, rel=1e-5, abs=1e-5)
                same = replace(
                    one,
                    score=other.score,
                    confidences=other.confidences,
                    external=other.external,
                )
                assert same == other


@BOTH
def test_more_labels_than_are_tried(collapse: bool) -> None:
    """Only the best labels of a column are looked at; without fusion that loses nothing."""
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        log_probs = torch.randn(1, 6, 60, generator=generator).log_softmax(-1)
        (found,) = search(collapse, log_probs, torch.tensor([6]), 12)
        assert_same(found, dictionary_search(log_probs[0].double().numpy(), 12, collapse))


@BOTH
def test_nothing_to_search(collapse: bool) -> None:
    assert search(collapse, torch.zeros(0, 3, 6), torch.zeros(0, dtype=torch.long), 3) == []
    assert search(collapse, torch.zeros(2, 0, 6), torch.tensor([0, 0]), 3) == [[EMPTY], [EMPTY]]
