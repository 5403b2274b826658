"""TIL by hand-sized examples and its edges."""

from __future__ import annotations

import math

import pytest
import torch

from fixtures.errors import refused
from keyframe_asr.errors import LossInputError
from keyframe_asr.losses import til_loss


def test_example_by_hand() -> None:
    log_probs = torch.tensor([[[0.2, 0.7, 0.1], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]]]).log()
    loss = til_loss(log_probs, torch.tensor([[1, 2]]), torch.tensor([3]), torch.tensor([2]))
    assert loss.item() == pytest.approx(-(math.log(0.3) + math.log(0.3) + math.log(0.4)) / 3)


def test_more_targets_than_predictions_leave_no_blank() -> None:
    log_probs = torch.tensor([[[0.2, 0.7, 0.1]]]).log()
    loss = til_loss(log_probs, torch.tensor([[1, 2, 2]]), torch.tensor([1]), torch.tensor([3]))
    assert loss.item() == pytest.approx(-(math.log(0.7) + 2 * math.log(0.1)) / 3)


def test_without_targets_every_prediction_is_blank() -> None:
    log_probs = torch.tensor([[[0.2, 0.8], [0.6, 0.4]]]).log()
    empty = torch.zeros(1, 0, dtype=torch.long)
    loss = til_loss(log_probs, empty, torch.tensor([2]), torch.tensor([0]))
    assert loss.item() == pytest.approx(-math.log(0.4))


def test_order_of_the_targets_does_not_matter() -> None:
    log_probs = torch.randn(1, 5, 6).log_softmax(-1)
    lengths = torch.tensor([5]), torch.tensor([4])
    forward = til_loss(log_probs, torch.tensor([[1, 2, 3, 1]]), *lengths)
    backward = til_loss(log_probs, torch.tensor([[1, 3, 2, 1]]), *lengths)
    assert forward.item() == pytest.approx(backward.item())


@pytest.mark.parametrize(("longest_input", "longest_target"), [(3, 2), (0, 2), (3, 0), (0, 0)])
def test_an_empty_utterance_costs_nothing(longest_input: int, longest_target: int) -> None:
    log_probs = torch.full((1, longest_input, 5), math.nan, requires_grad=True)
    targets, nothing = torch.zeros(1, longest_target, dtype=torch.long), torch.tensor([0])
    loss = til_loss(log_probs, targets, nothing, nothing)
    loss.backward()
    assert loss.item() == 0
    assert log_probs.grad is not None
    assert not log_probs.grad.any()


def test_probabilities_too_small_for_a_float_keep_value_and_gradient() -> None:
    log_probs = torch.full((1, 2, 3), -500.0)
    log_probs[0, :, 0] = 0.0
    log_probs.requires_grad_()
    loss = til_loss(log_probs, torch.tensor([[1, 1]]), torch.tensor([2]), torch.tensor([2]))
    loss.backward()
    assert loss.item() == pytest.approx(500.0)
    assert log_probs.grad is not None
    assert log_probs.grad[0, :, 1].tolist() == pytest.approx([-0.5, -0.5], rel=1e-5)


def test_impossible_frames_are_fine_while_another_frame_has_the_token() -> None:
    log_probs = torch.tensor([[[0.5, 0.5], [1.0, 0.0]]]).log().requires_grad_()
    loss = til_loss(log_probs, torch.tensor([[1]]), torch.tensor([2]), torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(-(math.log(0.25) + math.log(0.75)) / 2)
    assert log_probs.grad is not None
    assert log_probs.grad.isfinite().all()


def test_an_impossible_token_names_the_utterance() -> None:
    log_probs = torch.randn(2, 3, 4).log_softmax(-1)
    log_probs[1, :, 2] = -math.inf
    lengths = torch.tensor([3, 3]), torch.tensor([1, 1])
    with refused(LossInputError, "utterance 1 "):
        til_loss(log_probs, torch.tensor([[2], [2]]), *lengths)
    assert til_loss(log_probs, torch.tensor([[2], [3]]), *lengths).isfinite()


def test_targets_without_predictions_name_the_utterance() -> None:
    with refused(LossInputError, "utterance 0 ", "0 predictions", "1 targets"):
        til_loss(torch.zeros(1, 0, 4), torch.tensor([[1]]), torch.tensor([0]), torch.tensor([1]))


def test_mean_is_over_the_batch() -> None:
    log_probs = torch.randn(2, 4, 5).log_softmax(-1)
    call = log_probs, torch.tensor([[1, 2], [3, 0]]), torch.tensor([4, 2]), torch.tensor([2, 1])
    losses = til_loss(*call, reduction="none")
    assert til_loss(*call).item() == pytest.approx(losses.mean().item())
    assert til_loss(*call, reduction="sum").item() == pytest.approx(losses.sum().item())


def test_half_precision_is_summed_in_float32() -> None:
    log_probs = torch.randn(1, 4, 5).log_softmax(-1).bfloat16()
    call = torch.tensor([[1, 2]]), torch.tensor([4]), torch.tensor([2])
    loss = til_loss(log_probs, *call)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(til_loss(log_probs.double(), *call).item(), rel=1e-5)
