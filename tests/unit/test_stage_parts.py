"""A stage trains exactly the weights that its losses depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fixtures.tiny_pretrained import (
    STABLE_WAV2VEC2,
    WAV2VEC2,
    WHISPER,
    WHOLE_WHISPER,
    pretrained_config,
)
from fixtures.tone_corpus import MEL_BINS, MODEL, stage
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.dataset import Batch
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training import objective
from keyframe_asr.training.objective import StageObjective, apply_stage
from keyframe_asr.training.teacher import FullFrameTeacher

ALL = {"inter_ctc": 0.3, "head": 0.3, "decoder": 0.4}
NO_DECODER = ALL | {"decoder": 0.0}
ALONE = {"inter_ctc": 0.0, "head": 0.0, "head_loss": "none", "decoder": 1.0}
OWN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"losses": losses | {"head_loss": kind}, "keyframes": keyframes, "fusion": fusion})
    for losses in (
        ALL,
        NO_DECODER,
        ALL | {"head": 0.0},
        ALL | {"inter_ctc": 0.0},
        NO_DECODER | {"head": 0.0},
    )
    for kind, keyframes, fusion in (
        ("ctc", False, False),
        ("none", False, True),
        ("axe", True, True),
        ("til", True, False),
    )
] + [
    ({"encoder": MODEL["encoder"] | {"self_conditioning": True}}, {"losses": losses, **changes})  # type: ignore[operator]
    for losses in (ALL | {"inter_ctc": 0.0}, NO_DECODER | {"head": 0.0})
    for changes in ({"keyframes": True, "fusion": True},)
]


def pretrained(architecture: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"pretrained": pretrained_config(architecture, **changes).model_dump()}


def decoder(memory: str) -> dict[str, Any]:
    return {
        "decoder": {
            "kind": "pretrained",
            "source": "tiny",
            "memory": memory,
            "language": "en",
            "architecture": WHOLE_WHISPER,
        }
    }


KEYFRAMES = {"keyframes": True, "fusion": True}
ON_ENCODERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        pretrained(architecture, **encoder),
        {"losses": losses, "unfreeze_from_layer": layer} | KEYFRAMES,
    )
    for architecture, encoder in (
        (WHISPER, {}),
        (WHISPER, {"layers": [0, 2]}),
        (WHISPER, {"keyframe_layer": 2}),
        (WAV2VEC2, {}),
        (STABLE_WAV2VEC2, {"keyframe_layer": 1}),
    )
    for layer in (None, 0, 2)
    for losses in (ALL, {"inter_ctc": 1.0, "head": 0.0, "decoder": 0.0})
] + [
    (
        pretrained(WHISPER, keyframe_layer=2) | {"decoder": None},
        {"losses": {"inter_ctc": 0.3, "head": 0.0, "decoder": 0.0, "teacher": 1.0}}
        | KEYFRAMES
        | {"unfreeze_from_layer": 3},
    )
]
WITH_WHISPERS_DECODER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        pretrained(WHISPER, keyframe_layer=layer) | decoder(memory),
        {
            "losses": losses,
            "unfreeze_from_layer": 3 if losses is not ALONE else None,
            "pretrained_decoder": {"parts": "layers", "from_layer": 2},
        }
        | KEYFRAMES,
    )
    for memory in ("fused", "neighbours", "encoder2")
    for layer in (None, 2)
    for losses in (ALL, ALONE, NO_DECODER, ALL | {"head": 0.0})
    if not (memory == "neighbours" and layer)
]


def network_of(model: dict[str, Any]) -> KeyframeNetwork:
    torch.manual_seed(3)
    on_encoder = model.get("pretrained") is not None
    return KeyframeNetwork(
        parse_config(ModelConfig, MODEL | model, "model"), 80 if on_encoder else MEL_BINS, 9
    )


def with_gradients(one: StageObjective) -> set[str]:
    network = one.network
    torch.manual_seed(4)
    sound = torch.randn(2, 80, MEL_BINS)
    lengths = torch.tensor([80, 50])
    if network.pretrained is not None:
        whisper = network.config.pretrained is not None and network.config.pretrained.family
        shape = (2, 160, 80) if whisper == "whisper" else (2, 16_000, 1)
        sound, lengths = torch.randn(shape), torch.tensor([shape[1], shape[1] // 2])
    tokens = torch.tensor([[3, 4, 5], [4, 0, 0]])
    written = None
    if network.pretrained_decoder is not None:
        text = [[257, 258, 5, 6], [-1, 5, 6, 256]]
        written = torch.tensor([text, text])
    given = Batch(
        ("a", "b"), sound, lengths, tokens, torch.tensor([3, 1]), 1.0, decoder_tokens=written
    )
    total, _, _ = one(given)
    total.backward()
    return {name for name, one in network.named_parameters() if one.grad is not None}


@pytest.mark.parametrize(
    ("model", "changes"), [*OWN, *ON_ENCODERS, *WITH_WHISPERS_DECODER], ids=lambda one: ""
)
def test_every_trained_weight_gets_a_gradient(
    model: dict[str, Any], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other weight would get one, if it were not frozen."""
    network = network_of(model)
    one = parse_config(StageConfig, stage("one", **changes), "stage")
    teacher = None
    if one.losses.teacher:
        whole = network_of(pretrained(WHISPER) | {"decoder": None})
        assert whole.pretrained is not None and network.pretrained is not None
        whole.pretrained.load_state_dict(network.pretrained.state_dict())
        teacher = FullFrameTeacher(whole, 2, 4)
    StageObjective(network, one, teacher)
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    monkeypatch.setattr(objective, "freeze_unused", lambda *_: None)
    assert with_gradients(StageObjective(network, one, teacher).train()) == trained
    assert trained


def test_a_later_stage_trains_what_an_earlier_one_froze() -> None:
    network = network_of({})
    for losses, frozen in ((NO_DECODER, True), (ALL, False)):
        one = stage("one", losses=losses | {"head_loss": "ctc"})
        apply_stage(network, parse_config(StageConfig, one, "stage"))
        assert network.decoder is not None
        assert {not weight.requires_grad for weight in network.decoder.parameters()} == {frozen}
