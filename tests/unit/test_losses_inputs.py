"""What AXE, TIL and CTC refuse in the same words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

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
    ("changes", "message"),
    [
        ({"input_lengths": torch.tensor([4, 5, 4])}, r"utterance 1 .*input length"),
        ({"input_lengths": torch.tensor([4, 3, -1])}, r"utterance 2 .*input length"),
        ({"target_lengths": torch.tensor([3, 1, 2])}, r"utterance 0 .*target length"),
        ({"target_lengths": torch.tensor([2, -1, 2])}, r"utterance 1 .*target length"),
        ({"target_lengths": torch.tensor([2, 2, 2])}, r"utterance 1 .*blank or outside"),
        ({"targets": torch.tensor([[1, 2], [3, 0], [4, 5]])}, r"utterance 2 .*blank or outside"),
        ({"targets": torch.tensor([[-1, 2], [3, 0], [4, 4]])}, r"utterance 0 .*blank or outside"),
        ({"blank": 3}, r"utterance 1 .*blank or outside"),
        ({"blank": 5}, "blank is 5"),
        ({"blank": -1}, "blank is -1"),
        ({"targets": torch.tensor([1, 2, 3, 4, 4])}, "targets must be padded"),
        ({"targets": torch.ones(3, 2)}, "targets must be integers"),
        ({"target_lengths": torch.tensor([2.0, 1.0, 2.0])}, "target_lengths must be integers"),
        ({"input_lengths": torch.tensor([4, 3])}, "input_lengths must have shape"),
        ({"log_probs": torch.zeros(3, 5)}, "log_probs must be"),
        ({"log_probs": torch.zeros(3, 4, 5, dtype=torch.long)}, "log_probs must be"),
        ({"log_probs": torch.zeros(0, 4, 5)}, "batch is empty"),
        ({"reduction": "average"}, "none, sum, mean"),
    ],
)
def test_refuses(loss: Callable[..., torch.Tensor], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LossInputError, match=message) as caught:
        loss(**arguments(**changes))
    assert "\n" not in str(caught.value)


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
    with pytest.raises(LossInputError, match=r"utterance 0 of the batch .* NaN"):
        loss(**arguments(log_probs=log_probs))
