"""The decoder's cross entropy and the weighted sum of losses."""

from __future__ import annotations

import math

import pytest
import torch

from fixtures.errors import refused
from keyframe_asr.errors import LossInputError
from keyframe_asr.losses import LossParts, label_smoothed_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_the_definition(smoothing: float) -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64)
    targets, lengths = torch.tensor([[1, 2, 3], [0, -1, 99]]), torch.tensor([3, 1])
    losses = label_smoothed_cross_entropy(logits, targets, lengths, smoothing, reduction="none")
    for place in range(2):
        wanted = 0.0
        for step in range(int(lengths[place])):
            wish = torch.full((4,), smoothing / 4, dtype=torch.float64)
            wish[targets[place, step]] += 1 - smoothing
            wanted -= float((wish * logits[place, step].log_softmax(-1)).sum())
        assert losses[place].item() == pytest.approx(wanted)
    mean = label_smoothed_cross_entropy(logits, targets, lengths, smoothing)
    assert mean.item() == pytest.approx((losses / lengths).mean().item())


def test_padding_has_no_weight_and_no_gradient() -> None:
    logits = torch.randn(2, 3, 4)
    logits[1, 1:] = torch.tensor([1e30, -1e30, 0.0, 5.0])
    logits.requires_grad_()
    loss = label_smoothed_cross_entropy(
        logits, torch.tensor([[1, 2, 3], [1, 0, 0]]), torch.tensor([3, 1])
    )
    loss.backward()
    assert loss.item() < 1e6
    assert logits.grad is not None
    assert logits.grad[1, 0].any()
    assert not logits.grad[1, 1:].any()


def test_refuses_wrong_shapes_and_smoothing() -> None:
    logits, targets, lengths = torch.zeros(2, 3, 4), torch.zeros(2, 3).long(), torch.tensor([3, 1])
    with refused(LossInputError, "smoothing", 1.0):
        label_smoothed_cross_entropy(logits, targets, lengths, 1.0)
    with refused(LossInputError, "(2, 3, 4), (2, 2), (2,)"):
        label_smoothed_cross_entropy(logits, targets[:, :2], lengths)
    with refused(LossInputError, "(2, 3), (2, 3), (2,)"):
        label_smoothed_cross_entropy(logits[:, :, 0], targets, lengths)
    with refused(LossInputError, "reduction", "'average'", "none, sum, mean"):
        label_smoothed_cross_entropy(logits, targets, lengths, reduction="average")


def test_total_is_the_weighted_sum() -> None:
    values = {"inter_ctc": torch.tensor(3.0, requires_grad=True), "head": torch.tensor(5.0)}
    parts = LossParts(values, {"inter_ctc": 0.2, "head": 0.1, "decoder": 0.7})
    parts.total.backward()
    assert parts.numbers() == pytest.approx({"inter_ctc": 3.0, "head": 5.0, "total": 1.1})
    assert values["inter_ctc"].grad == pytest.approx(0.2)


def test_parts_without_weight_stay_out_of_the_total() -> None:
    values = {"head": torch.tensor(math.inf), "decoder": torch.tensor(2.0)}
    assert LossParts(values, {"head": 0.0, "decoder": 0.5}).total.item() == 1.0


def test_refuses_parts_that_cannot_be_summed() -> None:
    with refused(LossInputError, "head", "decoder"):
        LossParts({"head": torch.tensor(1.0)}, {"decoder": 1.0})
    with refused(LossInputError, 0):
        LossParts({"head": torch.tensor(1.0)}, {"head": 0.0})
