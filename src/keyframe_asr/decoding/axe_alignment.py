"""The cheapest monotonic alignment of tokens with the columns of a length head.

The best path of AXE (Ghazvininejad et al., 2020, arXiv 2004.01655, section 3), as
`keyframe_asr.losses.axe` trains it; the recursion is derived there. A token that skips its
prediction costs `SKIP_PENALTY` times its negative log-probability.
"""

from __future__ import annotations

import numpy as np

from keyframe_asr.decoding.arrays import Integers, inside_lengths
from keyframe_asr.decoding.viterbi import Columns
from keyframe_asr.text.tokenizer import BLANK

SKIP_PENALTY = 2.0


def axe_positions(head: Columns, tokens: Integers, counts: Integers) -> Integers:
    """Return the column of each token, non-decreasing; that at which a skipped token is skipped.

    Args:
        head: log-probabilities of B utterances; those with tokens have a column.
        tokens: (B, L) ids; padding may have any value.
        counts: (B,) tokens of each utterance.

    Returns:
        Columns (B, L); -1 in the padding.
    """
    batch, longest = tokens.shape
    inside = inside_lengths(counts, longest)
    columns = head.log_probs.shape[1]
    if not columns or not longest:
        return np.full(tokens.shape, -1)
    valid = inside_lengths(head.lengths, columns)[:, :, None]
    labels = np.concatenate((np.full((batch, 1), BLANK), np.where(inside, tokens, BLANK)), axis=1)
    gathered = np.take_along_axis(head.log_probs, labels[:, None, :], axis=2)
    gathered = np.where(valid, gathered, 0.0).astype(np.float64)
    of_blank, place = gathered[:, :, 0], np.arange(columns + 1)
    # costs relative to ε everywhere; column 0 is before the first prediction
    row = np.zeros((batch, columns + 1))
    aligned = np.empty((longest, batch, columns + 1), dtype=np.bool_)
    source = np.empty((longest, batch, columns + 1), dtype=np.int64)
    for number in range(longest):
        of_token = gathered[:, :, number + 1]
        align = np.full(row.shape, np.inf)
        align[:, 1:] = row[:, :-1] + of_blank - of_token
        skip = row - SKIP_PENALTY * of_token[:, np.maximum(place - 1, 0)]
        aligned[number] = align <= skip
        entering = np.minimum(align, skip)
        row = np.minimum.accumulate(entering, axis=1)
        source[number] = np.maximum.accumulate(np.where(entering == row, place, 0), axis=1)
    found = np.empty((longest, batch), dtype=np.int64)
    utterance, column = np.arange(batch), head.lengths.copy()
    for number in reversed(range(longest)):
        found[number] = entry = source[number, utterance, column]
        before = entry - aligned[number, utterance, entry]
        column = np.where(inside[:, number], before, column)
    return np.where(inside, np.maximum(found.T - 1, 0), -1)
