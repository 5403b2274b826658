"""Validation, masks and reductions shared by all alignment losses.

The conventions are those of `torch.nn.functional.ctc_loss` with the batch first. Targets are
padded, (B, L); the concatenated one-dimensional form of torch is not supported. Padding is never
read, so it may have any value, including NaN.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from keyframe_asr.errors import LossInputError

REDUCTIONS = ("none", "sum", "mean")

Lengths = Tensor | Sequence[int]
"""One integer per utterance: a tensor (B,), or a list or tuple, as torch's CTC loss takes them."""


@dataclass(frozen=True)
class LossInputs:
    """A batch whose targets are valid indices; `raise_problems` reports invalid utterances.

    Attributes:
        log_probs: (B, K, V) as given.
        targets: (B, L) long; padding and ids out of range are replaced by `blank`.
        input_lengths: (B,) long, m of each utterance.
        target_lengths: (B,) long, n of each utterance.
        input_mask: (B, K) bool, True inside the utterance.
        target_mask: (B, L) bool, True for real targets.
        blank: id of blank (CTC) or ε (AXE, TIL).
        problems: kind of problem → (B,) bool, True for the affected utterances.
    """

    log_probs: Tensor
    targets: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    input_mask: Tensor
    target_mask: Tensor
    blank: int
    problems: dict[str, Tensor]

    def gather(self) -> Tensor:
        """Log-probs of blank and of every target: (B, K, 1 + L), blank first, at least float32.

        One gather, so that the backward pass creates only one dense gradient.
        """
        blanks = self.targets.new_full((self.targets.shape[0], 1), self.blank)
        columns = torch.cat([blanks, self.targets], dim=1)
        index = columns[:, None, :].expand(-1, self.log_probs.shape[1], -1)
        return at_least_float32(self.log_probs.gather(2, index))

    def raise_problems(self, **more: Tensor) -> None:
        """Raise for the first invalid utterance; without any, costs one host synchronisation.

        In a context of `problems_for_later` they are collected instead.

        Args:
            more: further problems, (B,) bool each, keyed like `problems`.

        Raises:
            LossInputError: names the index of the utterance in the batch, its lengths and the
                problem.
        """
        problems = self.problems | more
        found = Problems(
            tuple(problems),
            torch.stack(list(problems.values())),
            self.input_lengths,
            self.target_lengths,
        )
        later = _collected.get()
        if later is not None:
            later.append(found)
        elif bool(found.any()):
            found.throw()


@dataclass(frozen=True)
class Problems:
    """What may be wrong with each utterance of a batch, still on its device.

    Attributes:
        reasons: kinds of problem.
        table: (reasons, B) bool, True for the affected utterances.
        input_lengths: (B,) predictions of each utterance.
        target_lengths: (B,) its targets.
    """

    reasons: tuple[str, ...]
    table: Tensor
    input_lengths: Tensor
    target_lengths: Tensor

    def any(self) -> Tensor:
        """Scalar bool on the device: True if an utterance has a problem."""
        return self.table.any()

    def throw(self) -> NoReturn:
        """Raise `LossInputError` for the first utterance that has a problem; there must be one."""
        place = int(self.table.any(dim=0).nonzero()[0])
        reason = self.reasons[int(self.table[:, place].nonzero()[0])]
        raise LossInputError(
            f"utterance {place} of the batch ({int(self.input_lengths[place])} predictions, "
            f"{int(self.target_lengths[place])} targets): {_EXPLANATIONS[reason]}"
        )


_collected: ContextVar[list[Problems] | None] = ContextVar("collected", default=None)


@contextmanager
def problems_for_later() -> Iterator[list[Problems]]:
    """Let losses collect the problems of their inputs here instead of raising them.

    So they do not wait for the device. The caller reads `any` when it likes, and calls `throw`.
    """
    found: list[Problems] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


_EXPLANATIONS = {
    "input_length": "its input length is negative or larger than log_probs; check input_lengths",
    "target_length": "its target length is negative or larger than targets; check target_lengths",
    "no_predictions": "it has targets but no predictions to align them with; remove it or keep at "
    "least one frame",
    "target_id": "a target is blank or outside the vocabulary; check the tokenizer and blank",
    "not_finite": "a log-probability of a target or of blank is NaN or infinite; check the model's "
    "output and learning rate",
}


