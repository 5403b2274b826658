"""Optimiser and learning-rate schedule of a stage."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from keyframe_asr.config.recipe import StageConfig

PRETRAINED = ".pretrained."
"""Part of the names of a pretrained encoder's weights."""


UPDATES_AT_FULL_RATE = 500
"""Updates before an `inverse_sqrt` decay begins in a stage without warm-up."""


def learning_rate(stage: StageConfig, step: int, total_steps: int) -> float:
    """Learning rate of update `step` (from 1): linear warm-up, then the stage's decay.

    `inverse_sqrt` is relative to the last update of the warm-up. A stage without one has no such
    reference: relative to its first update, it would have a hundredth of its rate after 10,000.
    Its rate stays full for `UPDATES_AT_FULL_RATE` updates and decays relative to the last of them.
    """
    warmup = max(stage.warmup_steps, 1)
    if step < warmup:
        return stage.learning_rate * step / warmup
    if stage.decay == "constant":
        return stage.learning_rate
    if stage.decay == "inverse_sqrt":
        reference = stage.warmup_steps or UPDATES_AT_FULL_RATE
        return stage.learning_rate * math.sqrt(reference / max(step, reference))
    done = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    span = stage.learning_rate - stage.final_learning_rate
    return stage.final_learning_rate + span * (1 + math.cos(math.pi * done)) / 2


def optimiser(network: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Build AdamW without weight decay for norms, biases and other vectors.

    Parameter groups of a pretrained encoder are marked `pretrained`; they have another learning
    rate.
    """
    groups: list[dict[str, Any]] = []
    for pretrained in (False, True):
        trained = [
            weight
            for name, weight in network.named_parameters()
            if weight.requires_grad and (PRETRAINED in f".{name}") == pretrained
        ]
        if pretrained and not trained:
            continue
        decayed = [weight for weight in trained if weight.dim() > 1]
        plain = [weight for weight in trained if weight.dim() <= 1]
        for weights, decay in ((decayed, weight_decay), (plain, 0.0)):
            groups.append({"params": weights, "weight_decay": decay, "pretrained": pretrained})
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)
