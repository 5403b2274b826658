"""Cross entropy with soft targets of a teacher (knowledge distillation, arXiv 1503.02531).

The teacher's distribution at a step is given by its few most probable tokens, scaled to a sum of 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from keyframe_asr.errors import LossInputError
from keyframe_asr.losses.cross_entropy import step_cross_entropy
from keyframe_asr.losses.validation import (
    Lengths,
    at_least_float32,
    check_reduction,
    lengths_tensor,
    reduce_by_length,
)

_NOTHING = 1e-8


def distilled_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    lengths: Lengths,
    soft_tokens: Tensor,
    soft_probabilities: Tensor,
    share: float = 0.5,
    smoothing: float = 0.1,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Mix the cross entropy of the targets with that of a teacher's distributions.

    Args:
        logits: (B, N, V), not normalised; finite, also in the padding.
        targets: (B, N) integer ids; padding may have any value.
        lengths: (B,) steps of each utterance, a tensor, list or tuple.
        soft_tokens: (B, N, K) integer ids of the teacher's tokens.
        soft_probabilities: (B, N, K), at least 0. Steps in which all are 0 have no teacher: only
            the target counts.
        share: weight of the teacher in [0, 1].
        smoothing: label smoothing of the targets, in [0, 1).
        reduction: as in `label_smoothed_cross_entropy`.

    Raises:
        LossInputError: a shape, `share`, `smoothing` or `reduction` is invalid.
    """
    check_reduction(reduction)
    if not 0 <= share <= 1:
        raise LossInputError(f"share is {share}; it must lie in [0, 1]")
    lengths = lengths_tensor("lengths", lengths).to(logits.device)
    hard = step_cross_entropy(logits, targets, lengths, smoothing)
    if soft_tokens.shape != soft_probabilities.shape or soft_tokens.shape[:2] != targets.shape:
        raise LossInputError(
            "expected soft_tokens and soft_probabilities (batch, steps, tokens); "
            f"got {tuple(soft_tokens.shape)} and {tuple(soft_probabilities.shape)} "
            f"for targets {tuple(targets.shape)}"
        )
    probabilities = at_least_float32(soft_probabilities.to(logits.device))
    mass = probabilities.sum(dim=-1)
    chosen = F.log_softmax(at_least_float32(logits), dim=-1).gather(
        2, soft_tokens.to(logits.device).long()
    )
    soft = -(probabilities * chosen).sum(dim=-1) / mass.clamp(min=_NOTHING)
    mixed = hard + share * (soft - hard) * (mass > _NOTHING)
    padding = torch.arange(targets.shape[1], device=logits.device) >= lengths[:, None]
    return reduce_by_length(mixed.masked_fill(padding, 0.0).sum(dim=1), lengths, reduction)