def check_inputs(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int,
) -> LossInputs:
    """Check shapes and dtypes, and record other problems without synchronising with the device.

    Args:
        log_probs: (B, K, V) log-probabilities.
        targets: (B, L) integer ids; padding may have any value.
        input_lengths: (B,) integers in [0, K]; a list or tuple is taken too.
        target_lengths: (B,) integers in [0, L]; likewise.
        blank: id of blank.

    Raises:
        LossInputError: a shape or dtype is invalid, or blank is outside the vocabulary.
    """
    for name, given in (("log_probs", log_probs), ("targets", targets)):
        if not isinstance(given, Tensor):
            raise LossInputError(f"{name} must be a tensor, got {type(given).__name__}")
    input_lengths = lengths_tensor("input_lengths", input_lengths)
    target_lengths = lengths_tensor("target_lengths", target_lengths)
    _check_shapes(log_probs, targets, input_lengths, target_lengths, blank)
    device = log_probs.device
    targets = targets.to(device, torch.long)
    input_lengths = input_lengths.to(device, torch.long)
    target_lengths = target_lengths.to(device, torch.long)
    input_mask = torch.arange(log_probs.shape[1], device=device) < input_lengths[:, None]
    target_mask = torch.arange(targets.shape[1], device=device) < target_lengths[:, None]
    unusable = (targets == blank) | (targets != targets.clamp(0, log_probs.shape[2] - 1))
    problems = {
        "input_length": input_lengths != input_lengths.clamp(0, log_probs.shape[1]),
        "target_length": target_lengths != target_lengths.clamp(0, targets.shape[1]),
        "target_id": (target_mask & unusable).any(dim=1),
    }
    return LossInputs(
        log_probs=log_probs,
        targets=targets.masked_fill(~target_mask | unusable, blank),
        input_lengths=input_lengths,
        target_lengths=target_lengths,
        input_mask=input_mask,
        target_mask=target_mask,
        blank=blank,
        problems=problems,
    )


def lengths_tensor(name: str, lengths: Lengths) -> Tensor:
    """Convert a list or tuple of lengths to a tensor; a tensor is returned as it is.

    Raises:
        LossInputError: it does not hold one number per utterance.
    """
    if isinstance(lengths, Tensor):
        return lengths
    try:
        return torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise LossInputError(
            f"{name} must be integers, one per utterance, got {reprlib.repr(lengths)}"
        ) from None


def check_reduction(reduction: str) -> None:
    """Raise `LossInputError` unless `reduction` is one of none, sum, mean."""
    if reduction not in REDUCTIONS:
        raise LossInputError(f"reduction is {reduction!r}; use one of {', '.join(REDUCTIONS)}")


def reduce_by_length(losses: Tensor, target_lengths: Tensor, reduction: str) -> Tensor:
    """Reduce per-utterance sums as `torch.nn.functional.ctc_loss` does.

    Args:
        losses: (B,) summed over each utterance.
        target_lengths: (B,) integers; `mean` divides each loss by its length (at least 1) first.
        reduction: none → (B,), sum or mean → scalar.
    """
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return (losses / target_lengths.clamp(min=1)).mean()


def at_least_float32(tensor: Tensor) -> Tensor:
    """Convert half precision to float32, because sums of log-probs need the precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def check_positive(name: str, value: float) -> None:
    """Raise `LossInputError` unless `value` is finite and positive."""
    if not (math.isfinite(value) and value > 0):
        raise LossInputError(f"{name} is {value}; it must be a finite number above 0")


def _check_shapes(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> None:
    if log_probs.dim() != 3 or not log_probs.is_floating_point():
        raise LossInputError(
            "log_probs must be floating point of shape (batch, predictions, vocabulary), got "
            f"{log_probs.dtype} {tuple(log_probs.shape)}"
        )
    batch, _, vocabulary = log_probs.shape
    if batch == 0:
        raise LossInputError("the batch is empty; give at least one utterance")
    if not 0 <= blank < vocabulary:
        raise LossInputError(f"blank is {blank}; it must be in the vocabulary, 0..{vocabulary - 1}")
    if targets.dim() != 2 or targets.shape[0] != batch:
        raise LossInputError(
            f"targets must be padded to shape ({batch}, longest target), got {tuple(targets.shape)}"
        )
    for name, lengths in (("input_lengths", input_lengths), ("target_lengths", target_lengths)):
        if tuple(lengths.shape) != (batch,):
            raise LossInputError(f"{name} must have shape ({batch},), got {tuple(lengths.shape)}")
    for name, integers in (
        ("targets", targets),
        ("input_lengths", input_lengths),
        ("target_lengths", target_lengths),
    ):
        if integers.is_floating_point() or integers.is_complex() or integers.dtype == torch.bool:
            raise LossInputError(f"{name} must be integers, got {integers.dtype}")
