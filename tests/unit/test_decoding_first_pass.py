"""Greedy decoding against the best label of each column, and n-best of a padded batch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.decoding.hypothesis import EMPTY
from keyframe_asr.decoding.prefix_beam import prefix_beam
from keyframe_asr.decoding.viterbi import Columns

A, B, C = 3, 4, 5


def spiky(labels: list[list[int]], vocab_size: int = 6, probability: float = 0.9) -> np.ndarray:
    """Log-probabilities (B, K, V) whose best labels are these."""
    rest = (1 - probability) / (vocab_size - 1)
    one_hot = np.eye(vocab_size, dtype=np.float32)[np.array(labels)]
    return np.log(one_hot * (probability - rest) + rest)


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label not in (0, 2))


def kept(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label in path if label not in (0, 2))


def test_aligned_drops_blanks_and_keeps_repeats() -> None:
    (found,) = greedy_aligned(spiky([[A, A, 0, B, 2, A]]), np.array([6]))
    assert found.tokens == (A, A, B, A)
    assert found.positions == (0, 1, 3, 5)
    assert found.confidences == pytest.approx([0.9] * 4)
    assert found.score == pytest.approx(6 * np.log(0.9), rel=1e-5)


def test_ctc_collapses_repeats_unless_a_blank_lies_between() -> None:
    (found,) = greedy_ctc(spiky([[A, A, 0, A, B, B, 0]]), np.array([7]))
    assert found.tokens == (A, A, B)
    assert found.positions == (0, 3, 4)


def test_ctc_token_lies_at_the_peak_of_its_run() -> None:
    log_probs = spiky([[0, A, A, A, 0]], probability=0.6)
    log_probs[0, 2] = spiky([[A]], probability=0.99)[0, 0]
    (found,) = greedy_ctc(log_probs, np.array([5]))
    assert found.positions == (2,)
    assert found.confidences == pytest.approx([0.99])


@pytest.mark.parametrize("decode", [greedy_aligned, greedy_ctc])
def test_padding_is_never_read(decode) -> None:
    log_probs = spiky([[A, B, C], [A, B, C], [A, B, C]])
    log_probs[1, 1:] = np.nan
    found = decode(log_probs, np.array([3, 1, 0]))
    assert [one.tokens for one in found] == [(A, B, C), (A,), ()]
    assert found[2] == EMPTY


@pytest.mark.parametrize("decode", [greedy_aligned, greedy_ctc])
def test_no_columns_at_all(decode) -> None:
    assert decode(np.zeros((2, 0, 6)), np.array([0, 0])) == [EMPTY, EMPTY]


@pytest.mark.parametrize("decode", [greedy_aligned, greedy_ctc])
def test_greedy_equals_the_best_path(decode) -> None:
    rng = np.random.default_rng(1)
    log_probs = np.log(rng.dirichlet(np.ones(5), (200, 9)))
    lengths = rng.integers(0, 10, 200)
    spell = collapsed if decode is greedy_ctc else kept
    for row, length, found in zip(log_probs, lengths, decode(log_probs, lengths), strict=True):
        path = tuple(row[: int(length)].argmax(-1).tolist())
        assert found.tokens == spell(path)
        assert [path[position] for position in found.positions] == list(found.tokens)


@pytest.mark.parametrize("collapse", [True, False])
def test_n_best_of_a_padded_batch(collapse: bool) -> None:
    log_probs = spiky([[A, 0, B], [A, 0, B]])
    log_probs[1, 1:] = np.nan
    found = prefix_beam(Columns(log_probs, np.array([3, 1]), collapse), size=4)
    assert found[0][0].tokens == (A, B)
    assert found[0][0].positions == (0, 2)
    assert len(found[0]) == 4
    assert found[1][0].tokens == (A,)
    nothing = Columns(log_probs, np.array([0, 0]), collapse)
    assert prefix_beam(nothing, size=4) == [[EMPTY], [EMPTY]]
