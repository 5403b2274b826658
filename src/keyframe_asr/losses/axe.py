"""Aligned cross entropy, AXE (Ghazvininejad et al., 2020, arXiv 2004.01655, section 3).

The cross entropy of m parallel predictions under their best monotonic alignment with n targets.
With targets Y_1..Y_n, predictions P_1..P_m and penalty δ:

    A[0,0] = 0    A[i,0] = A[i-1,0] - δ log P_1(Y_i)    A[0,j] = A[0,j-1] - log P_j(ε)
    A[i,j] = min( A[i-1,j-1] - log P_j(Y_i)      align
                , A[i,  j-1] - log P_j(ε)        skip prediction
                , A[i-1,j  ] - δ log P_j(Y_i) )  skip target              loss = A[n,m]

A row needs no loop over j. With C_j = Σ_{k≤j} -log P_k(ε) and base the cheaper of align and skip
target, A[i,j] = C_j + min_{k≤j}(base_k - C_k). The table stores R[i,j] = A[i,j] - C_j, the cost
relative to ε everywhere, so a row is two additions, a minimum and a cumulative minimum:

    R[i,j] = min_{k≤j} min( R[i-1,k-1] - log P_k(Y_i) + log P_k(ε), R[i-1,k] - δ log P_k(Y_i) )

In the traceback, the index k of the cumulative minimum is the column at which the path entered the
row; predictions k+1..j are skipped. The best path is computed without gradient; the loss is the
weighted sum of the log-probabilities along the path. Its gradient is that of A[n,m] wherever the
best path is unique.
Derivation: docs/math/axe.md.

Deviations from the paper: none in the recursion. If several paths have the same cost (a repeated
token with one occurrence skipped), any of them may be chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyframe_asr.losses.validation import (
    Lengths,
    LossInputs,
    at_least_float32,
    check_inputs,
    check_positive,
    check_reduction,
    reduce_by_length,
)


@dataclass(frozen=True)
class AxeAlignment:
    """The cheapest monotonic alignment of every utterance of a batch.

    Attributes:
        position: (B, L) long, the prediction (0-based) aligned with each target, non-decreasing;
            for a skipped target the prediction at which it was skipped; -1 in the padding.
        skipped: (B, L) bool, True for targets without a prediction; False in the padding.
        prediction_aligned: (B, K) bool, True for predictions aligned with a target. The other
            predictions of the utterance are trained towards ε.
        cost: (B,) the loss A[n,m] of each utterance, without gradient.
    """

    position: Tensor
    skipped: Tensor
    prediction_aligned: Tensor
    cost: Tensor


def axe_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    *,
    blank: int = 0,
    skip_target_penalty: float = 2.0,
    reduction: str = "mean",
) -> Tensor:
    """AXE of a padded batch; an utterance without targets is trained towards ε everywhere.

    Args:
        log_probs: (B, K, V) log-probabilities over vocabulary and ε; half precision is summed in
            float32. Additional memory is O(B·K·L).
        targets: (B, L) integer ids; padding may have any value.
        input_lengths: (B,) predictions m of each utterance, a tensor, list or tuple; 0 only where
            there are no targets.
        target_lengths: (B,) targets n of each utterance, 0 included; may exceed m.
        blank: id of ε.
        skip_target_penalty: δ, above 0; the paper uses 1 to 5.
        reduction: `none` → (B,), `sum`, or `mean`: each loss divided by its target length (at
            least 1), then the mean over the batch, as `torch.nn.functional.ctc_loss` does.

    Raises:
        LossInputError: a shape, length, id or option is invalid, or a log-probability used by the
            loss is NaN or infinite; names the index of the utterance in the batch.
    """
    check_reduction(reduction)
    check_positive("skip_target_penalty", skip_target_penalty)
    inputs = check_inputs(log_probs, targets, input_lengths, target_lengths, blank)
    place, skipped = _cheapest_path(inputs, skip_target_penalty)
    tokens = _tokens_of_predictions(place, skipped, inputs)
    losses = _cost_along(place, skipped, tokens, inputs, skip_target_penalty)
    return reduce_by_length(losses, inputs.target_lengths, reduction)


@torch.no_grad()
def axe_align(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    *,
    blank: int = 0,
    skip_target_penalty: float = 2.0,
) -> AxeAlignment:
    """Compute the alignment whose cost is `axe_loss`; same arguments and errors."""
    check_positive("skip_target_penalty", skip_target_penalty)
    inputs = check_inputs(log_probs, targets, input_lengths, target_lengths, blank)
    place, skipped = _cheapest_path(inputs, skip_target_penalty)
    tokens = _tokens_of_predictions(place, skipped, inputs)
    return AxeAlignment(
        position=place.masked_fill(~inputs.target_mask, -1),
        skipped=skipped,
        prediction_aligned=tokens != blank,
        cost=_cost_along(place, skipped, tokens, inputs, skip_target_penalty),
    )


def _gather_checked(inputs: LossInputs) -> Tensor:
    """Log-probs of ε and the targets, (B, K, 1 + L), 0 past the length; raises for invalid input.

    The columns of padded targets repeat ε: finite, with weight 0.
    """
    gathered = inputs.gather().masked_fill(~inputs.input_mask[:, :, None], 0.0)
    inputs.raise_problems(
        no_predictions=(inputs.input_lengths == 0) & (inputs.target_lengths > 0),
        # A sum is finite only if all of its terms are.
        not_finite=~gathered.sum(dim=(1, 2)).isfinite(),
    )
    return gathered


@torch.no_grad()
def _cheapest_path(inputs: LossInputs, skip_target_penalty: float) -> tuple[Tensor, Tensor]:
    """The prediction each target is aligned with or skipped at, and if it is skipped; (B, L) each.

    The table stores R, (L + 1, B, K + 1). The prediction is undefined in the padding.
    """
    gathered = _gather_checked(inputs)
    batch, predictions, rows = *inputs.input_mask.shape, inputs.targets.shape[1]
    if predictions == 0 or rows == 0:
        return torch.zeros_like(inputs.targets), torch.zeros_like(inputs.target_mask)
    of_blank, of_target = gathered[:, :, 0], gathered[:, :, 1:].permute(2, 0, 1)
    # Costs of align and skip target into columns 0..K. Nothing is aligned into column 0; a skip
    # there uses the log-probability of the first prediction.
    cost = gathered.new_empty(rows, batch, 2, predictions + 1)
    torch.sub(of_blank, of_target, out=cost[:, :, 0, 1:])
    torch.mul(of_target, -skip_target_penalty, out=cost[:, :, 1, 1:])
    cost[:, :, 0, 0] = torch.inf
    cost[:, :, 1, 0] = cost[:, :, 1, 1]
    # With an extra column on the left, the two windows of a row are R[i, j-1] and R[i, j].
    table = gathered.new_full((rows + 1, batch, predictions + 2), torch.inf)
    table[0, :, 1:] = 0.0
    origin = table[:-1].unfold(2, predictions + 1, 1)
    source = inputs.targets.new_empty(rows, batch, predictions + 1)
    for start, entering, row, column in zip(
        origin.unbind(), cost.unbind(), table[1:, :, 1:].unbind(), source.unbind(), strict=True
    ):
        torch.cummin(entering.add_(start).amin(dim=1), dim=1, out=(row, column))
    by_align = cost[:, :, 0] <= cost[:, :, 1]
    entry, skipped = _walk_back(source, by_align, inputs)
    return (entry - 1).clamp(min=0), skipped & inputs.target_mask


def _walk_back(source: Tensor, by_align: Tensor, inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Column at which the path enters each row, and True where it enters by a skip; (B, L) each.

    Args:
        source: (L, B, K + 1) column at which the best path to each cell enters its row.
        by_align: (L, B, K + 1) True where a row is entered by align.
    """
    aligned = by_align.gather(2, source)
    # The column does not change in rows past the targets of an utterance.
    inside = inputs.target_mask.t()[:, :, None]
    stay = torch.arange(source.shape[2], device=source.device)
    before = torch.where(inside, source - aligned.long(), stay)
    columns = [inputs.input_lengths[:, None]]
    for row in reversed(before.unbind()):
        columns.append(row.gather(1, columns[-1]))
    after = torch.stack(columns[-2::-1])
    entry = source.gather(2, after).squeeze(2).t()
    return entry, ~aligned.gather(2, after).squeeze(2).t()


