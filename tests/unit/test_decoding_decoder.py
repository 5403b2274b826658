"""Beam search and rescoring against enumeration of every sentence, on small random decoders."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from keyframe_asr.config.model import DecoderConfig
from keyframe_asr.decoding.beam import BeamConfig, attention_beam
from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis
from keyframe_asr.decoding.rescoring import rescore
from keyframe_asr.inference.torch_network import TorchDecoder
from keyframe_asr.model.decoder import AttentionDecoder
from keyframe_asr.text.tokenizer import END

DIM, VOCABULARY, REAL = 8, 6, (1, 3, 4, 5)


@pytest.fixture(scope="module")
def decoder() -> AttentionDecoder:
    torch.manual_seed(4)
    config = DecoderConfig(layers=2, heads=2, feed_forward=16)
    decoder = AttentionDecoder(DIM, VOCABULARY, config).eval()
    for parameter in decoder.parameters():  # sharper than freshly initialised
        parameter.data.mul_(2.0)
    return decoder.requires_grad_(False)


@pytest.fixture(scope="module")
def memory() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(5, 7, DIM, generator=generator), torch.tensor([7, 3, 1, 5, 0])


def sentence_scores(
    decoder: AttentionDecoder, memory: Tensor, length: Tensor, tokens: tuple[int, ...]
) -> list[float]:
    """Log-probability of each token and of the end, by teacher forcing on one sentence."""
    prefix = torch.tensor([[END, *tokens]])
    sizes = torch.tensor([len(tokens) + 1])
    log_probs = decoder(prefix, sizes, memory[None, :length], length[None]).log_softmax(-1)[0]
    return [float(log_probs[step, token]) for step, token in enumerate((*tokens, END))]


def search(
    decoder: AttentionDecoder, memory: tuple[Tensor, Tensor], limits: list[int], config: BeamConfig
) -> list[Hypothesis]:
    return attention_beam(TorchDecoder(decoder, *memory), np.array(limits), config)


@pytest.mark.parametrize("normalised", [False, True])
def test_a_wide_beam_finds_the_best_of_all_sentences(decoder, memory, normalised) -> None:
    limits = [3, 2, 1, 0, 0]
    found = search(decoder, memory, limits, BeamConfig(200, normalised))
    assert found[3:] == [EMPTY, EMPTY]
    for row in range(3):
        best, best_score, best_parts = (), -math.inf, []
        for size in range(limits[row] + 1):
            for tokens in itertools.product(REAL, repeat=size):
                parts = sentence_scores(decoder, memory[0][row], memory[1][row], tokens)
                score = sum(parts) / (len(parts) if normalised else 1)
                if score > best_score:
                    best, best_score, best_parts = tokens, score, parts
        assert found[row].tokens == best
        assert found[row].score == pytest.approx(sum(best_parts), abs=1e-4)
        confidences = [math.exp(part) for part in best_parts[:-1]]
        assert found[row].confidences == pytest.approx(confidences, abs=1e-4)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_the_search_of_one_utterance_ignores_the_others(decoder, memory, size, normalised) -> None:
    frames, lengths = memory
    limits = [7, 3, 1, 5, 0]
    config = BeamConfig(size, normalised)
    together = search(decoder, memory, limits, config)
    for row in range(4):
        only = slice(row, row + 1)
        own = frames[only, : lengths[row]], lengths[only]
        (alone,) = search(decoder, own, limits[only], config)
        assert alone.tokens == together[row].tokens
        assert alone.score == pytest.approx(together[row].score, abs=1e-4)


def test_output_is_bounded_by_the_limit_and_holds_no_special_ids(decoder, memory) -> None:
    limits = [2, 3, 1, 4, 5]
    found = search(decoder, memory, limits, BeamConfig(10))
    for one, limit in zip(found, limits, strict=True):
        assert len(one.tokens) <= limit
        assert not {0, END} & set(one.tokens)


def test_no_text_is_shorter_than_it_may_be(decoder, memory) -> None:
    limits, fewest = np.array([5, 4, 3, 0, 0]), np.array([4, 4, 0, 0, 0])
    config, attending = BeamConfig(10), TorchDecoder(decoder, *memory)
    found = attention_beam(attending, limits, config, fewest=fewest)
    free = attention_beam(attending, limits, config)
    assert all(4 <= len(one.tokens) <= 5 for one in found[:2])
    assert min(len(one.tokens) for one in free[:2]) < 4
    assert found[2:] == free[2:]


def test_no_utterance_at_all(decoder) -> None:
    nobody = torch.zeros(0, 3, DIM), torch.zeros(0, dtype=torch.long)
    assert search(decoder, nobody, [], BeamConfig(10)) == []
    assert rescore(TorchDecoder(decoder, *nobody), [], 0.5) == []


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_rescoring_takes_the_best_interpolated_score(decoder, memory, weight) -> None:
    frames, lengths = memory
    candidates = [
        [
            Hypothesis((3, 4, 5), -0.5, (0, 1, 4), (0.9, 0.9, 0.9)),
            Hypothesis((3, 4), -0.9, (0, 1), (0.9, 0.9)),
            Hypothesis((), -4.0),
        ],
        [Hypothesis((5,), -0.3, (2,), (0.7,)), Hypothesis((4, 4), -0.4, (0, 1), (0.5, 0.5))],
    ]
    found = rescore(TorchDecoder(decoder, frames[:2], lengths[:2]), candidates, weight)
    for row, several in enumerate(candidates):
        scores = {}
        for one in several:
            parts = sentence_scores(decoder, frames[row], lengths[row], one.tokens)
            scores[one.tokens] = weight * sum(parts) + (1 - weight) * one.score
        best = max(scores, key=scores.__getitem__)
        assert found[row].tokens == best
        assert found[row].score == pytest.approx(scores[best], abs=1e-4)
        assert len(found[row].positions) == len(found[row].confidences) == len(best)


def test_rescoring_nothing_gives_nothing(decoder, memory) -> None:
    attending = TorchDecoder(decoder, *memory)
    assert rescore(attending, [[], [], [], [], []], 0.5) == [EMPTY] * 5
