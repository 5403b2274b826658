"""What a step of a stream gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FeatureOutput:
    """What has become certain in a step.

    Attributes:
        inter_log_probs: (N, V) of the inter-CTC, at the next N encoder frames.
        keyframes: (K,) the next keyframes, as encoder frames from the start of the utterance; all
            frames if keyframes are off.
        head_log_probs: (K, V) of the length head at the keyframes; of the final CTC if keyframes
            are off.
    """

    inter_log_probs: Floats
    keyframes: Integers
    head_log_probs: Floats
