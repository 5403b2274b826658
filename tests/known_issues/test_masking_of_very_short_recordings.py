"""Once, a recording of a few frames ended a training: lhotse's SpecAugment divides the frames that
may be masked among the masks, and draws from an empty range if each gets less than one."""

from __future__ import annotations

import pytest
import torch

from keyframe_asr.config import AugmentConfig
from keyframe_asr.data.augment import FeatureMasking, seed_augmentation


@pytest.mark.parametrize("frames", range(12))
def test_few_frames_can_be_masked(frames: int) -> None:
    masking = FeatureMasking(AugmentConfig(spec_augment=1.0))
    seed_augmentation(frames)
    for _ in range(20):
        assert masking(torch.randn(frames, 16)).shape == (frames, 16)
