"""What a model folder knows of its own certainty: both measured on speech it was not trained on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from keyframe_asr.config.strict import Strict


class ConfidenceConfig(Strict):
    """Log-odds of confidences are divided by `temperature`, and `offset` is added."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    offset: float = 0.0


Confidences = dict[Literal["axe", "ctc", "attention", "rescore", "joint"], ConfidenceConfig]
"""By decode mode; a mode that is not named has never been calibrated."""


class SpeechCheckConfig(Strict):
    """A stretch of sound is speech where `bias` and the weighted statistics do not fall below 0.

    The statistics are those of `keyframe_asr.inference.speech_check`.
    """

    bias: float
    doubt: float
    agreement: float
    hesitation: float
