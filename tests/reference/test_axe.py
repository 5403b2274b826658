"""AXE against its NumPy twin in value, gradient and path, and against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from keyframe_asr.decoding.axe_alignment import axe_positions
from keyframe_asr.decoding.viterbi import Columns
from keyframe_asr.losses import axe_align, axe_loss
from reference.axe import all_alignments, axe_brute_force, axe_reference

CASES_PER_SEED = 600


def random_batch(
    seed: int, size: int, longest_input: int, longest_target: int, vocabulary: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A ragged float64 batch with m < n, m = n, m > n, m = 1 and n = 0; NaN in the padding."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, longest_input, vocabulary, generator=generator, dtype=torch.float64)
    sharpness = 5 * torch.rand(size, 1, 1, generator=generator, dtype=torch.float64)
    log_probs = (sharpness * logits).log_softmax(-1)
    targets = torch.randint(1, vocabulary, (size, longest_target), generator=generator)
    input_lengths = torch.randint(1, longest_input + 1, (size,), generator=generator)
    target_lengths = torch.randint(0, longest_target + 1, (size,), generator=generator)
    equal = torch.rand(size, generator=generator) < 0.2
    target_lengths = torch.where(equal, input_lengths.clamp(max=longest_target), target_lengths)
    input_lengths[torch.rand(size, generator=generator) < 0.05] = 1
    for place in range(size):
        log_probs[place, input_lengths[place] :] = math.nan
        targets[place, target_lengths[place] :] = -100
    return log_probs, targets, input_lengths, target_lengths


@pytest.mark.parametrize("penalty", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_value_gradient_and_path_equal_the_twin(seed: int, penalty: float) -> None:
    batch = random_batch(seed, CASES_PER_SEED, 9, 8, 6)
    log_probs, targets, input_lengths, target_lengths = batch
    log_probs.requires_grad_()
    losses = axe_loss(*batch, skip_target_penalty=penalty, reduction="none")
    losses.sum().backward()
    alignment = axe_align(*batch, skip_target_penalty=penalty)
    assert log_probs.grad is not None
    unique = 0
    for place in range(CASES_PER_SEED):
        m, n = int(input_lengths[place]), int(target_lengths[place])
        wanted, gradient, path = axe_reference(
            log_probs[place, :m].detach().numpy(), targets[place, :n].tolist(), penalty=penalty
        )
        assert losses[place].item() == pytest.approx(wanted, abs=1e-9)
        assert alignment.cost[place].item() == pytest.approx(wanted, abs=1e-9)
        got = log_probs.grad[place]
        np.testing.assert_allclose(got[:m].numpy(), gradient, atol=1e-12)
        assert not got[m:].any()
        if len(set(targets[place, :n].tolist())) < n or penalty == 1.0:
            continue  # equal tokens, or skips as cheap as aligning, make equally cheap paths
        unique += 1
        taken = [(name, j - 1) for name, _, j in path if name != "skip_prediction"]
        assert alignment.position[place, :n].tolist() == [j for _, j in taken]
        assert alignment.skipped[place, :n].tolist() == [name == "skip_target" for name, _ in taken]
        aligned = {j for name, j in taken if name == "align"}
        assert set(alignment.prediction_aligned[place].nonzero().flatten().tolist()) == aligned
    assert unique > CASES_PER_SEED // 10 or penalty == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_decoding_finds_the_alignment_of_the_loss(seed: int) -> None:
    log_probs, targets, input_lengths, target_lengths = random_batch(seed, CASES_PER_SEED, 9, 8, 6)
    head = Columns(log_probs.numpy(), input_lengths.numpy(), collapse=False)
    found = axe_positions(head, targets.numpy(), target_lengths.numpy())
    wanted = axe_align(log_probs, targets, input_lengths, target_lengths)
    np.testing.assert_array_equal(found, wanted.position.numpy())


def test_decoding_aligns_nothing_with_nothing() -> None:
    head = Columns(np.zeros((2, 0, 4)), np.array([0, 0]), collapse=False)
    none = np.array([0, 0])
    assert axe_positions(head, np.zeros((2, 3), dtype=np.int64), none).tolist() == [[-1] * 3] * 2
    head = Columns(np.zeros((2, 5, 4)), np.array([5, 2]), collapse=False)
    assert axe_positions(head, np.zeros((2, 0), dtype=np.int64), none).shape == (2, 0)


@pytest.mark.parametrize("blank", [0, 3])
def test_equals_brute_force_over_all_alignments(blank: int) -> None:
    log_probs, targets, input_lengths, target_lengths = random_batch(7, 150, 4, 4, 5)
    targets = torch.where(targets == blank, 0, targets)
    losses = axe_loss(
        log_probs, targets, input_lengths, target_lengths, blank=blank, reduction="none"
    )
    for place, loss in enumerate(losses.tolist()):
        m, n = int(input_lengths[place]), int(target_lengths[place])
        wanted = axe_brute_force(
            log_probs[place, :m].numpy(), targets[place, :n].tolist(), blank=blank
        )
        assert loss == pytest.approx(wanted, abs=1e-9)


def test_brute_force_sees_every_alignment() -> None:
    # The Delannoy numbers count the paths of a grid with diagonal steps.
    assert [len(list(all_alignments(size, size))) for size in range(5)] == [1, 3, 13, 63, 321]


def test_gradient_equals_finite_differences() -> None:
    log_probs, targets, input_lengths, target_lengths = random_batch(11, 6, 4, 3, 5)
    log_probs = torch.nan_to_num(log_probs).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda given: axe_loss(given, targets, input_lengths, target_lengths), (log_probs,)
    )


def test_float32_stays_close_to_float64_at_full_size() -> None:
    batch = random_batch(5, 8, 120, 100, 50)
    exact = axe_loss(*batch, reduction="none")
    rounded = axe_loss(batch[0].float(), *batch[1:], reduction="none")
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-5, atol=1e-3)
