"""Hot words against counting them in the finished text."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest

from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.decoding.hotwords import HotwordScorer
from keyframe_asr.decoding.hypothesis import padded
from keyframe_asr.decoding.prefix_beam import prefix_beam
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns
from keyframe_asr.text.tokenizer import CharacterTokenizer, Tokenizer, train_tokenizer

WORDS = ["A", "AB", "ABA", "B", "BAB", "CAR", "CARPET", "PET", "A B"]


def counted(text: str, phrases: dict[str, float], tokenizer: Tokenizer, spaced: bool) -> float:
    """Every occurrence, overlapping ones too, by comparing at every place."""
    total = 0.0
    where = f" {text} " if spaced else text
    for phrase, bonus in phrases.items():
        wanted = f" {phrase} " if spaced else phrase
        places = sum(where.startswith(wanted, place) for place in range(len(where)))
        total += places * bonus * len(tokenizer.encode(phrase))
    return total


@cache
def pieces() -> Tokenizer:
    generator = random.Random(0)
    texts = [" ".join(generator.choices(WORDS, k=5)) for _ in range(50)]
    return train_tokenizer(texts, TokenizerConfig(kind="sentencepiece", vocab_size=24))


def multi_letter() -> Tokenizer:
    """Tokens of several letters in text without spaces, as sentencepiece gives for Mandarin."""

    class Several(CharacterTokenizer):
        def __init__(self) -> None:
            super().__init__("中国人民天")
            self._symbols += ["中国", "国人", "人民天", "民天中国"]

    return Several()


def assert_bounded(scorer: HotwordScorer, sentences: list[list[int]]) -> None:
    """No token earns more than `upper_bound` allowed before it."""
    tokens, lengths = padded(sentences)
    states = np.array([scorer.start] * len(sentences))
    for place, token in enumerate(tokens.T):
        bound = scorer.upper_bound(states)
        earned, states = scorer.extend(states, token)
        assert (earned <= bound + 1e-4)[place < lengths].all()


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_a_sentence_gets_the_bonus_of_the_phrases_it_holds(spaced: bool, whole: bool) -> None:
    """Random token sequences: words cut into pieces or letters, phrases broken off half-way."""
    compared = 0
    for seed in range(12):
        generator = random.Random(seed)
        if spaced:
            tokenizer = pieces() if whole else CharacterTokenizer("ABCEPRT ")
            vocabulary = WORDS
        else:
            tokenizer = multi_letter() if whole else CharacterTokenizer("中国人民天")
            vocabulary = ["中国", "中国人", "人民", "国人民", "天天", "天", "中"]
        phrases = {
            phrase: generator.uniform(0.1, 2.0)
            for phrase in generator.sample(vocabulary, generator.randint(1, 5))
        }
        scorer = HotwordScorer(phrases, tokenizer, spaced)
        tokens = [
            [generator.randrange(3, tokenizer.vocab_size) for _ in range(generator.randint(0, 12))]
            for _ in range(20)
        ]
        if spaced and not whole:  # letters at random hardly ever make a phrase
            tokens += [tokenizer.encode(" ".join(generator.choices(WORDS, k=6))) for _ in range(20)]
        assert_bounded(scorer, tokens)
        found = ShallowFusion((scorer,)).score(tokens).tolist()
        for sentence, score in zip(tokens, found, strict=True):
            wanted = counted(tokenizer.decode(sentence), phrases, tokenizer, spaced)
            assert score == pytest.approx(wanted, abs=1e-4)
            compared += wanted > 0
    assert compared > 50


def test_the_bonus_comes_letter_by_letter_and_goes_when_the_word_goes_on() -> None:
    tokenizer = CharacterTokenizer("ACEPRT ")
    scorer = HotwordScorer({"CAR": 2.0}, tokenizer, True)
    states = np.array([scorer.start])
    gained = []
    for token in tokenizer.encode("CARPET CAR"):
        added, states = scorer.extend(states, np.array([token]))
        gained.append(round(float(added[0]), 4))
    assert gained == [2, 2, 2, -6, 0, 0, 0, 2, 2, 2]
    assert float(scorer.finish(states)[0]) == pytest.approx(0.0)


@pytest.mark.parametrize("collapse", [True, False])
def test_a_hot_word_wins_where_the_network_hesitates_and_nowhere_else(collapse: bool) -> None:
    tokenizer = CharacterTokenizer("人任仁")
    one, other, third = tokenizer.encode("人任仁")
    log_probs = np.full((1, 3, tokenizer.vocab_size), -12.0)
    log_probs[0, 0, one], log_probs[0, 0, other] = -0.6, -0.9  # hesitates
    log_probs[0, 1, 0] = -0.01
    log_probs[0, 2, one], log_probs[0, 2, other] = -0.01, -9.0  # is sure
    scorer = HotwordScorer({"任": 1.5, "仁": 1.5}, tokenizer, False)
    columns = Columns(log_probs, np.array([3]), collapse)
    plain = prefix_beam(columns, 4)[0][0]
    found = prefix_beam(columns, 4, ShallowFusion((scorer,)))[0][0]
    assert plain.tokens == (one, one)
    assert found.tokens == (other, one)
    assert third not in found.tokens
    assert found.external == pytest.approx(1.5)
