"""Calibration of confidences by temperature scaling (Guo et al., 2017, arXiv 1706.04599).

Deviations from the paper: the temperature divides the log-odds of the confidence (the two-class
form) instead of the logits of all classes, and an offset is added (Platt, 1999). This works for
every decode mode, keeps the order of confidences, and cannot change a text. The offset corrects
underconfident modes: no temperature lifts a confidence above one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from keyframe_asr.config.calibration import ConfidenceConfig
from keyframe_asr.decoding.hypothesis import Hypothesis

Array = npt.NDArray[np.floating]
UnitT = TypeVar("UnitT", int, str)

CERTAIN = 1e-6
"""Minimum distance of confidences from 0 and 1: float32 rounds values closer than this."""

FEWEST_TOKENS = 30
"""Minimum number of tokens for a calibration."""

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def scaled(confidences: Array | Sequence[float], scaling: ConfidenceConfig) -> Array:
    """Confidences (N,) in [0, 1] after scaling their log-odds."""
    odds = _log_odds(confidences) / scaling.temperature + scaling.offset
    return np.asarray(np.exp(-np.logaddexp(0.0, -odds)))  # the logistic function


def with_scaling(hypothesis: Hypothesis, scaling: ConfidenceConfig | None) -> Hypothesis:
    """The hypothesis with scaled confidences; unchanged if `scaling` is None."""
    if scaling is None or not hypothesis.tokens:
        return hypothesis
    confidences = tuple(scaled(hypothesis.confidences, scaling).tolist())
    return replace(hypothesis, confidences=confidences)


def fit_scaling(confidences: Array, right: npt.NDArray[np.bool_]) -> ConfidenceConfig:
    """Fit temperature and offset by maximum likelihood.

    Args:
        confidences: (N,) from the model.
        right: (N,) True where the token is correct.

    Returns:
        The minimum of the negative log-likelihood with Platt's smoothed targets, temperature
        between 0.05 and 20; no scaling for fewer than 30 tokens.
    """
    if len(right) < FEWEST_TOKENS:
        return ConfidenceConfig()
    from scipy.optimize import minimize  # recognition does without

    odds = _log_odds(confidences)
    count, hits = len(right), int(right.sum())
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (count - hits + 2))

    def loss(parameters: Array) -> float:
        found = odds / np.exp(parameters[0]) + parameters[1]
        return float((np.logaddexp(0.0, found) - target * found).mean())

    bounds = [(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)), (-10.0, 10.0)]
    best = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=bounds).x
    return ConfidenceConfig(
        temperature=round(float(np.exp(best[0])), 3), offset=round(float(best[1]), 3)
    )


def right_units(reference: Sequence[UnitT], hypothesis: Sequence[UnitT]) -> list[bool]:
    """For each unit of the hypothesis, True if it is aligned with an equal reference unit."""
    import kaldialign  # recognition does without

    gap = ""  # not equal to any unit
    pairs = kaldialign.align(list(map(str, reference)), list(map(str, hypothesis)), gap)
    return [expected == found for expected, found in pairs if found != gap]


def _log_odds(confidences: Array | Sequence[float]) -> Array:
    kept = np.clip(np.asarray(confidences, dtype=np.float64), CERTAIN, 1 - CERTAIN)
    return np.asarray(np.log(kept) - np.log1p(-kept))
