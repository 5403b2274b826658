"""What the losses may spend: no loop over batch or predictions, no second (B, K, V) tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from keyframe_asr.losses import axe_align, axe_loss, til_loss

every_loss = pytest.mark.parametrize("loss", [axe_loss, axe_align, til_loss])


class Recorder(TorchDispatchMode):
    """Counts operations and the elements of the largest tensor that any of them stores."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.largest = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        self.operations += 1
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                stored = value.untyped_storage().nbytes() // value.element_size()
                self.largest = max(self.largest, stored if value._base is None else 0)
        return result


def record(
    loss: Callable[..., Any], batch: int, predictions: int, targets: int, vocabulary: int
) -> Recorder:
    log_probs = torch.randn(batch, predictions, vocabulary).log_softmax(-1)
    tokens = torch.randint(1, vocabulary, (batch, targets))
    lengths = torch.full((batch,), predictions), torch.full((batch,), targets)
    with Recorder() as recorder:
        loss(log_probs, tokens, *lengths)
    return recorder


@every_loss
def test_operations_do_not_grow_with_batch_or_predictions(loss: Callable[..., Any]) -> None:
    small, large = record(loss, 2, 5, 4, 9), record(loss, 7, 60, 4, 9)
    assert small.operations == large.operations


@every_loss
def test_memory_does_not_grow_with_the_vocabulary(loss: Callable[..., Any]) -> None:
    batch, predictions, targets, vocabulary = 4, 6, 5, 2000
    recorder = record(loss, batch, predictions, targets, vocabulary)
    assert recorder.largest <= 3 * batch * (predictions + 2) * (targets + 1)
