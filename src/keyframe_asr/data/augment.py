"""Augmentation of training data: speed perturbation of cuts and SpecAugment of features."""

from __future__ import annotations

import random

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import SpecAugment
from torch import Tensor

from keyframe_asr.config import AugmentConfig


def perturb_speeds(cuts: CutSet, speeds: list[float], seed: int) -> CutSet:
    """Each cut at a speed drawn from `speeds`; the same for the same seed."""
    draw = random.Random(seed)
    return CutSet.from_cuts(at_speed(cut, draw.choice(speeds)) for cut in cuts)


def at_speed(cut: Cut, speed: float) -> Cut:
    """The cut played so much faster."""
    return cut if speed == 1.0 else cut.perturb_speed(speed)


class FeatureMasking:
    """SpecAugment (arXiv 1904.08779) on one utterance at a time, so that padding has no part."""

    def __init__(self, config: AugmentConfig) -> None:
        # lhotse divides the frames that may be masked among the masks and fails at less than one.
        self._shortest = config.time_masks / config.time_mask_share
        self._transform = SpecAugment(
            time_warp_factor=config.time_warp_frames,
            num_feature_masks=config.frequency_masks,
            features_mask_size=config.frequency_mask_bins,
            num_frame_masks=config.time_masks,
            frames_mask_size=config.time_mask_frames,
            max_frames_mask_fraction=config.time_mask_share,
            p=config.spec_augment,
        )

    def __call__(self, features: Tensor) -> Tensor:
        """Features (T, F) to a masked copy; too short ones stay as they are."""
        if features.size(0) < self._shortest:
            return features
        masked: Tensor = self._transform(features.unsqueeze(0))
        return masked.squeeze(0)


def seed_augmentation(seed: int) -> None:
    """Seed the generators that SpecAugment draws from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
