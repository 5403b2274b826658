"""Where in time the tokens of a hypothesis lie: its most probable path (Viterbi).

One state per token with a blank state around each, as in CTC (Graves et al., 2006). For a length
head, whose columns stand for at most one token each, a token state lasts one column and equal
neighbours need no blank between them. All hypotheses at once; one loop over columns each way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyframe_asr.text.tokenizer import BLANK


@dataclass(frozen=True)
class Columns:
    """What was searched: (B, T, V) log-probabilities, (B,) valid columns, CTC or length head."""

    log_probs: Tensor
    lengths: Tensor
    collapse: bool


def best_positions(source: Columns, rows: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
    """Column of every token on the best path that spells the tokens.

    Args:
        source: log-probabilities of B utterances. Where repeats are collapsed, several columns
            are one token, and the most probable of them is given.
        rows: (N,) utterance of each hypothesis.
        tokens: (N, L) ids, padded with anything.
        counts: (N,) valid tokens; the columns must have room for them.

    Returns:
        (N, L) columns, ascending; 0 in the padding.
    """
    (number, longest), columns = tokens.shape, source.log_probs.shape[1]
    if columns == 0 or longest == 0 or number == 0:
        return torch.zeros_like(tokens)
    inside = torch.arange(longest, device=tokens.device) < counts.unsqueeze(1)
    labels = torch.full((number, 2 * longest + 1), BLANK, device=tokens.device)
    labels[:, 1::2] = tokens.masked_fill(~inside, BLANK)
    path = _best_path(source, rows, labels, counts)
    column = torch.arange(columns, device=tokens.device).expand(number, -1)
    spoken = source.log_probs[rows.unsqueeze(1), column, labels.gather(1, path)]
    valid = column < source.lengths[rows].unsqueeze(1)
    spoken = spoken.masked_fill(~(valid & (path % 2 == 1)), -torch.inf)
    owner = (path // 2).clamp(max=longest - 1)  # the token that a column speaks
    peak = spoken.new_full((number, longest), -torch.inf)
    peak.scatter_reduce_(1, owner, spoken, "amax")
    at_peak = (spoken == peak.gather(1, owner)) & spoken.isfinite()
    first = column.new_full((number, longest), columns)
    first.scatter_reduce_(1, owner, column.masked_fill(~at_peak, columns), "amin")
    return first.masked_fill(~inside, 0)


def _best_path(source: Columns, rows: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """State (N, T) of every column: 2i + 1 speaks token i, even ones speak blank."""
    number, states = labels.shape
    lengths = source.lengths[rows]
    is_token = torch.arange(states, device=labels.device) % 2 == 1
    may_stay = ~is_token if not source.collapse else torch.ones_like(is_token)
    may_skip = is_token.repeat(number, 1)
    may_skip[:, :2] = False
    if source.collapse:
        may_skip[:, 2:] &= labels[:, 2:] != labels[:, :-2]
    score = source.log_probs.new_full((number, states), -torch.inf)
    score[:, 0] = 0.0  # before the first column: from here to the first blank or the first token
    back: list[Tensor] = []
    for column in range(source.log_probs.shape[1]):
        shifted = torch.nn.functional.pad(score, (2, 0), value=-torch.inf)
        one = shifted[:, 1:-1]
        two = shifted[:, :-2].masked_fill(~may_skip, -torch.inf)
        stay = score.masked_fill(~may_stay, -torch.inf)
        best, step = torch.stack((stay, one, two)).max(dim=0)
        grown = best + source.log_probs[rows.unsqueeze(1), column, labels]
        active = (column < lengths).unsqueeze(1)
        score = torch.where(active, grown, score)
        back.append(step.to(torch.int8).masked_fill(~active, 0))
    last = 2 * counts
    ends = torch.stack((last, (last - 1).clamp(min=0)))
    final = score.gather(1, ends.T).argmax(dim=1)
    state = ends.gather(0, final.unsqueeze(0)).squeeze(0)
    path = []
    for step in reversed(back):
        path.append(state)
        state = state - step.gather(1, state.unsqueeze(1)).squeeze(1).long()
    return torch.stack(path[::-1], dim=1)
