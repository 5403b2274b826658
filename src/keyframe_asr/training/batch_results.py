"""Losses and counts of batches, and what is wrong with them, left on the device until read.

To read a number, the host waits until the device has computed it. So the numbers of many updates
are read at once; whatever is wrong is told then, with the names of the utterances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from keyframe_asr.data.dataset import Batch
from keyframe_asr.errors import TrainingError
from keyframe_asr.losses.validation import Problems

TOTAL = "total"
"""Name of the total loss among the losses of a batch."""


@dataclass(frozen=True)
class BatchResult:
    """Result of a batch.

    Attributes:
        counts: False for a placeholder that must not count.
        utterances: number of utterances.
        audio_seconds: seconds of audio.
        tokens: tokens of the texts.
        loss: total loss, mean over utterances.
        parts: each loss without its weight, mean over utterances.
        frames: encoder frames.
        spikes: spikes of the inter-CTC, which become keyframes in recognition.
    """

    counts: bool
    utterances: int
    audio_seconds: float
    tokens: int
    loss: float
    parts: dict[str, float]
    frames: int
    spikes: int


@dataclass(frozen=True)
class _Unread:
    """Numbers (N,) on the device, and what they belong to; no losses: the norm of a gradient."""

    ids: tuple[str, ...]
    numbers: Tensor
    losses: tuple[str, ...] = ()
    problems: tuple[Problems, ...] = ()
    counts: bool = False
    audio_seconds: float = 0.0
    tokens: int = 0


class BatchResults:
    """The results of the batches of a stage that were not read yet."""

    def __init__(self) -> None:
        self._unread: list[_Unread] = []

    def add_batch(
        self,
        batch: Batch,
        losses: Mapping[str, Tensor],
        frames: Tensor,
        spikes: Tensor,
        problems: Sequence[Problems],
    ) -> None:
        """Add a batch.

        Args:
            batch: the batch; its tensors are not kept.
            losses: scalars by name; `TOTAL` is the sum.
            frames: scalar, encoder frames.
            spikes: scalar, spikes of the inter-CTC.
            problems: of its losses.
        """
        numbers = [*losses.values(), frames, spikes, *(one.any() for one in problems)]
        self._unread.append(
            _Unread(
                batch.ids,
                _joined(numbers),
                tuple(losses),
                tuple(problems),
                batch.fraction > 0,
                batch.audio_seconds,
                int(batch.lengths_on_host[1].sum()),
            )
        )

    def add_norm(self, ids: tuple[str, ...], norm: Tensor) -> None:
        """Add the norm of the gradient of an update, a scalar, with the names of its utterances."""
        self._unread.append(_Unread(ids, _joined([norm])))

    def read(self, stage: str) -> list[BatchResult]:
        """Return the results in the order of the batches, and forget them; waits for the device.

        Raises:
            TrainingError: a loss or a gradient is not finite, or the inputs of a loss are not
                valid; names the stage and the utterances of the first such batch.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return []
        numbers = iter(torch.cat([one.numbers for one in unread]).tolist())
        found = []
        for one in unread:
            values = [next(numbers) for _ in range(len(one.numbers))]
            if one.losses:
                found.append(_result(one, values, stage))
            else:
                check_finite("norm of the gradient", values[0], stage, one.ids)
        return found


def check_finite(what: str, value: float, stage: str, ids: Sequence[str]) -> None:
    """Raise `TrainingError`, naming the utterances, if `value` is not finite."""
    if not math.isfinite(value):
        raise TrainingError(
            f"stage '{stage}': the {what} is {value} for the batch of "
            f"{', '.join(ids)}; check these utterances, or lower the learning rate"
        )


def unusable(stage: str, ids: Sequence[str], error: ValueError) -> TrainingError:
    """The error of a loss or of keyframe selection, with the names of the utterances.

    Both raise `ValueError` (or its subclass `LossInputError`) with positions in the batch, because
    they do not know the names.
    """
    return TrainingError(
        f"stage '{stage}': {error}; utterances of the batch, from position 0: "
        f"{', '.join(ids)}; check them, or lower the learning rate"
    )


def _joined(scalars: Sequence[Tensor]) -> Tensor:
    return torch.stack([one.detach().float() for one in scalars])


def _result(one: _Unread, values: list[float], stage: str) -> BatchResult:
    losses = dict(zip(one.losses, values, strict=False))
    frames, spikes, *wrong = values[len(losses) :]
    for problems, found in zip(one.problems, wrong, strict=True):
        if found:
            try:
                problems.throw()
            except ValueError as error:
                raise unusable(stage, one.ids, error) from error
    total = losses.pop(TOTAL)
    check_finite("loss", total, stage, one.ids)
    return BatchResult(
        counts=one.counts,
        utterances=len(one.ids),
        audio_seconds=one.audio_seconds,
        tokens=one.tokens,
        loss=total,
        parts=losses,
        frames=int(frames),
        spikes=int(spikes),
    )
