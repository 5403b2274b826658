"""The names of the decode modes, for the options of several verbs."""

from __future__ import annotations

from enum import StrEnum


class DecodeMode(StrEnum):
    """As in `keyframe_asr.inference.modes`, which cannot be imported without torch."""

    axe = "axe"
    ctc = "ctc"
    attention = "attention"
    rescore = "rescore"
    joint = "joint"
