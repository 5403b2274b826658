"""Greedy decoding: the most probable label of every column.

`greedy_aligned` decodes a length head (AXE, arXiv 2004.01655, or TIL): it drops ε and does not
collapse repeats, because each column stands for at most one token. `greedy_ctc` decodes CTC (Graves
et al., 2006): it collapses repeats, then drops blanks.
"""

from __future__ import annotations

import numpy as np

from keyframe_asr.decoding.arrays import Bools, Floats, Integers, inside_lengths, run_peaks
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.text.tokenizer import BLANK, END


def greedy_aligned(log_probs: Floats, lengths: Integers) -> list[Hypothesis]:
    """Decode a length head: best label of each column, without ε and end of sentence.

    Args:
        log_probs: (B, K, V) log-probabilities.
        lengths: (B,) valid columns of each utterance; 0 yields an empty hypothesis.
    """
    best, labels, valid = _best_labels(log_probs, lengths)
    return _gather(valid & (labels != BLANK) & (labels != END), labels, best, valid)


def greedy_ctc(log_probs: Floats, lengths: Integers) -> list[Hypothesis]:
    """Decode CTC: best label of each frame, repeats collapsed, blank and end of sentence dropped.

    Position and confidence of a token are those of the most probable frame of its run.

    Args:
        log_probs: (B, U, V) log-probabilities.
        lengths: (B,) valid frames of each utterance; 0 yields an empty hypothesis.
    """
    best, labels, valid = _best_labels(log_probs, lengths)
    frames = labels.shape[1]
    starts = np.ones_like(valid)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    run = starts.cumsum(axis=1) - 1
    peaks = np.take_along_axis(run_peaks(best, run, valid, frames), run, axis=1)
    chosen = np.arange(frames) == peaks
    return _gather(chosen & (labels != BLANK) & (labels != END), labels, best, valid)


def _best_labels(log_probs: Floats, lengths: Integers) -> tuple[Floats, Integers, Bools]:
    """Log-probability and id of the best label (B, K), and the mask of valid columns (B, K)."""
    labels = log_probs.argmax(axis=-1)
    best = np.take_along_axis(log_probs, labels[..., None], axis=-1)[..., 0]
    return best, labels, inside_lengths(lengths, labels.shape[1])


def _gather(kept: Bools, labels: Integers, best: Floats, valid: Bools) -> list[Hypothesis]:
    """One hypothesis per row from the kept columns; its score is that of the whole path."""
    scores = np.where(valid, best, 0.0).sum(axis=1, dtype=np.float64)
    found = []
    for row, score in enumerate(scores.tolist()):
        (columns,) = np.nonzero(kept[row])
        sure = np.exp(best[row, columns])
        tokens = labels[row, columns]
        found.append(
            Hypothesis(tuple(tokens.tolist()), score, tuple(columns.tolist()), tuple(sure.tolist()))
        )
    return found
