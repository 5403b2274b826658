"""`forced_alignment` against its twin: ragged batches, no targets, too many targets, ties."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keyframe_asr.data.alignment import frames_needed
from keyframe_asr.decoding.viterbi import forced_alignment
from reference.forced_alignment import best_path

BATCH = 16


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_twin(seed: int) -> None:
    """640 utterances; in every fourth batch probabilities have few values, so ties abound."""
    rng = np.random.default_rng(seed)
    frames, count, vocabulary = rng.integers(0, 14), rng.integers(0, 7), rng.integers(2, 6)
    blank = int(rng.integers(0, vocabulary))
    logits = 3 * rng.normal(size=(BATCH, frames, vocabulary))
    if seed % 4 == 0:
        logits = np.round(logits / 3)
    log_probs = torch.from_numpy(logits).log_softmax(-1)
    if seed % 4 == 0:
        log_probs = (log_probs * 8).round() / 8  # sums of these are exact
    labels = [label for label in range(vocabulary) if label != blank]
    targets = rng.choice(labels, size=(BATCH, count))
    input_lengths = rng.integers(0, frames + 1, size=BATCH)
    target_lengths = rng.integers(0, count + 1, size=BATCH)
    found = forced_alignment(
        log_probs,
        torch.from_numpy(targets),
        torch.from_numpy(input_lengths),
        torch.from_numpy(target_lengths),
        blank,
    )
    for row in range(BATCH):
        said = targets[row, : target_lengths[row]].tolist()
        heard = log_probs[row, : input_lengths[row]].numpy()
        score, path = best_path(heard, said, blank)
        assert float(found.score[row]) == pytest.approx(score)
        assert (score == -np.inf) == (len(heard) < frames_needed(said))
        runs = [
            [frame for frame, state in enumerate(path) if state == 2 * place + 1]
            for place in range(len(said))
        ]
        filled = [[0]] * count if not path else runs + [[0]] * (count - len(said))
        peaks = [
            max(run, key=lambda frame: heard[frame, said[place]]) if path else 0
            for place, run in enumerate(runs)
        ]
        assert found.first[row].tolist() == [run[0] for run in filled]
        assert found.last[row].tolist() == [run[-1] for run in filled]
        assert found.peak[row, : len(said)].tolist() == peaks


def test_no_frames_and_no_targets() -> None:
    nothing = torch.zeros(1, 0, 3), torch.zeros(1, 0, dtype=torch.long)
    found = forced_alignment(*nothing, torch.tensor([0]), torch.tensor([0]))
    assert found.score.tolist() == [0.0] and found.first.shape == (1, 0)


def test_equal_neighbours_need_a_blank_between_them() -> None:
    log_probs = torch.tensor([[[-2.0, -0.2], [-2.0, -0.2], [-2.0, -0.2]]])
    twice = forced_alignment(
        log_probs, torch.tensor([[1, 1]]), torch.tensor([3]), torch.tensor([2])
    )
    assert (twice.first.tolist(), twice.last.tolist()) == ([[0, 2]], [[0, 2]])
    assert twice.score.tolist() == pytest.approx([-2.4])
    short = forced_alignment(
        log_probs, torch.tensor([[1, 1]]), torch.tensor([2]), torch.tensor([2])
    )
    assert short.score.tolist() == [-torch.inf]
