"""TIL against its NumPy twin in value and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keyframe_asr.losses import til_loss
from reference.til import til_reference

CASES_PER_SEED = 1000


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("seed", range(2))
def test_value_and_gradient_equal_the_twin(seed: int, blank: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(CASES_PER_SEED, 9, 6, generator=generator, dtype=torch.float64)
    log_probs = (3 * logits).log_softmax(-1)
    targets = torch.randint(3, 6, (CASES_PER_SEED, 8), generator=generator)
    input_lengths = torch.randint(1, 10, (CASES_PER_SEED,), generator=generator)
    target_lengths = torch.randint(0, 9, (CASES_PER_SEED,), generator=generator)
    for place in range(CASES_PER_SEED):
        log_probs[place, input_lengths[place] :] = float("nan")
        targets[place, target_lengths[place] :] = -100
    log_probs.requires_grad_()
    losses = til_loss(
        log_probs, targets, input_lengths, target_lengths, blank=blank, reduction="none"
    )
    losses.sum().backward()
    assert log_probs.grad is not None
    for place in range(CASES_PER_SEED):
        m, n = int(input_lengths[place]), int(target_lengths[place])
        wanted, gradient = til_reference(
            log_probs[place, :m].detach().numpy(), targets[place, :n].tolist(), blank
        )
        assert losses[place].item() == pytest.approx(wanted, abs=1e-9)
        np.testing.assert_allclose(log_probs.grad[place, :m].numpy(), gradient, atol=1e-12)
        assert not log_probs.grad[place, m:].any()


def test_gradient_equals_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    log_probs = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64).log_softmax(-1)
    targets = torch.tensor([[1, 1, 2], [3, 4, 0], [0, 0, 0]])
    lengths = torch.tensor([4, 1, 3]), torch.tensor([3, 2, 0])
    assert torch.autograd.gradcheck(
        lambda given: til_loss(given, targets, *lengths), (log_probs.requires_grad_(),)
    )
