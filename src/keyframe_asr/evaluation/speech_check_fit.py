"""How the statistics of a region are weighed to tell speech from other sounds.

Logistic regression, each region counted by its keyframes and both classes alike; then the bias is
moved so that text of real speech is hardly lost: as far as the token errors of the speech grow by
no more than is tolerated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import kaldialign
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from keyframe_asr.config.calibration import SpeechCheckConfig
from keyframe_asr.inference.speech_check import SpeechRegion, speech_score

RIDGE = 0.01
"""Keeps weights finite where the two classes can be told apart without error."""


@dataclass(frozen=True)
class Heard:
    """What the model made of one recording.

    Attributes:
        half: 0 or 1; what is measured on one half is fitted on the other.
        seconds: its length.
        regions: of the whole recording.
        tokens: ids of the recognised text.
        frames: source frame of each of them.
        target: ids of what was said; empty for a sound without speech.
    """

    half: int
    seconds: float
    regions: Sequence[SpeechRegion]
    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    target: tuple[int, ...]

    def kept(self, refused: Sequence[SpeechRegion]) -> tuple[int, ...]:
        """Tokens that are left without those of the refused regions."""
        return tuple(
            token
            for token, frame in zip(self.tokens, self.frames, strict=True)
            if not any(one.first <= frame < one.stop for one in refused)
        )

    def errors(self, refused: Sequence[SpeechRegion] = ()) -> int:
        """Token errors of what is left; for a sound, its hallucinated tokens."""
        return int(kaldialign.edit_distance(list(self.target), list(self.kept(refused)))["total"])


def fit_speech_check(
    speech: Sequence[Heard], sounds: Sequence[Heard], tolerance: float
) -> SpeechCheckConfig | None:
    """The check that loses at most `tolerance` (token errors per reference token) of the speech.

    None where one of the two has no text at all, so that there is nothing to tell apart.
    """
    classes = [[s for one in many if one.tokens for s in one.regions] for many in (speech, sounds)]
    if not all(classes):
        return None
    check = _fit_weights(*classes)
    threshold = _threshold(speech, check, tolerance)
    return check.model_copy(update={"bias": round(check.bias - threshold, 4)})


def errors_with(heard: Sequence[Heard], check: SpeechCheckConfig | None) -> int:
    """Token errors of all recordings under a check, or without one."""
    if check is None:
        return sum(one.errors() for one in heard)
    return sum(one.errors([s for s in one.regions if speech_score(s, check) < 0]) for one in heard)


def _fit_weights(
    speech: Sequence[SpeechRegion], other: Sequence[SpeechRegion]
) -> SpeechCheckConfig:
    every = np.array([one.statistics for one in (*speech, *other)])
    sign = np.repeat([1.0, -1.0], [len(speech), len(other)])
    weight = np.array([one.keyframes for one in (*speech, *other)], dtype=np.float64)
    for which in (sign > 0, sign < 0):
        weight[which] /= 2 * weight[which].sum()
    centre, scale = every.mean(axis=0), every.std(axis=0) + 1e-6
    scaled = (every - centre) / scale

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        odds = parameters[0] + scaled @ parameters[1:]
        ridge = RIDGE * (parameters[1:] ** 2).sum()
        return float((weight * np.logaddexp(0.0, -sign * odds)).sum() + ridge)

    found = minimize(loss, np.zeros(1 + scaled.shape[1])).x
    weights = found[1:] / scale
    doubt, agreement, hesitation = (round(float(one), 4) for one in weights)
    bias = float(found[0] - centre @ weights)
    return SpeechCheckConfig(bias=bias, doubt=doubt, agreement=agreement, hesitation=hesitation)


def _threshold(speech: Sequence[Heard], check: SpeechCheckConfig, tolerance: float) -> float:
    """The score below which regions of speech can be refused, least likely ones first."""
    ranked = sorted(
        (speech_score(region, check), row, place)
        for row, one in enumerate(speech)
        for place, region in enumerate(one.regions)
    )
    allowed = tolerance * sum(len(one.target) for one in speech)
    refused: dict[int, list[SpeechRegion]] = {}
    grown, last = 0, ranked[0][0] - 1.0
    for score, row, place in ranked:
        one, before = speech[row], refused.get(row, [])
        after = [*before, one.regions[place]]
        grown += one.errors(after) - one.errors(before)
        if grown > allowed:
            return (last + score) / 2
        refused[row], last = after, score
    return last
