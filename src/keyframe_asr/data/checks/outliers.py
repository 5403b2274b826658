"""Utterances that are unusually long, short, fast or slow for their manifest.

The rule is that of the median absolute deviation (Iglewicz and Hoaglin, 1993), on logarithms,
because durations and rates are spread by factors: a value is an outlier if its logarithm is more
than `DEVIATIONS` robust standard deviations (1.4826 · MAD) away from the median. Unlike mean and
standard deviation, neither moves with the outliers themselves. Manifests of fewer than `FEWEST`
utterances have no outliers, and deviations of less than a factor of `LEAST_FACTOR` are none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keyframe_asr.data.checks.finding import Finding, Item, findings
from keyframe_asr.data.checks.utterance import Utterance

DEVIATIONS = 5.0
"""Robust standard deviations to the median."""

FEWEST = 20
"""Fewer values have no spread to speak of."""

LEAST_FACTOR = 2.0
"""Where all are alike, even a small difference would be many deviations."""

_GAUSSIAN = 1.4826
"""MAD to standard deviation of a normal distribution."""


def outlier_findings(manifest: str, utterances: Sequence[Utterance], unit: str) -> list[Finding]:
    """Outliers of one manifest; `unit` names what the speaking rate counts."""
    timed = [one for one in utterances if one.seconds > 0]
    spoken = [one for one in timed if one.units and not one.audio.problem]
    durations = [one.seconds for one in timed]
    rates = [one.units / one.seconds for one in spoken]
    return [
        *findings("duration-outlier", (manifest,), _items(timed, durations, "s")),
        *findings("rate-outlier", (manifest,), _items(spoken, rates, f"{unit}/s")),
    ]


def outliers(values: Sequence[float]) -> list[int]:
    """Indices of the outliers among values above 0."""
    if len(values) < FEWEST:
        return []
    logs = np.log(np.asarray(values, dtype=np.float64))
    distances = np.abs(logs - np.median(logs))
    limit = max(DEVIATIONS * _GAUSSIAN * float(np.median(distances)), math.log(LEAST_FACTOR))
    return [int(index) for index in np.flatnonzero(distances > limit)]


def _items(utterances: Sequence[Utterance], values: Sequence[float], unit: str) -> list[Item]:
    far = outliers(values)
    median = float(np.median(values)) if far else 0.0
    return [
        Item(utterances[index].id, f"{values[index]:.2f} {unit} (median {median:.2f})")
        for index in far
    ]