def _tokens_of_predictions(place: Tensor, skipped: Tensor, inputs: LossInputs) -> Tensor:
    """The label each prediction is trained towards, (B, K) long: its aligned target, or ε."""
    batch, predictions = inputs.input_mask.shape
    tokens = inputs.targets.new_full((batch, predictions + 1), inputs.blank)
    # The extra column collects skipped targets and padding.
    nowhere = skipped | ~inputs.target_mask
    return tokens.scatter_(1, place.masked_fill(nowhere, predictions), inputs.targets)[:, :-1]


def _cost_along(
    place: Tensor,
    skipped: Tensor,
    tokens: Tensor,
    inputs: LossInputs,
    skip_target_penalty: float,
) -> Tensor:
    """Cost of the path, (B,): one log-prob per prediction, plus δ times one per skipped target."""
    log_probs = inputs.log_probs
    batch, predictions = tokens.shape
    if predictions == 0:
        return at_least_float32(log_probs.sum(dim=(1, 2)))  # 0, and still part of the graph
    utterances = torch.arange(batch, device=log_probs.device)[:, None]
    every = torch.arange(predictions, device=log_probs.device).expand(batch, -1)
    # One indexing of log_probs, because each creates a dense gradient.
    path = (
        utterances,
        torch.cat([every, place], dim=1),
        torch.cat([tokens, inputs.targets], dim=1),
    )
    read = at_least_float32(log_probs[path])
    counted = torch.cat([inputs.input_mask, skipped], dim=1)
    weights = -counted.to(read.dtype)
    weights[:, predictions:] *= skip_target_penalty
    return (weights * read.masked_fill(~counted, 0.0)).sum(dim=1)
