"""Connectionist temporal classification (Graves et al., 2006), batch first and in float32.

Wraps `torch.nn.functional.ctc_loss`. Differences: (B, U, V) instead of (U, B, V); half precision is
computed in float32; the loss of an utterance too short for its targets is 0 instead of infinity
(`zero_infinity`), so that one bad recording cannot stop training.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from keyframe_asr.losses.validation import (
    Lengths,
    at_least_float32,
    check_inputs,
    check_reduction,
    reduce_by_length,
)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    *,
    blank: int = 0,
    reduction: str = "mean",
    host_lengths: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """CTC loss of a padded batch.

    Args:
        log_probs: (B, U, V) log-probabilities over vocabulary and blank.
        targets: (B, L) integer ids; padding may have any value.
        input_lengths: (B,) frames of each utterance, a tensor, list or tuple; may be 0.
        target_lengths: (B,) tokens of each utterance; may be 0.
        blank: id of blank.
        reduction: `none` → (B,), `sum`, or `mean`: each loss divided by its target length (at
            least 1), then the mean over the batch, as in torch.
        host_lengths: both lengths once more, on the CPU, if they are known there: torch needs them
            there, and otherwise waits for the device.

    Raises:
        LossInputError: a shape, length, id or `reduction` is invalid, or the log-probabilities of
            an utterance are NaN; names its index in the batch.
    """
    check_reduction(reduction)
    inputs = check_inputs(log_probs, targets, input_lengths, target_lengths, blank)
    inputs.raise_problems()
    if log_probs.shape[1] == 0:  # a batch of empty recordings, which torch rejects
        return reduce_by_length(log_probs.sum(dim=(1, 2)), inputs.target_lengths, reduction)
    losses = F.ctc_loss(
        at_least_float32(log_probs).transpose(0, 1),
        inputs.targets,
        *(host_lengths or (inputs.input_lengths, inputs.target_lengths)),
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )
    inputs.raise_problems(not_finite=losses.isnan())
    return reduce_by_length(losses, inputs.target_lengths, reduction)
