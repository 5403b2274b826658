"""Time independence loss, TIL, as aggregation cross entropy (Xie et al., 2019, arXiv 1904.08364).

arXiv 2510.10453 describes TIL as a bag of words that removes time. The paper and its formula are
public, but were not at hand when this was written: whether this is its exact form was not checked.
With ȳ_k the mean of P_t(k) over the m predictions, N_k the count of token k among the n targets and
N_ε = max(0, m - n):

    L = - Σ_k N_k / max(m, n) · log ȳ_k        the sum over tokens and ε

Deviations from 1904.08364: there N_k is divided by m and m ≥ n is assumed; max(m, n) also allows
more targets than predictions. Counts are not computed: Σ_k N_k log ȳ_k is the sum of log ȳ over
the target positions, so only target and ε columns are gathered. log ȳ is a logsumexp, so
probabilities too small for a float keep their value and gradient.
Derivation: docs/math/til.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from keyframe_asr.losses.validation import Lengths, LossInputs, check_inputs, check_reduction


def til_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    *,
    blank: int = 0,
    reduction: str = "mean",
) -> Tensor:
    """TIL of a padded batch; an utterance without targets is trained towards ε everywhere.

    Args:
        log_probs: (B, K, V) log-probabilities over vocabulary and ε; half precision is summed in
            float32. Additional memory is O(B·K·L).
        targets: (B, L) integer ids; padding may have any value.
        input_lengths: (B,) predictions m of each utterance, a tensor, list or tuple; 0 only where
            there are no targets.
        target_lengths: (B,) targets n of each utterance, 0 included; may exceed m.
        blank: id of ε.
        reduction: `none` → (B,), `sum`, or `mean` over the batch. The definition already divides
            by max(m, n), so `mean` does not divide by the target length again.

    Raises:
        LossInputError: a shape, length, id or `reduction` is invalid, or a log-probability used by
            the loss is NaN or makes it infinite; names the index of the utterance in the batch.
    """
    check_reduction(reduction)
    inputs = check_inputs(log_probs, targets, input_lengths, target_lengths, blank)
    weights = _weights(inputs)
    used = weights > 0
    log_mean = _log_mean(inputs, used)
    inputs.raise_problems(
        no_predictions=(inputs.input_lengths == 0) & (inputs.target_lengths > 0),
        not_finite=(used & ~log_mean.detach().isfinite()).any(dim=1),
    )
    losses = -(weights * log_mean).sum(dim=1)
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else losses.mean()


def _weights(inputs: LossInputs) -> Tensor:
    """Weights of log ȳ of ε and of every target position, (B, 1 + L), 0 in the padding."""
    blanks = (inputs.input_lengths - inputs.target_lengths).clamp(min=0)
    counts = torch.cat([blanks[:, None], inputs.target_mask.long()], dim=1)
    longer = torch.maximum(inputs.input_lengths, inputs.target_lengths).clamp(min=1)
    dtype = torch.promote_types(inputs.log_probs.dtype, torch.float32)
    return counts.to(dtype) / longer[:, None].to(dtype)


def _log_mean(inputs: LossInputs, used: Tensor) -> Tensor:
    """log ȳ of ε and of every target position, (B, 1 + L), 0 where not used.

    Unused columns are filled before the logsumexp: they may contain NaN, and a column of -infinity
    has a NaN gradient even if its weight is 0.
    """
    gathered = inputs.gather()
    inside = inputs.input_mask[:, :, None]
    gathered = gathered.masked_fill(~inside, -torch.inf).masked_fill(~used[:, None, :], 0.0)
    predictions = inputs.input_lengths.clamp(min=1)[:, None].to(gathered.dtype)
    return (gathered.logsumexp(dim=1) - predictions.log()).masked_fill(~used, 0.0)
