"""Cross entropy of the attention decoder with label smoothing (Szegedy et al., 2016).

The smoothed target assigns `1 - smoothing` to the token and distributes `smoothing` uniformly over
the whole vocabulary including the token, as `torch.nn.functional.cross_entropy` does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from keyframe_asr.errors import LossInputError
from keyframe_asr.losses.validation import (
    Lengths,
    at_least_float32,
    check_reduction,
    lengths_tensor,
    reduce_by_length,
)

_IGNORED = -100


def label_smoothed_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    lengths: Lengths,
    smoothing: float = 0.1,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Cross entropy of a padded batch; padded steps are ignored.

    Args:
        logits: (B, N, V), not normalised; finite, also in the padding.
        targets: (B, N) integer ids including the end symbol; padding may have any value.
        lengths: (B,) steps of each utterance, a tensor, list or tuple.
        smoothing: probability mass distributed over the vocabulary, in [0, 1).
        reduction: `none` → (B,) sums over steps, `sum`, or `mean`: each sum divided by its length
            (at least 1), then the mean over the batch, as in the other losses.

    Raises:
        LossInputError: a shape, `smoothing` or `reduction` is invalid.
    """
    check_reduction(reduction)
    lengths = lengths_tensor("lengths", lengths)
    losses = step_cross_entropy(logits, targets, lengths, smoothing)
    return reduce_by_length(losses.sum(dim=1), lengths.to(logits.device), reduction)


def step_cross_entropy(
    logits: Tensor, targets: Tensor, lengths: Tensor, smoothing: float
) -> Tensor:
    """Cross entropy (B, N) of every step; 0 in the padding. Arguments and errors as above."""
    if not 0 <= smoothing < 1:
        raise LossInputError(f"smoothing is {smoothing}; it must lie in [0, 1)")
    batch, steps = logits.shape[0], logits.shape[1]
    if logits.dim() != 3 or targets.shape != (batch, steps) or lengths.shape != (batch,):
        raise LossInputError(
            "expected logits (batch, steps, vocabulary), targets (batch, steps), lengths (batch,); "
            f"got {tuple(logits.shape)}, {tuple(targets.shape)}, {tuple(lengths.shape)}"
        )
    padding = torch.arange(steps, device=logits.device) >= lengths.to(logits.device)[:, None]
    losses = F.cross_entropy(
        at_least_float32(logits).flatten(0, 1),
        targets.to(logits.device, torch.long).masked_fill(padding, _IGNORED).flatten(),
        ignore_index=_IGNORED,
        label_smoothing=smoothing,
        reduction="none",
    ).view(batch, steps)
    return losses.masked_fill(padding, 0.0)
