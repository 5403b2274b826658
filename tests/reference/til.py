"""TIL the slow and obvious way: counts and averaged probabilities over the whole vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def til_reference(
    log_probs: np.ndarray, targets: Sequence[int], blank: int = 0
) -> tuple[float, np.ndarray]:
    """Loss and its gradient (m, V) of one utterance with log_probs (m, V), m ≥ 1."""
    predictions, vocabulary = log_probs.shape
    counts = np.zeros(vocabulary)
    for token in targets:
        counts[token] += 1
    counts[blank] = max(0, predictions - len(targets))
    probabilities = np.exp(log_probs)
    mean = probabilities.mean(axis=0)
    share = counts / max(predictions, len(targets))
    loss = 0.0
    gradient = np.zeros_like(log_probs)
    for k in range(vocabulary):
        if counts[k] > 0:
            loss -= share[k] * np.log(mean[k])
            # d(-log ȳ_k)/d(log p_t(k)) = -p_t(k) / (m ȳ_k)
            gradient[:, k] = -share[k] * probabilities[:, k] / (predictions * mean[k])
    return float(loss), gradient
