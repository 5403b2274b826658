"""AXE by hand-sized examples, its edges and its errors."""

from __future__ import annotations

import math

import pytest
import torch

from fixtures.errors import refused
from keyframe_asr.errors import LossInputError
from keyframe_asr.losses import axe_align, axe_loss

VOCABULARY = 5


def log_probs_of(*rows: dict[int, float]) -> torch.Tensor:
    """(1, K, V) log-probs from the probabilities of a few ids; the rest is shared evenly."""
    table = torch.empty(1, len(rows), VOCABULARY, dtype=torch.float64)
    for place, row in enumerate(rows):
        rest = (1 - sum(row.values())) / (VOCABULARY - len(row))
        for token in range(VOCABULARY):
            table[0, place, token] = row.get(token, rest)
    return table.log()


def loss_of(log_probs: torch.Tensor, tokens: list[int], **options: float) -> float:
    targets = torch.tensor([tokens], dtype=torch.long).reshape(1, len(tokens))
    lengths = torch.tensor([log_probs.shape[1]]), torch.tensor([len(tokens)])
    return axe_loss(log_probs, targets, *lengths, reduction="sum", **options).item()


def test_aligns_every_prediction_where_the_lengths_are_equal() -> None:
    log_probs = log_probs_of({1: 0.5}, {2: 0.25})
    assert loss_of(log_probs, [1, 2]) == pytest.approx(-math.log(0.5) - math.log(0.25))


def test_trains_a_surplus_prediction_towards_blank() -> None:
    log_probs = log_probs_of({1: 0.5}, {0: 0.8}, {2: 0.5})
    assert loss_of(log_probs, [1, 2]) == pytest.approx(-2 * math.log(0.5) - math.log(0.8))


def test_skips_a_target_at_the_prediction_where_it_is_cheapest() -> None:
    log_probs = log_probs_of({1: 0.4, 2: 0.5}, {3: 0.9})
    wanted = -math.log(0.4) - 2 * math.log(0.5) - math.log(0.9)
    assert loss_of(log_probs, [1, 2, 3]) == pytest.approx(wanted)
    alignment = axe_align(
        log_probs, torch.tensor([[1, 2, 3]]), torch.tensor([2]), torch.tensor([3])
    )
    assert alignment.position.tolist() == [[0, 0, 1]]
    assert alignment.skipped.tolist() == [[False, True, False]]
    assert alignment.prediction_aligned.tolist() == [[True, True]]
    assert alignment.cost.item() == pytest.approx(wanted)


def test_targets_before_the_first_prediction_are_skipped_at_it() -> None:
    # Y_1 is skipped in the column before P_1; the definition charges it to P_1.
    log_probs = log_probs_of({1: 0.6, 2: 0.3})
    wanted = -2 * math.log(0.6) - math.log(0.3)
    assert loss_of(log_probs, [1, 2]) == pytest.approx(wanted)


def test_penalty_decides_between_a_skipped_target_and_a_skipped_prediction() -> None:
    log_probs = log_probs_of({1: 0.3, 2: 0.6}, {0: 0.45, 2: 0.05})
    skip = -math.log(0.3) - 1.1 * math.log(0.6) - math.log(0.45)
    align = -math.log(0.3) - math.log(0.05)
    assert skip < align
    assert loss_of(log_probs, [1, 2], skip_target_penalty=1.1) == pytest.approx(skip)
    assert loss_of(log_probs, [1, 2], skip_target_penalty=9.0) == pytest.approx(align)


def test_without_targets_every_prediction_is_blank() -> None:
    log_probs = log_probs_of({0: 0.5}, {0: 0.2})
    assert loss_of(log_probs, []) == pytest.approx(-math.log(0.5) - math.log(0.2))


@pytest.mark.parametrize(("longest_input", "longest_target"), [(3, 2), (0, 2), (3, 0), (0, 0)])
def test_an_empty_utterance_costs_nothing(longest_input: int, longest_target: int) -> None:
    log_probs = torch.full((1, longest_input, VOCABULARY), math.nan, requires_grad=True)
    targets = torch.zeros(1, longest_target, dtype=torch.long)
    nothing = torch.tensor([0])
    loss = axe_loss(log_probs, targets, nothing, nothing)
    loss.backward()
    assert loss.item() == 0
    assert log_probs.grad is not None
    assert not log_probs.grad.any()
    alignment = axe_align(log_probs.detach(), targets, nothing, nothing)
    assert alignment.position.tolist() == [[-1] * longest_target]
    assert not alignment.skipped.any()
    assert not alignment.prediction_aligned.any()


