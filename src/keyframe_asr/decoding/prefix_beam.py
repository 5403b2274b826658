"""N-best token sequences from one column of log-probabilities per frame or keyframe.

Prefix beam search (Hannun et al., arXiv 1408.2873): paths that spell the same tokens are summed.
`ctc_prefix_beam` collapses repeats, `aligned_beam` (length head, AXE or TIL) does not. Labels
beyond the best few of a column are not tried, which loses nothing at the usual sharpness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis
from keyframe_asr.tokenizer import BLANK, END

Prefix = tuple[int, ...]
Column = tuple[float, list[tuple[int, float]]]
"""Log-probability of blank, and the best labels with theirs."""


@dataclass
class _Entry:
    """Log-probabilities of the paths that spell a prefix, and the best one of them."""

    ends_in_blank: float = -math.inf
    ends_in_token: float = -math.inf
    best_path: float = -math.inf
    positions: tuple[int, ...] = ()
    confidences: tuple[float, ...] = ()

    @property
    def total(self) -> float:
        return _log_add(self.ends_in_blank, self.ends_in_token)

    def adopt(
        self, path: float, positions: tuple[int, ...], confidences: tuple[float, ...]
    ) -> None:
        """Remember where the best path found its tokens."""
        if path > self.best_path:
            self.best_path, self.positions, self.confidences = path, positions, confidences


def aligned_beam(log_probs: Tensor, lengths: Tensor, size: int = 10) -> list[list[Hypothesis]]:
    """N-best of a length head: ε dropped, nothing collapsed.

    Args:
        log_probs: (B, K, V) log-probabilities.
        lengths: (B,) valid columns; 0 gives one empty hypothesis.
        size: width of the search and most hypotheses returned.

    Returns:
        Per utterance its hypotheses, best first, with summed scores.
    """
    return [_search(columns, size, False) for columns in _columns(log_probs, lengths, size)]


def ctc_prefix_beam(log_probs: Tensor, lengths: Tensor, size: int = 10) -> list[list[Hypothesis]]:
    """N-best of CTC log-probabilities (B, U, V); otherwise as `aligned_beam`."""
    return [_search(columns, size, True) for columns in _columns(log_probs, lengths, size)]


def _columns(log_probs: Tensor, lengths: Tensor, size: int) -> list[list[Column]]:
    """The best labels of every valid column, as plain numbers."""
    best, labels = log_probs.topk(min(size + 2, log_probs.shape[2]), dim=-1)
    blank_rows: list[list[float]] = log_probs[:, :, BLANK].tolist()
    batch = zip(blank_rows, labels.tolist(), best.tolist(), lengths.tolist(), strict=True)
    return [
        [
            (blank, [(i, p) for i, p in zip(ids, scores, strict=True) if i not in (BLANK, END)])
            for blank, ids, scores in zip(blanks[:n], label_row[:n], score_row[:n], strict=True)
        ]
        for blanks, label_row, score_row, n in batch
    ]


def _search(columns: list[Column], size: int, collapse: bool) -> list[Hypothesis]:
    beam: dict[Prefix, _Entry] = {(): _Entry(ends_in_blank=0.0, best_path=0.0)}
    for position, column in enumerate(columns):
        grown: dict[Prefix, _Entry] = {}
        for prefix, entry in beam.items():
            _extend(grown, prefix, entry, position, column, collapse)
        ranked = sorted(grown.items(), key=lambda item: item[1].total, reverse=True)
        beam = dict(ranked[:size])
    if not columns:
        return [EMPTY]
    return [
        Hypothesis(prefix, entry.total, entry.positions, entry.confidences)
        for prefix, entry in beam.items()
    ]


def _extend(
    grown: dict[Prefix, _Entry],
    prefix: Prefix,
    entry: _Entry,
    position: int,
    column: Column,
    collapse: bool,
) -> None:
    """Add to `grown` every way in which one more column continues a prefix."""
    blank, labels = column
    total = entry.total
    same = grown.setdefault(prefix, _Entry())
    same.ends_in_blank = _log_add(same.ends_in_blank, total + blank)
    same.adopt(entry.best_path + blank, entry.positions, entry.confidences)
    for label, log_prob in labels:
        before = total
        if collapse and prefix and label == prefix[-1]:
            same.ends_in_token = _log_add(same.ends_in_token, entry.ends_in_token + log_prob)
            if entry.ends_in_token > -math.inf:
                same.adopt(entry.best_path + log_prob, entry.positions, entry.confidences)
            before = entry.ends_in_blank  # a repeated token needs a blank in between
        if before == -math.inf:
            continue
        longer = grown.setdefault((*prefix, label), _Entry())
        longer.ends_in_token = _log_add(longer.ends_in_token, before + log_prob)
        longer.adopt(
            entry.best_path + log_prob,
            (*entry.positions, position),
            (*entry.confidences, math.exp(log_prob)),
        )


def _log_add(a: float, b: float) -> float:
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))
