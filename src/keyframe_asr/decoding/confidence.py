"""Confidences that can be believed: temperature scaling (Guo et al., 2017, arXiv 1706.04599).

Deviations from the paper: not the logits of all classes are divided by the temperature but the
log-odds of the one confidence, the two-class form of the same, and an offset is added to them
(Platt, 1999). It needs nothing of how a mode found its token (length head, CTC, decoder, a search
with other scores), keeps the order of tokens, and cannot change a text. The offset is for modes
that are sure of too little: no temperature lifts a confidence above one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import kaldialign
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from keyframe_asr.config.calibration import ConfidenceConfig
from keyframe_asr.decoding.hypothesis import Hypothesis

Array = npt.NDArray[np.floating]
UnitT = TypeVar("UnitT", int, str)

CERTAIN = 1e-6
"""Confidences are kept so far from 0 and 1: float32 rounds what lies nearer to them."""

FEWEST_TOKENS = 30
"""Fewer tokens say nothing of how far confidences are to be believed."""

COLDEST, HOTTEST = 0.05, 20.0


def scaled(confidences: Array | Sequence[float], scaling: ConfidenceConfig) -> Array:
    """Confidences (N,) in [0, 1] with their log-odds scaled."""
    return np.asarray(expit(_log_odds(confidences) / scaling.temperature + scaling.offset))


def with_scaling(hypothesis: Hypothesis, scaling: ConfidenceConfig | None) -> Hypothesis:
    """The hypothesis with scaled confidences; None leaves it alone."""
    if scaling is None or not hypothesis.tokens:
        return hypothesis
    confidences = tuple(scaled(hypothesis.confidences, scaling).tolist())
    return replace(hypothesis, confidences=confidences)


def fit_scaling(confidences: Array, right: npt.NDArray[np.bool_]) -> ConfidenceConfig:
    """The scaling that makes what was observed most probable.

    Args:
        confidences: (N,) as the model gives them.
        right: (N,) whether each token is right.

    Returns:
        The minimum of the negative log-likelihood with Platt's smoothed targets, temperatures
        between 0.05 and 20; no scaling for fewer than 30 tokens.
    """
    if len(right) < FEWEST_TOKENS:
        return ConfidenceConfig()
    odds = _log_odds(confidences)
    count, hits = len(right), int(right.sum())
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (count - hits + 2))

    def loss(parameters: Array) -> float:
        found = odds / np.exp(parameters[0]) + parameters[1]
        return float((np.logaddexp(0.0, found) - target * found).mean())

    bounds = [(np.log(COLDEST), np.log(HOTTEST)), (-10.0, 10.0)]
    best = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=bounds).x
    return ConfidenceConfig(
        temperature=round(float(np.exp(best[0])), 3), offset=round(float(best[1]), 3)
    )


def right_units(reference: Sequence[UnitT], hypothesis: Sequence[UnitT]) -> list[bool]:
    """For each unit of the hypothesis whether the alignment pairs it with its equal."""
    nothing = ""  # equal to no unit
    pairs = kaldialign.align(list(map(str, reference)), list(map(str, hypothesis)), nothing)
    return [wanted == found for wanted, found in pairs if found != nothing]


def _log_odds(confidences: Array | Sequence[float]) -> Array:
    kept = np.clip(np.asarray(confidences, dtype=np.float64), CERTAIN, 1 - CERTAIN)
    return np.asarray(logit(kept))
