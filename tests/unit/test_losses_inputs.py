"""What AXE, TIL and CTC refuse in the same words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fixtures.errors import refused
from keyframe_asr.errors import LossInputError
from keyframe_asr.losses import axe_loss, ctc_loss, til_loss

BATCH, LONGEST, TARGETS, VOCABULARY = 3, 4, 2, 5
every_loss = pytest.mark.parametrize("loss", [axe_loss, til_loss, ctc_loss])


def arguments(**changes: Any) -> dict[str, Any]:
    """A valid call, with some arguments replaced."""
    valid = {
        "log_probs": torch.zeros(BATCH, LONGEST, VOCABULARY).log_softmax(-1),
        "targets": torch.tensor([[1, 2], [3, 0], [4, 4]]),
        "input_lengths": torch.tensor([4, 3, 4]),
        "target_lengths": torch.tensor([2, 1, 2]),
    }
    return valid | changes


@every_loss
def test_the_valid_call_is_accepted(loss: Callable[..., torch.Tensor]) -> None:
    assert loss(**arguments()).isfinite()


@every_loss
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"input_lengths": torch.tensor([4, 5, 4])}, ["utterance 1 ", "input_lengths"]),
        ({"input_lengths": torch.tensor([4, 3, -1])}, ["utterance 2 ", "input_lengths"]),
        ({"target_lengths": torch.tensor([3, 1, 2])}, ["utterance 0 ", "target_lengths"]),
        ({"target_lengths": torch.tensor([2, -1, 2])}, ["utterance 1 ", "target_lengths"]),
        ({"target_lengths": torch.tensor([2, 2, 2])}, ["utterance 1 ", "blank"]),
        ({"targets": torch.tensor([[1, 2], [3, 0], [4, 5]])}, ["utterance 2 ", "blank"]),
        ({"targets": torch.tensor([[-1, 2], [3, 0], [4, 4]])}, ["utterance 0 ", "blank"]),
        ({"blank": 3}, ["utterance 1 ", "blank"]),
        ({"blank": 5}, ["blank", 5]),
        ({"blank": -1}, ["blank", -1]),
        ({"targets": torch.tensor([1, 2, 3, 4, 4])}, ["targets", "(3, ", "(5,)"]),
        ({"targets": torch.ones(3, 2)}, ["targets", torch.float32]),
        ({"target_lengths": torch.tensor([2.0, 1.0, 2.0])}, ["target_lengths", torch.float32]),
        ({"input_lengths": torch.tensor([4, 3])}, ["input_lengths", "(3,)", "(2,)"]),
        ({"log_probs": torch.zeros(3, 5)}, ["log_probs", "(3, 5)"]),
        ({"log_probs": torch.zeros(3, 4, 5, dtype=torch.long)}, ["log_probs", torch.int64]),
        ({"log_probs": torch.zeros(0, 4, 5)}, ["batch"]),
        ({"reduction": "average"}, ["'average'", "none, sum, mean"]),
    ],
)
def test_refuses(
    loss: Callable[..., torch.Tensor], changes: dict[str, Any], named: list[object]
) -> None:
    with refused(LossInputError, *named):
        loss(**arguments(**changes))


@every_loss
def test_the_padding_of_targets_may_be_anything(loss: Callable[..., torch.Tensor]) -> None:
    wanted = loss(**arguments())
    for padding in (-100, VOCABULARY + 7, 2):
        got = loss(**arguments(targets=torch.tensor([[1, 2], [3, padding], [4, 4]])))
        assert torch.equal(got, wanted)


@every_loss
@pytest.mark.parametrize("token", [0, 2])
def test_a_nan_inside_the_utterance_is_named(loss: Callable[..., torch.Tensor], token: int) -> None:
    log_probs = arguments()["log_probs"].clone()
    log_probs[0, 3, token] = torch.nan
    with refused(LossInputError, "utterance 0 "):
        loss(**arguments(log_probs=log_probs))
