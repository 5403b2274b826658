"""The CTC wrapper against torch, and where it departs from it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from keyframe_asr.losses import ctc_loss

TARGETS = torch.tensor([[1, 2, 2], [3, 0, 0]])
LENGTHS = torch.tensor([6, 4]), torch.tensor([3, 1])


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_equals_torch(reduction: str) -> None:
    logits = torch.randn(2, 6, 5, dtype=torch.float64)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    got = ctc_loss(ours.log_softmax(-1), TARGETS, *LENGTHS, reduction=reduction)
    wanted = F.ctc_loss(
        theirs.log_softmax(-1).transpose(0, 1), TARGETS, *LENGTHS, reduction=reduction
    )
    torch.testing.assert_close(got, wanted)
    got.sum().backward()
    wanted.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_an_utterance_too_short_for_its_targets_counts_nothing() -> None:
    logits = torch.randn(2, 6, 5, requires_grad=True)
    losses = ctc_loss(
        logits.log_softmax(-1), TARGETS, torch.tensor([3, 4]), LENGTHS[1], reduction="none"
    )
    losses.sum().backward()
    assert losses[0].item() == 0
    assert losses[1].item() > 0
    assert logits.grad is not None
    assert not logits.grad[0].any()


@pytest.mark.parametrize("frames", [0, 6])
def test_empty_recordings_count_nothing(frames: int) -> None:
    log_probs = torch.randn(2, frames, 5).log_softmax(-1).requires_grad_()
    nothing = torch.tensor([0, 0])
    losses = ctc_loss(log_probs, TARGETS, nothing, nothing, reduction="none")
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0]
    assert ctc_loss(log_probs, TARGETS, nothing, LENGTHS[1]).item() == 0


def test_half_precision_is_computed_in_float32() -> None:
    log_probs = torch.randn(2, 6, 5).log_softmax(-1).bfloat16().requires_grad_()
    loss = ctc_loss(log_probs, TARGETS, *LENGTHS)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(ctc_loss(log_probs.float(), TARGETS, *LENGTHS).item())
