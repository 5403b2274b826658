"""Once, a recording of a few frames ended a training: lhotse's SpecAugment divides the frames that
may be masked among the masks, and draws from an empty range if each gets less than one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keyframe_asr.config.recipe import AugmentConfig
from keyframe_asr.data.augment import FeatureMasking


@pytest.mark.parametrize("frames", range(12))
def test_few_frames_can_be_masked(frames: int) -> None:
    masking = FeatureMasking(AugmentConfig(spec_augment=1.0))
    generator = np.random.default_rng(frames)
    for _ in range(20):
        assert masking(torch.randn(frames, 16), generator).shape == (frames, 16)
