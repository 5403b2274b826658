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

import numpy as np

from keyframe_asr.decoding.arrays import Floats, Integers, inside_lengths, run_peaks
from keyframe_asr.text.tokenizer import BLANK


@dataclass(frozen=True)
class Columns:
    """Log-probabilities (B, T, V) of a CTC (`collapse`: repeats are one token) or a length head.

    `lengths` (B,) is the number of valid columns; padding may have any value.
    """

    log_probs: Floats
    lengths: Integers
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

    states: Integers
    positions: Integers
    scores: Floats


def best_paths(
    source: Columns, tokens: Integers, counts: Integers, rows: Integers | None = None
) -> BestPaths:
    """Align token sequences with columns.

    Args:
        source: log-probabilities of B utterances.
        tokens: (N, L) ids without blank; padding may have any value.
        counts: (N,) tokens of each sequence; 0 yields the path of blanks.
        rows: (N,) utterance of each sequence; default: one sequence per utterance.
    """
    log_probs = source.log_probs
    rows = np.arange(len(tokens)) if rows is None else rows
    number, longest = tokens.shape
    inside = inside_lengths(counts, longest)
    labels = np.full((number, 2 * longest + 1), BLANK, dtype=np.int64)
    labels[:, 1::2] = np.where(inside, tokens, BLANK)
    states, scores = _search(source, rows, labels, counts)
    column = np.arange(log_probs.shape[1])
    emitted = log_probs[rows[:, None], column, np.take_along_axis(labels, states, axis=1)]
    possible = scores[:, None] > -np.inf
    speaks = (column < source.lengths[rows][:, None]) & possible & (states % 2 == 1)
    # columns that emit blank are left out, whatever run they are counted to
    positions = run_peaks(emitted, np.minimum(states // 2, longest), speaks, longest + 1)
    found = inside & possible
    return BestPaths(states, np.where(found, positions[:, :longest], 0), scores)


def _search(
    source: Columns, rows: Integers, labels: Integers, counts: Integers
) -> tuple[Integers, Floats]:
    """States (N, T) and scores (N,) of the best paths through states with labels (N, S)."""
    number, states = labels.shape
    columns, lengths = source.log_probs.shape[1], source.lengths[rows]
    searched = int(lengths.max(initial=0))
    is_token = np.arange(states) % 2 == 1
    may_skip = np.tile(is_token[2:], (number, 1))
    if source.collapse:
        may_skip &= labels[:, 2:] != labels[:, :-2]
    skipping = np.where(may_skip, 0.0, -np.inf).astype(source.log_probs.dtype)
    score = np.full((number, states), -np.inf, dtype=source.log_probs.dtype)
    score[:, 0] = 0.0  # initial state; leads to the first blank or the first token
    back = np.zeros((searched, number, states), dtype=np.int8)
    row = rows[:, None]
    shortest = int(lengths.min(initial=searched))
    for column in range(searched):
        best = score.copy() if source.collapse else np.where(is_token, -np.inf, score)
        step = back[column]
        moved = score[:, :-1] > best[:, 1:]
        step[:, 1:] = moved
        np.maximum(best[:, 1:], score[:, :-1], out=best[:, 1:])
        two = score[:, :-2] + skipping
        step[:, 2:][two > best[:, 2:]] = 2
        np.maximum(best[:, 2:], two, out=best[:, 2:])
        best += source.log_probs[row, column, labels]
        if column >= shortest:
            over = column >= lengths
            step[over], best[over] = 0, score[over]
        score = best
    ends = np.stack((np.maximum(2 * counts - 1, 0), 2 * counts), axis=1)
    last = np.take_along_axis(score, ends, axis=1)
    final = last.argmax(axis=1)
    state = ends[np.arange(number), final]
    path = np.empty((columns, number), dtype=np.int64)
    path[searched:] = state
    sequence = np.arange(number)
    for column in reversed(range(searched)):
        path[column] = state
        state = state - back[column, sequence, state]
    return path.T, last.max(axis=1, initial=-np.inf)
