"""Once, a list of lengths, which `torch.nn.functional.ctc_loss` takes, was an AttributeError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fixtures.errors import refused
from keyframe_asr.errors import LossInputError
from keyframe_asr.losses import (
    axe_align,
    axe_loss,
    ctc_loss,
    label_smoothed_cross_entropy,
    til_loss,
)
from keyframe_asr.model.keyframes import select_keyframes

LOG_PROBS = torch.arange(60.0).view(2, 6, 5).sin().log_softmax(-1)
TARGETS = torch.tensor([[1, 2], [3, 0]])
every_loss = pytest.mark.parametrize("loss", [axe_loss, til_loss, ctc_loss])
every_kind = pytest.mark.parametrize("kind", [list, tuple])


@every_loss
@every_kind
def test_losses(loss: Callable[..., torch.Tensor], kind: type[Any]) -> None:
    wanted = loss(LOG_PROBS, TARGETS, torch.tensor([6, 2]), torch.tensor([2, 1]))
    assert torch.equal(loss(LOG_PROBS, TARGETS, kind([6, 2]), kind([2, 1])), wanted)


@every_kind
def test_alignment_and_cross_entropy(kind: type[Any]) -> None:
    wanted = axe_align(LOG_PROBS, TARGETS, torch.tensor([6, 2]), torch.tensor([2, 1]))
    found = axe_align(LOG_PROBS, TARGETS, kind([6, 2]), kind([2, 1]))
    assert torch.equal(found.position, wanted.position)
    steps = LOG_PROBS[:, :2]
    smoothed = label_smoothed_cross_entropy(steps, TARGETS, torch.tensor([2, 1]))
    assert torch.equal(label_smoothed_cross_entropy(steps, TARGETS, kind([2, 1])), smoothed)


@every_kind
def test_keyframes(kind: type[Any]) -> None:
    wanted = select_keyframes(LOG_PROBS, torch.tensor([6, 2]), min_keyframes=torch.tensor([3, 2]))
    found = select_keyframes(LOG_PROBS, kind([6, 2]), min_keyframes=kind([3, 2]))
    assert torch.equal(found.index, wanted.index)
    assert torch.equal(found.lengths, wanted.lengths)


@every_loss
@pytest.mark.parametrize("lengths", [[6], [6.0, 2.0], [], "62", None, [6, None], [6, 2**80], 6])
def test_what_is_no_list_of_lengths_is_refused(
    loss: Callable[..., torch.Tensor], lengths: Any
) -> None:
    with refused(LossInputError, "input_lengths"):
        loss(LOG_PROBS, TARGETS, lengths, [2, 1])
    with refused(LossInputError, "target_lengths"):
        loss(LOG_PROBS, TARGETS, [6, 2], lengths)


@every_loss
def test_other_arguments_that_are_no_tensors_are_refused(loss: Callable[..., torch.Tensor]) -> None:
    with refused(LossInputError, "targets", "list"):
        loss(LOG_PROBS, TARGETS.tolist(), [6, 2], [2, 1])
    with refused(LossInputError, "log_probs", "list"):
        loss(LOG_PROBS.tolist(), TARGETS, [6, 2], [2, 1])
