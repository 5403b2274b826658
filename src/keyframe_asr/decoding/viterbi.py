"""Viterbi alignment: the most probable path that spells given tokens (Graves et al., 2006).

A sequence of n tokens has 2n + 1 states: blank, y1, blank, ..., yn, blank. At every column a path
stays in its state, moves to the next state, or skips the blank between two different tokens. In a
length head (AXE or TIL) each column stands for at most one token: a path leaves a token's state at
the next column, and equal neighbours need no blank between them.

All states of all sequences are computed together, column by column. Ties are resolved in favour of
staying, then of moving by one state; at the end, of the last token over the blank after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from keyframe_asr.model.masks import run_peaks
from keyframe_asr.text.tokenizer import BLANK


@dataclass(frozen=True)
class Columns:
    """Log-probabilities (B, T, V) of a CTC (`collapse`: repeats are one token) or a length head.

    `lengths` (B,) is the number of valid columns; padding may have any value.
    """

    log_probs: Tensor
    lengths: Tensor
    collapse: bool


@dataclass(frozen=True)
class BestPaths:
    """The most probable path of each token sequence.

    Attributes:
        states: (N, T) state of every column: 2i + 1 emits token i, even states emit blank; past
            the length, the last state. Undefined where the score is -inf.
        positions: (N, L) column of each token, the most probable if several emit it; 0 in the
            padding and where there is no path.
        scores: (N,) log-probability of the path; -inf if there are too few columns for the tokens.
    """

    states: Tensor
    positions: Tensor
    scores: Tensor


@torch.no_grad()
def best_paths(
    source: Columns, tokens: Tensor, counts: Tensor, rows: Tensor | None = None
) -> BestPaths:
    """Align token sequences with columns.

    Args:
        source: log-probabilities of B utterances.
        tokens: (N, L) ids without blank; padding may have any value.
        counts: (N,) tokens of each sequence; 0 yields the path of blanks.
        rows: (N,) utterance of each sequence; default: one sequence per utterance.
    """
    log_probs = source.log_probs
    rows = torch.arange(len(tokens), device=log_probs.device) if rows is None else rows
    number, longest = tokens.shape
    inside = torch.arange(longest, device=tokens.device) < counts.unsqueeze(1)
    labels = tokens.new_full((number, 2 * longest + 1), BLANK)
    labels[:, 1::2] = tokens.masked_fill(~inside, BLANK)
    states, scores = _search(source, rows, labels, counts)
    column = torch.arange(log_probs.shape[1], device=states.device)
    emitted = log_probs[rows.unsqueeze(1), column, labels.gather(1, states)]
    valid = (column < source.lengths[rows].unsqueeze(1)) & ~scores.isneginf().unsqueeze(1)
    speaks = valid & (states % 2 == 1)
    # columns that emit blank are collected in an extra run, dropped afterwards
    owner = (states // 2).masked_fill(~speaks, longest)
    positions = run_peaks(emitted, owner, speaks, longest + 1)[:, :longest]
    found = inside & ~scores.isneginf().unsqueeze(1)
    return BestPaths(states, positions.masked_fill(~found, 0), scores)


def _search(source: Columns, rows: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """States (N, T) and scores (N,) of the best paths through states with labels (N, S)."""
    number, states = labels.shape
    lengths = source.lengths[rows]
    is_token = torch.arange(states, device=labels.device) % 2 == 1
    may_stay = torch.ones_like(is_token) if source.collapse else ~is_token
    may_skip = is_token.repeat(number, 1)
    may_skip[:, :2] = False
    if source.collapse:
        may_skip[:, 2:] &= labels[:, 2:] != labels[:, :-2]
    score = source.log_probs.new_full((number, states), -torch.inf)
    score[:, 0] = 0.0  # initial state; leads to the first blank or the first token
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
    ends = torch.stack(((2 * counts - 1).clamp(min=0), 2 * counts), dim=1)
    total, final = score.gather(1, ends).max(dim=1)
    state = ends.gather(1, final.unsqueeze(1)).squeeze(1)
    path = [state.new_empty(number)] * len(back)
    for column in reversed(range(len(back))):
        path[column] = state
        state = state - back[column].gather(1, state.unsqueeze(1)).squeeze(1).long()
    return torch.stack(path, dim=1) if path else labels.new_empty(number, 0), total
