"""Losses on log-probabilities and logits, usable with any model."""

from keyframe_asr.losses.axe import AxeAlignment, axe_align, axe_loss
from keyframe_asr.losses.combine import LossParts
from keyframe_asr.losses.cross_entropy import label_smoothed_cross_entropy
from keyframe_asr.losses.ctc import ctc_loss
from keyframe_asr.losses.distillation import distilled_cross_entropy
from keyframe_asr.losses.til import til_loss

__all__ = [
    "AxeAlignment",
    "LossParts",
    "axe_align",
    "axe_loss",
    "ctc_loss",
    "distilled_cross_entropy",
    "label_smoothed_cross_entropy",
    "til_loss",
]
