"""How often an update of the weights makes the host wait for the device."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fixtures.pretended_device import DEVICE, ElsewhereTensor, counted, elsewhere
from fixtures.tiny_pretrained import WHISPER, pretrained_config
from fixtures.tone_corpus import ALL_FRAMES, KEYFRAMES, MEL_BINS, MODEL, stage
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.config.training import TrainingConfig
from keyframe_asr.data.dataset import Batch
from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training import step
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.step import UPDATES_PER_READING, Updater

VOCABULARY = 9


def batch(features: int, last: bool = True) -> Batch:
    torch.manual_seed(4)
    return Batch(
        ("one", "two"),
        torch.randn(2, 64, features),
        torch.tensor([64, 40]),
        torch.tensor([[3, 4, 4], [5, 0, 0]]),
        torch.tensor([3, 1]),
        1.04,
        fraction=0.5,
        last=last,
    )


def plain_descent(network: nn.Module, decay: float) -> torch.optim.Optimizer:
    """AdamW runs in one kernel on a GPU, which is not there."""
    trained = [one for one in network.parameters() if one.requires_grad]
    return torch.optim.SGD(trained, lr=0.1, foreach=False)


def waits(
    config: ModelConfig,
    described: dict[str, Any],
    updates: int,
    monkeypatch: pytest.MonkeyPatch,
    batches: int = 1,
) -> Counter[str]:
    """What makes the host wait in so many updates of some batches each."""
    monkeypatch.setattr(step, "optimiser", plain_descent)
    monkeypatch.setattr(Processes, "device", DEVICE)
    torch.manual_seed(3)
    network = KeyframeNetwork(copy.deepcopy(config), MEL_BINS, VOCABULARY)
    one = parse_config(StageConfig, described, "stage")
    objective = StageObjective(network, one).train()
    if config.encoder.streaming is not None:
        objective.chunking = lambda names, lengths: Chunks.of([(8, 1), None])
    if config.pretrained is not None:
        objective.masking = lambda outputs, name: 0.5 * outputs
    processes = Processes()
    processes.accelerator.device_placement = False
    features = MEL_BINS if network.pretrained is None else 80
    with counted() as found:
        elsewhere(network)
        updater = Updater(processes, objective, one, TrainingConfig(), 100)
        found.clear()
        for number in range(updates):
            given = [batch(features, last=place == batches - 1) for place in range(batches)]
            updater.update([each.to(DEVICE) for each in given], number + 1)
    return found


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({"losses": ALL_FRAMES}, 0),
        ({"losses": ALL_FRAMES, "fusion": True}, 0),
        ({"losses": KEYFRAMES, "fusion": True, "keyframes": True}, 1),
        ({"losses": KEYFRAMES | {"head_loss": "til"}, "keyframes": True}, 1),
    ],
    ids=["baseline", "fusion", "axe", "til"],
)
def test_an_update_waits_for_the_number_of_keyframes_and_for_nothing_else(
    changes: dict[str, Any], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config(ModelConfig, MODEL, "model")
    found = waits(config, stage("one", **changes), 1, monkeypatch)
    assert found.total() == most, found
    assert all("model/keyframes.py" in line for line in found)


def test_losses_and_checks_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config(ModelConfig, MODEL, "model")
    monkeypatch.setattr(step, "UPDATES_PER_READING", 3)
    found = waits(config, stage("one", losses=ALL_FRAMES), 7, monkeypatch, batches=2)
    assert found.total() == 2, found
    assert all("training/batch_results.py" in line for line in found)
    assert UPDATES_PER_READING >= 20


def test_streaming_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = MODEL["encoder"] | {"streaming": {"largest_chunk": 8}}
    config = parse_config(ModelConfig, MODEL | {"encoder": encoder}, "model")
    keyframes = {"losses": KEYFRAMES, "fusion": True, "keyframes": True}
    found = waits(config, stage("one", **keyframes), 1, monkeypatch)
    assert found.total() == 1, found


def test_a_pretrained_encoder_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse_config(ModelConfig, MODEL, "model")
    config = config.model_copy(update={"pretrained": pretrained_config(WHISPER)})
    trained = {"losses": KEYFRAMES, "keyframes": True, "unfreeze_from_layer": 2}
    found = waits(config, stage("one", **trained), 1, monkeypatch)
    assert found.total() == 1, found
    all_frames = {"losses": ALL_FRAMES, "unfreeze_from_layer": 2}
    found = waits(config, stage("one", **all_frames), 1, monkeypatch)
    assert found.total() == 0, found


@pytest.mark.parametrize(
    ("waiting", "operation"),
    [
        (True, lambda one: float(one.sum())),
        (True, lambda one: one.tolist()),
        (True, lambda one: one[one > 0]),
        (True, lambda one: one.nonzero()),
        (True, lambda one: bool((one > 9).any())),
        (True, lambda one: one.cpu()),
        (True, lambda one: torch.ones(3).to(one.device)),
        (False, lambda one: torch.ones(3).to(one.device, non_blocking=True)),
        (False, lambda one: one.masked_fill(one > 0, 1.0) + torch.arange(3, device=one.device)),
        (False, lambda one: one[torch.zeros(2, dtype=torch.long, device=one.device)]),
    ],
)
def test_what_waits_is_counted(waiting: bool, operation: Callable[[torch.Tensor], object]) -> None:
    with counted() as found:
        operation(ElsewhereTensor(torch.randn(3)))
    assert found.total() == waiting
