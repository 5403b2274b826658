"""Fitting of the speech check, which classifies regions as speech or non-speech.

Logistic regression on the statistics of a region. Regions are weighted by their keyframes, and both
classes have equal weight. The bias is then lowered or raised so that the token errors on speech
increase by at most the tolerance.
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
"""L2 penalty, which keeps the weights finite if the classes are separable."""


@dataclass(frozen=True)
class RecognisedRecording:
    """The recognition result of one recording.

    Attributes:
        half: 0 or 1, the fold in cross-validation.
        seconds: duration.
        regions: of the whole recording.
        tokens: ids of the recognised text.
        frames: source frame of each token.
        target: ids of the reference; empty for non-speech.
    """

    half: int
    seconds: float
    regions: Sequence[SpeechRegion]
    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    target: tuple[int, ...]

    def kept(self, rejected: Sequence[SpeechRegion]) -> tuple[int, ...]:
        """Tokens outside the rejected regions."""
        return tuple(
            token
            for token, frame in zip(self.tokens, self.frames, strict=True)
            if not any(region.first <= frame < region.stop for region in rejected)
        )

    def errors(self, rejected: Sequence[SpeechRegion] = ()) -> int:
        """Token errors without the rejected regions; for non-speech, the hallucinated tokens."""
        return int(kaldialign.edit_distance(list(self.target), list(self.kept(rejected)))["total"])


def fit_speech_check(
    speech: Sequence[RecognisedRecording],
    sounds: Sequence[RecognisedRecording],
    tolerance: float,
) -> SpeechCheckConfig | None:
    """Fit a check that adds at most `tolerance` token errors per reference token on speech.

    Returns None if speech or non-speech has no recognised text.
    """
    classes = [
        [region for recording in recordings if recording.tokens for region in recording.regions]
        for recordings in (speech, sounds)
    ]
    if not all(classes):
        return None
    check = _fit_weights(*classes)
    threshold = _threshold(speech, check, tolerance)
    return check.model_copy(update={"bias": round(check.bias - threshold, 4)})


def loosened_speech_check(
    check: SpeechCheckConfig, speech: Sequence[RecognisedRecording], tolerance: float
) -> SpeechCheckConfig:
    """Make a check of another model less strict if it adds more errors than `tolerance` on speech.

    It is never made stricter, because that takes non-speech to tell what it would gain.
    """
    if not any(recording.regions for recording in speech):
        return check
    threshold = min(0.0, _threshold(speech, check, tolerance))
    return check.model_copy(update={"bias": round(check.bias - threshold, 4)})


def errors_with(recordings: Sequence[RecognisedRecording], check: SpeechCheckConfig | None) -> int:
    """Token errors of all recordings with a check, or without a check."""
    if check is None:
        return sum(recording.errors() for recording in recordings)
    return sum(
        recording.errors([r for r in recording.regions if speech_score(r, check) < 0])
        for recording in recordings
    )


def _fit_weights(
    speech: Sequence[SpeechRegion], other: Sequence[SpeechRegion]
) -> SpeechCheckConfig:
    every = np.array([region.statistics for region in (*speech, *other)])
    sign = np.repeat([1.0, -1.0], [len(speech), len(other)])
    weight = np.array([region.keyframes for region in (*speech, *other)], dtype=np.float64)
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
    doubt, agreement, hesitation = (round(float(value), 4) for value in weights)
    bias = float(found[0] - centre @ weights)
    return SpeechCheckConfig(bias=bias, doubt=doubt, agreement=agreement, hesitation=hesitation)


def _threshold(
    speech: Sequence[RecognisedRecording], check: SpeechCheckConfig, tolerance: float
) -> float:
    """The highest score at which rejecting all regions below it stays within the tolerance."""
    ranked = sorted(
        (speech_score(region, check), row, place)
        for row, recording in enumerate(speech)
        for place, region in enumerate(recording.regions)
    )
    allowed = tolerance * sum(len(recording.target) for recording in speech)
    rejected: dict[int, list[SpeechRegion]] = {}
    added, last = 0, ranked[0][0] - 1.0
    for score, row, place in ranked:
        recording, before = speech[row], rejected.get(row, [])
        after = [*before, recording.regions[place]]
        added += recording.errors(after) - recording.errors(before)
        if added > allowed:
            return (last + score) / 2
        rejected[row], last = after, score
    return last
