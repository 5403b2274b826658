"""Optimiser and learning-rate schedule of a stage."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.model.whisper_decoder import WhisperDecoder

PRETRAINED = ".pretrained."
"""Part of the names of a pretrained encoder's weights."""

MEMORY = ".decoder_memory."
"""Part of the names of the weights of a pretrained decoder's memory."""

_ORDER = ("network", "pretrained", "decoder", "memory")


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

    Parameter groups are marked with the `part` of the network that has a learning rate of its own
    (`peak_of`).
    """
    decoder = next((one for one in network.modules() if isinstance(one, WhisperDecoder)), None)
    of_decoder = set() if decoder is None else {id(one) for one in decoder.parameters()}
    parts: dict[str, list[nn.Parameter]] = {"network": []}
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            continue
        part = "network"
        if PRETRAINED in f".{name}":
            part = "pretrained"
        elif id(weight) in of_decoder:
            part = "decoder"
        elif MEMORY in f".{name}":
            part = "memory"
        parts.setdefault(part, []).append(weight)
    groups: list[dict[str, Any]] = []
    for part, trained in sorted(parts.items(), key=lambda one: _ORDER.index(one[0])):
        decayed = [weight for weight in trained if weight.dim() > 1]
        plain = [weight for weight in trained if weight.dim() <= 1]
        for weights, decay in ((decayed, weight_decay), (plain, 0.0)):
            pretrained = part == "pretrained"
            groups.append(
                {"params": weights, "weight_decay": decay, "pretrained": pretrained, "part": part}
            )
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)


def without_unused(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """A stored state of an optimiser, without weights that a stage no longer trains.

    States stored before `stage_parts` list every weight of the network, those without a gradient
    only by number.
    """
    sizes = [len(group["params"]) for group in optimiser.param_groups]
    if sizes == [len(group["params"]) for group in state["param_groups"]]:
        return state
    if not state["state"]:  # before the first update there is nothing to restore
        return optimiser.state_dict()
    groups = [
        group | {"params": [number for number in group["params"] if number in state["state"]]}
        for group in state["param_groups"]
    ]
    return state | {"param_groups": groups}


def peak_of(group: dict[str, Any], stage: StageConfig) -> float:
    """Peak learning rate of a parameter group of `optimiser`.

    States stored before there were parts only say which groups are the pretrained encoder's.
    """
    part = group.get("part", "pretrained" if group.get("pretrained") else "network")
    rates = {
        "network": stage.learning_rate,
        "pretrained": stage.pretrained_learning_rate,
        "decoder": stage.pretrained_decoder.learning_rate,
        "memory": stage.pretrained_decoder.memory_learning_rate,
    }
    return rates[part]
