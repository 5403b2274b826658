"""Once, `--device mps` ended in a traceback where torch was not built for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import random_model, save_random_model
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.torch_network import TorchNetwork

ABSENT = ["meta", "cuda:99", "cuda:-1", "rubbish", "cpu:x", "hpu", "vulkan"]
ABSENT += [] if torch.backends.mps.is_available() else ["mps"]
ABSENT += [] if torch.xpu.is_available() else ["xpu"]


@pytest.mark.parametrize("device", ABSENT)
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with refused(ModelError, f"'{device}'"):
        Recognizer(random_model(), device)


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    assert "'meta'" in keyframe("transcribe", model, __file__, "--device", "meta").error


def test_a_device_that_is_there_is_used() -> None:
    for device in (None, "cpu", "cpu:0"):
        network = Recognizer(random_model(), device).network
        assert isinstance(network, TorchNetwork) and network.device.type in ("cpu", "cuda")
