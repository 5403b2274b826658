"""When a training cannot go on: what is not finite, and in which utterances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from keyframe_asr.errors import TrainingError


@contextmanager
def naming_utterances(stage: str, ids: Sequence[str]) -> Iterator[None]:
    """Turn a refusal of the losses or of the keyframe selection into a line that names the batch.

    Both raise `ValueError` (a `LossInputError` is one) with places in the batch, since neither
    knows what the utterances are called.
    """
    try:
        yield
    except ValueError as error:
        raise TrainingError(
            f"stage '{stage}': {error}; the utterances of the batch, place 0 first: "
            f"{', '.join(ids)}; look at these, or lower the learning rate"
        ) from error


def check_finite(what: str, value: Tensor, stage: str, ids: Sequence[str]) -> None:
    """Raise `TrainingError` naming the utterances unless the scalar `value` is finite."""
    if not torch.isfinite(value):
        raise TrainingError(
            f"stage '{stage}': the {what} is {float(value.detach())} for the batch of "
            f"{', '.join(ids)}; look at these utterances, or lower the learning rate"
        )
