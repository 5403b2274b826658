"""Calibration stored in a model folder: confidences and the speech check."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from keyframe_asr.config.strict import Strict


class ConfidenceConfig(Strict):
    """Scaling of confidences: log-odds are divided by `temperature`, then `offset` is added."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    offset: float = 0.0


Confidences = dict[Literal["axe", "ctc", "attention", "rescore", "joint"], ConfidenceConfig]
"""Scaling by decode mode; missing modes are not calibrated."""


class SpeechCheckConfig(Strict):
    """A region is speech if `bias` plus the weighted statistics is at least 0.

    The statistics are defined in `keyframe_asr.inference.speech_check`.
    """

    bias: float
    doubt: float
    agreement: float
    hesitation: float
