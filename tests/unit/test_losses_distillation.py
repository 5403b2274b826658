"""Cross entropy with soft targets of a teacher."""

from __future__ import annotations

import pytest
import torch

from fixtures.errors import refused
from keyframe_asr.errors import LossInputError
from keyframe_asr.losses import distilled_cross_entropy, label_smoothed_cross_entropy


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    logits = torch.randn(2, 3, 6, dtype=torch.float64)
    return logits, torch.tensor([[1, 2, 3], [0, -1, 99]]), torch.tensor([3, 1])


def test_equals_the_definition() -> None:
    logits, targets, lengths = batch()
    tokens = torch.tensor([[[1, 4], [0, 0], [5, 3]], [[0, 2], [7, 7], [0, 0]]]).clamp(max=5)
    masses = torch.tensor([[[0.6, 0.2], [0.0, 0.0], [0.5, 0.5]], [[0.1, 0.3], [9, 9], [0, 0]]])
    found = distilled_cross_entropy(
        logits, targets, lengths, tokens, masses, 0.3, 0.1, reduction="none"
    )
    for row in range(2):
        wanted = 0.0
        for step in range(int(lengths[row])):
            wish = torch.full((6,), 0.1 / 6, dtype=torch.float64)
            wish[targets[row, step]] += 0.9
            if masses[row, step].sum() > 0:
                wish *= 0.7
                for token, mass in zip(tokens[row, step], masses[row, step], strict=True):
                    wish[token] += 0.3 * mass / masses[row, step].sum()
            wanted -= float((wish * logits[row, step].log_softmax(-1)).sum())
        assert found[row].item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_a_teacher_it_is_the_cross_entropy(share: float) -> None:
    logits, targets, lengths = batch()
    nothing = torch.zeros(2, 3, 1)
    found = distilled_cross_entropy(logits, targets, lengths, nothing.long(), nothing, share)
    assert torch.allclose(found, label_smoothed_cross_entropy(logits, targets, lengths))


def test_a_perfect_pupil_cannot_improve() -> None:
    """With the teacher alone, the gradient vanishes where both distributions are equal."""
    logits, targets, lengths = batch()
    logits.requires_grad_()
    tokens = torch.arange(6).expand(2, 3, 6)
    teacher = logits.detach().softmax(-1)
    distilled_cross_entropy(logits, targets, lengths, tokens, teacher, 1.0).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-7


def test_padding_has_no_gradient() -> None:
    logits, targets, lengths = batch()
    logits.requires_grad_()
    ones = torch.ones(2, 3, 1)
    distilled_cross_entropy(logits, targets, lengths, ones.long(), ones).backward()
    assert logits.grad is not None
    assert logits.grad[1, 0].any()
    assert not logits.grad[1, 1:].any()


def test_refuses_wrong_shapes_and_share() -> None:
    logits, targets, lengths = batch()
    ones = torch.ones(2, 3, 1)
    with refused(LossInputError, "share", 1.5):
        distilled_cross_entropy(logits, targets, lengths, ones.long(), ones, 1.5)
    with refused(LossInputError, "(2, 2, 1)", "(2, 3)"):
        distilled_cross_entropy(logits, targets, lengths, ones[:, :2].long(), ones[:, :2])
