"""Keyframes chosen in NumPy are those that the network chooses in torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from keyframe_asr.config.model import KeyframesConfig
from keyframe_asr.model.decoder_memory import _each_once
from keyframe_asr.model.keyframe_layers import outputs_around as outputs_around_in_torch
from keyframe_asr.model.keyframes import Keyframes as KeyframesInTorch
from keyframe_asr.model.keyframes import SelectionPolicy
from keyframe_asr.model.keyframes import select_keyframes as select_in_torch
from keyframe_asr.runtime.keyframes import all_frames, outputs_around, select_keyframes

CASES = 400
"""Batches for each of the rules; each has up to 4 utterances."""


def log_probs_with_ties(
    random: np.random.Generator, batch: int, frames: int
) -> npt.NDArray[np.float32]:
    """(B, U, V) of few different values, in which blank leads for long."""
    labels = int(random.integers(2, 6))
    scores = random.integers(0, 4, (batch, frames, labels)).astype(np.float32)
    scores[..., 0] += random.integers(0, 3)
    if random.random() < 0.3:
        scores = np.repeat(scores[:, ::2], 2, axis=1)[:, :frames]  # runs of equal frames
    return (scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))).astype(np.float32)


@pytest.mark.parametrize("keep", ["peak", "first"])
@pytest.mark.parametrize("threshold", [None, 0.3, 0.9])
@pytest.mark.parametrize("least", [False, True])
def test_the_same_frames_as_in_torch(keep: str, threshold: float | None, least: bool) -> None:
    config = KeyframesConfig(keep=keep, blank_threshold=threshold)
    policy = SelectionPolicy(config.keep, threshold)
    random = np.random.default_rng([3, keep == "peak", int(10 * (threshold or 0)), least])
    kept = 0
    for _ in range(CASES):
        batch, frames = int(random.integers(1, 5)), int(random.integers(1, 30))
        log_probs = log_probs_with_ties(random, batch, frames)
        lengths = random.integers(0, frames + 1, batch)
        fewest = random.integers(0, frames + 3, batch) if least else None
        for row, length in enumerate(lengths):
            log_probs[row, length:] = np.nan  # padding may have any value
        found = select_keyframes(log_probs, lengths, config, fewest)
        expected = select_in_torch(
            torch.from_numpy(log_probs),
            torch.from_numpy(lengths),
            policy,
            None if fewest is None else torch.from_numpy(fewest),
        )
        np.testing.assert_array_equal(found.index, expected.index)
        np.testing.assert_array_equal(found.lengths, expected.lengths)
        kept += int(found.lengths.sum())
    assert kept > CASES


def test_what_is_no_log_probability_is_refused() -> None:
    log_probs = np.zeros((2, 3, 4), dtype=np.float32)
    for value in (np.nan, np.inf):
        log_probs[1, 2] = value
        with pytest.raises(ValueError, match=r"\[1\]"):
            select_keyframes(log_probs, np.array([3, 3]), KeyframesConfig())
        assert select_keyframes(log_probs, np.array([3, 2]), KeyframesConfig()).lengths.all()
    with pytest.raises(ValueError, match=r"\[0\]"):
        select_keyframes(log_probs, np.array([4, 2]), KeyframesConfig())


def test_all_frames_are_those_of_the_network() -> None:
    lengths = np.array([3, 0, 5])
    found = all_frames(lengths, 5)
    expected = KeyframesInTorch.all_frames(torch.from_numpy(lengths), 5)
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.lengths, expected.lengths)


@pytest.mark.parametrize(("size", "step"), [(4, 2), (1, 2), (3, 4), (7, 2)])
def test_outputs_around_keyframes_are_each_taken_once(size: int, step: int) -> None:
    random = np.random.default_rng([size, step])
    for _ in range(100):
        frames = int(random.integers(1, 20))
        lengths = random.integers(0, frames + 1, 3)
        config = KeyframesConfig()
        keyframes = select_keyframes(log_probs_with_ties(random, 3, frames), lengths, config)
        sizes = np.maximum(0, lengths * step - random.integers(0, step, 3))
        found = outputs_around(keyframes, sizes, size, step)
        in_torch = KeyframesInTorch(
            torch.from_numpy(keyframes.index), torch.from_numpy(keyframes.lengths)
        )
        outputs = torch.zeros(3, max(1, int(sizes.max())), 1)
        around = outputs_around_in_torch(in_torch, torch.from_numpy(sizes), size, step)
        _, index, counts = _each_once(outputs, *around)
        np.testing.assert_array_equal(found.lengths, counts)
        for row, count in enumerate(counts.tolist()):
            np.testing.assert_array_equal(found.index[row, :count], index[row, :count])
