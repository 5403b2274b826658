"""Greedy decoding: the most probable label of every column.

`greedy_aligned` decodes a length head (AXE, arXiv 2004.01655, or TIL): it drops ε and does not
collapse repeats, because each column stands for at most one token. `greedy_ctc` decodes CTC (Graves
et al., 2006): it collapses repeats, then drops blanks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.model.masks import run_peaks
from keyframe_asr.text.tokenizer import BLANK, END


def greedy_aligned(log_probs: Tensor, lengths: Tensor) -> list[Hypothesis]:
    """Decode a length head: best label of each column, without ε and end of sentence.

    Args:
        log_probs: (B, K, V) log-probabilities.
        lengths: (B,) valid columns of each utterance; 0 yields an empty hypothesis.
    """
    best, labels, valid = _best_labels(log_probs, lengths)
    kept = valid & (labels != BLANK) & (labels != END)
    columns = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
    return _gather(kept, columns, labels, best, _path_scores(best, valid))


def greedy_ctc(log_probs: Tensor, lengths: Tensor) -> list[Hypothesis]:
    """Decode CTC: best label of each frame, repeats collapsed, blank and end of sentence dropped.

    Position and confidence of a token are those of the most probable frame of its run.

    Args:
        log_probs: (B, U, V) log-probabilities.
        lengths: (B,) valid frames of each utterance; 0 yields an empty hypothesis.
    """
    best, labels, valid = _best_labels(log_probs, lengths)
    frames = labels.shape[1]
    starts = torch.ones_like(valid)
    starts[:, 1:] = labels[:, 1:] != labels[:, :-1]
    run = starts.long().cumsum(1) - 1
    columns = torch.arange(frames, device=labels.device).expand_as(labels)
    chosen = columns == run_peaks(best, run, valid, frames).gather(1, run)
    kept = chosen & (labels != BLANK) & (labels != END)
    return _gather(kept, columns, labels, best, _path_scores(best, valid))


def _best_labels(log_probs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability and id of the best label (B, K), and the mask of valid columns (B, K)."""
    best, labels = log_probs.max(dim=-1)
    columns = torch.arange(labels.shape[1], device=labels.device)
    return best, labels, columns < lengths.to(labels.device).unsqueeze(1)


def _path_scores(best: Tensor, valid: Tensor) -> list[float]:
    scores: list[float] = best.masked_fill(~valid, 0.0).sum(dim=1).tolist()
    return scores


def _gather(
    kept: Tensor, columns: Tensor, labels: Tensor, best: Tensor, scores: list[float]
) -> list[Hypothesis]:
    """One hypothesis per row from the kept columns, with one transfer per tensor."""
    counts = kept.sum(dim=1).tolist()
    tokens, positions, confidences = (
        values[kept].cpu().split(counts) for values in (labels, columns, best.exp())
    )
    return [
        Hypothesis(tuple(t.tolist()), score, tuple(p.tolist()), tuple(c.tolist()))
        for t, p, c, score in zip(tokens, positions, confidences, scores, strict=True)
    ]
