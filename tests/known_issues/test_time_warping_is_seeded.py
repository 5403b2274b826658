"""Once, a run whose recipe warps time could not be repeated: lhotse's time warping draws from
numpy's generator, and only those of Python and torch were seeded."""

from __future__ import annotations

import numpy as np
import torch

from keyframe_asr.config.recipe import AugmentConfig
from keyframe_asr.data.augment import FeatureMasking


def test_same_seed_same_warping_whatever_was_drawn_before() -> None:
    masking = FeatureMasking(AugmentConfig(spec_augment=1.0, time_warp_frames=20))
    features = torch.randn(300, 16)
    drawn = []
    for before in range(8):
        np.random.seed(before)
        drawn.append(masking(features, np.random.default_rng(5)))
    assert all(torch.equal(one, drawn[0]) for one in drawn)
    assert not torch.equal(drawn[0], features)
