"""Searches the slow and obvious way: every path, and a dictionary of prefixes. NumPy, float64.

Paths that spell the same tokens are summed; `collapse` reads repeats as one token (CTC).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

Tokens = tuple[int, ...]
External = Callable[[Tokens, bool], float]
"""What is added to the score of tokens, and whether the sentence ends there."""

BLANK, END = 0, 2


def nothing(tokens: Tokens, ended: bool) -> float:
    """No fusion."""
    del tokens, ended
    return 0.0


def spell(path: Sequence[int], collapse: bool) -> Tokens:
    """Tokens of a path of labels."""
    labels = [label for label, _ in itertools.groupby(path)] if collapse else path
    return tuple(label for label in labels if label != BLANK)


def all_paths(log_probs: np.ndarray, collapse: bool) -> dict[Tokens, list[tuple[float, Tokens]]]:
    """For every sentence its paths through log_probs (T, V) with their log-probabilities."""
    columns, vocabulary = log_probs.shape
    found = defaultdict(list)
    labels = [label for label in range(vocabulary) if label != END]
    for path in itertools.product(labels, repeat=columns):
        score = sum(log_probs[column, label] for column, label in enumerate(path))
        found[spell(path, collapse)].append((score, path))
    return found


def every_sentence(
    log_probs: np.ndarray, collapse: bool, external: External = nothing
) -> list[tuple[Tokens, float]]:
    """All sentences with their summed scores, best first."""
    totals = {
        tokens: float(np.logaddexp.reduce([score for score, _ in paths])) + external(tokens, True)
        for tokens, paths in all_paths(log_probs, collapse).items()
    }
    return sorted(totals.items(), key=lambda item: -item[1])


def dictionary_search(
    log_probs: np.ndarray, size: int, collapse: bool, external: External = nothing
) -> list[tuple[Tokens, float]]:
    """Prefix beam search with all labels tried, as in the paper: prefix → [ends blank, token]."""
    beam = {(): [0.0, -np.inf]}
    labels = [label for label in range(log_probs.shape[1]) if label not in (BLANK, END)]
    for column in log_probs:
        grown: dict[Tokens, list[float]] = defaultdict(lambda: [-np.inf, -np.inf])
        for prefix, (blank, token) in beam.items():
            total = np.logaddexp(blank, token)
            grown[prefix][0] = np.logaddexp(grown[prefix][0], total + column[BLANK])
            for label in labels:
                before = total
                if collapse and prefix and label == prefix[-1]:
                    same = grown[prefix]
                    same[1] = np.logaddexp(same[1], token + column[label])
                    before = blank
                if before > -np.inf:
                    longer = grown[(*prefix, label)]
                    longer[1] = np.logaddexp(longer[1], before + column[label])
        ranked = sorted(
            grown.items(), key=lambda item: -(np.logaddexp(*item[1]) + external(item[0], False))
        )
        beam = dict(ranked[:size])
    totals = {
        prefix: float(np.logaddexp(*ends)) + external(prefix, True) for prefix, ends in beam.items()
    }
    return sorted(totals.items(), key=lambda item: -item[1])


def best_columns(
    log_probs: np.ndarray, paths: list[tuple[float, Tokens]], collapse: bool
) -> list[int]:
    """Column of each token on the best of the paths that spell it: the most probable of its run."""
    _, path = max(paths)
    found = []
    for label, run in itertools.groupby(
        range(len(path)),
        key=path.__getitem__ if collapse else lambda column: (column, path[column]),
    ):
        token = label if collapse else label[1]
        if token != BLANK:
            found.append(max(run, key=lambda column: (log_probs[column, token], -column)))
    return found