def test_reductions_are_those_of_ctc() -> None:
    log_probs = torch.randn(3, 4, VOCABULARY).log_softmax(-1)
    targets = torch.tensor([[1, 2, 3], [4, 0, 0], [0, 0, 0]])
    lengths = torch.tensor([4, 3, 2]), torch.tensor([3, 1, 0])
    losses = axe_loss(log_probs, targets, *lengths, reduction="none")
    assert losses.shape == (3,)
    total = axe_loss(log_probs, targets, *lengths, reduction="sum")
    assert total.item() == pytest.approx(losses.sum().item())
    mean = axe_loss(log_probs, targets, *lengths)
    assert mean.item() == pytest.approx((losses / torch.tensor([3, 1, 1])).mean().item())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    log_probs = torch.randn(2, 4, VOCABULARY).log_softmax(-1).to(dtype).requires_grad_()
    targets, lengths = torch.tensor([[1, 2], [3, 4]]), torch.tensor([4, 4])
    loss = axe_loss(log_probs, targets, lengths, torch.tensor([2, 2]))
    loss.backward()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert log_probs.grad is not None
    assert log_probs.grad.dtype == dtype
    exact = axe_loss(log_probs.detach().double(), targets, lengths, torch.tensor([2, 2]))
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


def test_lengths_and_targets_of_any_integer_type() -> None:
    log_probs = torch.randn(2, 4, VOCABULARY).log_softmax(-1)
    targets, lengths = torch.tensor([[1, 2], [3, 4]]), torch.tensor([4, 3])
    wanted = axe_loss(log_probs, targets, lengths, torch.tensor([2, 2]))
    got = axe_loss(log_probs, targets.int(), lengths.int(), torch.tensor([2, 2]).int())
    assert got.item() == wanted.item()


def test_gradient_does_not_need_contiguous_log_probs() -> None:
    logits = torch.randn(4, 2, VOCABULARY, dtype=torch.float64)
    targets = torch.tensor([[1, 2], [3, 4]])
    lengths = torch.tensor([4, 3]), torch.tensor([2, 1])
    time_first = logits.clone().requires_grad_()
    axe_loss(time_first.transpose(0, 1), targets, *lengths).backward()
    batch_first = logits.transpose(0, 1).contiguous().requires_grad_()
    axe_loss(batch_first, targets, *lengths).backward()
    assert time_first.grad is not None
    assert batch_first.grad is not None
    assert torch.equal(time_first.grad.transpose(0, 1), batch_first.grad)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("token", [0, 2])
def test_values_that_are_not_finite_name_the_utterance(value: float, token: int) -> None:
    log_probs = torch.randn(3, 4, VOCABULARY).log_softmax(-1)
    log_probs[1, 2, token] = value
    targets = torch.tensor([[1], [2], [3]])
    lengths = torch.tensor([4, 3, 4]), torch.tensor([1, 1, 1])
    with refused(LossInputError, "utterance 1 "):
        axe_loss(log_probs, targets, *lengths)
    with refused(LossInputError, "utterance 1 "):
        axe_align(log_probs, targets, *lengths)


def test_values_that_no_path_can_read_may_be_anything() -> None:
    log_probs = torch.randn(1, 3, VOCABULARY).log_softmax(-1)
    wanted = axe_loss(log_probs, torch.tensor([[1]]), torch.tensor([3]), torch.tensor([1]))
    log_probs[0, :, 4] = -math.inf
    got = axe_loss(log_probs, torch.tensor([[1]]), torch.tensor([3]), torch.tensor([1]))
    assert got.item() == wanted.item()


def test_targets_without_predictions_name_the_utterance() -> None:
    log_probs = torch.randn(2, 4, VOCABULARY).log_softmax(-1)
    with refused(LossInputError, "utterance 1 ", "0 predictions", "1 targets"):
        axe_loss(log_probs, torch.tensor([[1], [2]]), torch.tensor([4, 0]), torch.tensor([1, 1]))
    with refused(LossInputError, "utterance 0 ", "0 predictions", "1 targets"):
        axe_loss(
            log_probs[:, :0], torch.tensor([[1], [2]]), torch.tensor([0, 0]), torch.tensor([1, 1])
        )


@pytest.mark.parametrize("penalty", [0.0, -1.0, math.nan, math.inf])
def test_penalty_must_be_positive(penalty: float) -> None:
    with refused(LossInputError, "skip_target_penalty", str(penalty)):
        loss_of(log_probs_of({1: 0.5}), [1], skip_target_penalty=penalty)
