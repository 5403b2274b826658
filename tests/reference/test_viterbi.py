"""`best_paths` against its twin: ragged batches, no tokens, too many tokens, ties."""

from __future__ import annotations

import numpy as np
import pytest

from keyframe_asr.decoding.viterbi import Columns, best_paths
from keyframe_asr.timing import frames_needed
from reference.viterbi import best_path

BATCH = 16
BOTH = pytest.mark.parametrize("collapse", [True, False])


@BOTH
@pytest.mark.parametrize("seed", range(40))
def test_equals_the_twin(seed: int, collapse: bool) -> None:
    """640 sequences; in every fourth batch probabilities have few values, so ties abound."""
    rng = np.random.default_rng(seed)
    frames, count, vocabulary = rng.integers(0, 14), rng.integers(0, 7), rng.integers(2, 6)
    logits = 3 * rng.normal(size=(BATCH, frames, vocabulary))
    if seed % 4 == 0:
        logits = np.round(logits / 3)
    log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    if seed % 4 == 0:
        log_probs = np.round(log_probs * 8) / 8  # sums of these are exact
    tokens = rng.integers(1, vocabulary, size=(BATCH, count))
    lengths = rng.integers(0, frames + 1, size=BATCH)
    counts = rng.integers(0, count + 1, size=BATCH)
    rows = rng.permutation(BATCH) if seed % 2 else None
    padded = log_probs.copy()
    for row, length in enumerate(lengths):
        padded[row, length:] = np.nan
    found = best_paths(Columns(padded, lengths, collapse), tokens, counts, rows)
    for place, row in enumerate(range(BATCH) if rows is None else rows):
        said = tokens[place, : counts[place]].tolist()
        heard = log_probs[row, : lengths[row]]
        score, path = best_path(heard, said, collapse)
        needed = frames_needed(said) if collapse else len(said)
        assert float(found.scores[place]) == pytest.approx(score)
        assert (score == -np.inf) == (len(heard) < needed)
        if score > -np.inf:
            assert found.states[place, : len(heard)].tolist() == path
        peaks = []
        for number, token in enumerate(said):
            run = [frame for frame, state in enumerate(path) if state == 2 * number + 1]
            peaks.append(max(run, key=lambda frame: heard[frame, token]) if run else 0)
        assert found.positions[place].tolist() == peaks + [0] * (count - len(said))


@BOTH
def test_no_columns_and_no_tokens(collapse: bool) -> None:
    columns = Columns(np.zeros((1, 0, 3)), np.array([0]), collapse)
    found = best_paths(columns, np.zeros((1, 0), dtype=np.int64), np.array([0]))
    assert found.scores.tolist() == [0.0]
    assert (found.positions.shape, found.states.shape) == ((1, 0), (1, 0))


@BOTH
def test_no_sequences(collapse: bool) -> None:
    columns = Columns(np.zeros((2, 3, 4)), np.array([3, 2]), collapse)
    nothing = np.zeros(0, dtype=np.int64)
    found = best_paths(columns, nothing.reshape(0, 0), nothing, nothing)
    assert (found.positions.shape, found.scores.shape) == ((0, 0), (0,))


def test_equal_neighbours_need_a_blank_between_them() -> None:
    log_probs, twice = np.array([[[-2.0, -0.2]] * 3]), np.array([[1, 1]])
    apart = best_paths(Columns(log_probs, np.array([3]), True), twice, np.array([2]))
    assert apart.states.tolist() == [[1, 2, 3]] and apart.positions.tolist() == [[0, 2]]
    assert apart.scores.tolist() == pytest.approx([-2.4])
    short = best_paths(Columns(log_probs, np.array([2]), True), twice, np.array([2]))
    assert short.scores.tolist() == [-np.inf]


def test_a_column_of_a_length_head_is_one_token() -> None:
    log_probs, twice = np.array([[[-2.0, -0.2]] * 3]), np.array([[1, 1]])
    found = best_paths(Columns(log_probs, np.array([2]), False), twice, np.array([2]))
    assert found.positions.tolist() == [[0, 1]]
    assert found.scores.tolist() == pytest.approx([-0.4])
