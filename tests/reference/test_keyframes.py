"""`select_keyframes` against its twin on thousands of random utterances, ties included."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from keyframe_asr.model.keyframes import SelectionPolicy, select_keyframes
from reference.keyframes import label_of, select

BATCH, ROUNDS = 32, 12
KEEPS: tuple[Literal["peak", "first"], ...] = ("peak", "first")
POLICIES = [
    SelectionPolicy(keep=keep, blank_threshold=threshold, blank=blank)
    for keep in KEEPS
    for threshold in (None, 0.2, 0.7)
    for blank in (0, 2, 3)
]


def random_log_probs(rng: np.random.Generator, kind: str, frames: int) -> torch.Tensor:
    """(BATCH, frames, 4): smooth, with many exact ties, or peaky with long runs."""
    logits = rng.normal(size=(BATCH, frames, 4)) * 2
    if kind == "tied":
        logits = np.round(logits)  # few distinct frames, so equal probabilities abound
        logits = np.where(np.abs(logits) < 2, 0.0, 2.0)
    if kind == "runs":
        logits = np.repeat(logits, 4, axis=1)[:, :frames] + rng.normal(size=logits.shape) * 0.3
    return torch.from_numpy(logits).float().log_softmax(-1)


@pytest.mark.parametrize("kind", ["smooth", "tied", "runs"])
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_equals_the_twin(policy: SelectionPolicy, kind: str) -> None:
    rng = np.random.default_rng(POLICIES.index(policy))
    for number in range(ROUNDS):
        frames = int(rng.integers(1, 20))
        log_probs = random_log_probs(rng, kind, frames)
        lengths = torch.from_numpy(rng.integers(0, frames + 1, size=BATCH))
        minimum = torch.from_numpy(rng.integers(0, frames + 4, size=BATCH)) if number % 2 else None
        chosen = select_keyframes(log_probs, lengths, policy, minimum)
        expected = select(
            log_probs.numpy(),
            lengths.numpy(),
            policy,
            None if minimum is None else minimum.numpy(),
        )
        assert chosen.lengths.tolist() == [len(row) for row in expected]
        assert chosen.index.shape[1] == max(1, *map(len, expected))
        for row, length, want in zip(
            chosen.index.tolist(), chosen.lengths.tolist(), expected, strict=True
        ):
            assert row == want + [0] * (len(row) - length)


def test_the_random_cases_reach_every_rule() -> None:
    """Guards the test above: every option changes the choice, ties and silent rows occur."""
    rng = np.random.default_rng(0)
    runs = random_log_probs(rng, "runs", 12).numpy()
    lengths = np.full(BATCH, 12)
    plain = select(runs, lengths, SelectionPolicy())
    assert plain != select(runs, lengths, SelectionPolicy(keep="first"))
    assert plain != select(runs, lengths, SelectionPolicy(blank_threshold=0.2))
    assert plain != select(runs, lengths, SelectionPolicy(blank_threshold=0.7))
    assert plain != select(runs, lengths, SelectionPolicy(), np.full(BATCH, 9))

    tied = random_log_probs(rng, "tied", 12).numpy()
    policy = SelectionPolicy()
    equal_neighbours = [
        tied[b, t].max() == tied[b, t + 1].max()
        for b, t in np.ndindex(BATCH, 11)
        if label_of(tied[b, t], policy) == label_of(tied[b, t + 1], policy) is not None
    ]
    assert sum(equal_neighbours) > 10
    silent = [all(label_of(frame, policy) is None for frame in row[:2]) for row in tied]
    assert any(silent)
