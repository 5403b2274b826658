"""Encoders and decoder as torch.compile sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import _dynamo, nn
from torch._dynamo.testing import CompileCounter
from torch._inductor import config

from fixtures.errors import refused
from fixtures.tone_corpus import KEYFRAMES, MODEL, recipe_data, small_corpus, stage
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import TrainingError
from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.keyframes import Keyframes
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.run import train

DIM = MODEL["encoder"]["dim"]


def parts(window: int | None) -> dict[str, nn.Module]:
    torch.manual_seed(1)
    encoder = MODEL["encoder"] | {"attention_window": window}
    described = parse_config(ModelConfig, MODEL | {"encoder": encoder}, "model")
    network = KeyframeNetwork(described, 20, 9)
    assert network.decoder is not None
    return {
        "encoder1": network.encoder1,
        "encoder2": network.encoder2,
        "decoder": network.decoder,
    }


def inputs(part: str, frames: int, chunks: Chunks | None = None) -> tuple[Any, ...]:
    lengths = torch.tensor([frames, frames - 3])
    heard = torch.randn(2, frames, DIM)
    if part == "decoder":
        tokens = torch.randint(3, 9, (2, frames // 4))
        return tokens, torch.tensor([frames // 4, 2]), heard, lengths
    return heard, lengths, Keyframes.all_frames(lengths, frames).index, chunks


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("part", ["encoder1", "encoder2", "decoder"])
def test_nothing_breaks_the_graph(part: str, window: int | None) -> None:
    _dynamo.reset()
    found = _dynamo.explain(parts(window)[part])(*inputs(part, 30))
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


def test_chunks_break_no_graph() -> None:
    _dynamo.reset()
    found = _dynamo.explain(parts(None)["encoder1"])(
        *inputs("encoder1", 30, Chunks.of([(8, 1), None]))
    )
    assert found.graph_break_count == 0, found.break_reasons


@pytest.mark.parametrize("part", ["encoder1", "encoder2", "decoder"])
def test_other_sizes_are_not_compiled_again(part: str) -> None:
    _dynamo.reset()
    counter = CompileCounter()
    module = parts(None)[part].eval()  # without dropout
    compiled = torch.compile(module, backend=counter, dynamic=True)
    for frames in (30, 41, 28, 64):
        given = inputs(part, frames)
        torch.testing.assert_close(compiled(*given), module(*given))
    assert counter.frame_count == 1


def test_there_is_no_compiler(tmp_path: Path) -> None:
    data = recipe_data(small_corpus(tmp_path / "corpus"), [stage("one", 1)])
    data["training"] = data.get("training", {}) | {"compile": True}
    absent = {"cpp.cxx": (None, "no-such-compiler")}
    with config.patch(absent), refused(TrainingError, "training.compile"):
        train(parse_config(Recipe, data, "tones"), tmp_path / "run", quiet=True)


def test_a_compiled_run_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiler that only traces: what the other makes of it depends on the machine."""
    compiled = []

    def traced(self: nn.Module, **options: Any) -> None:
        compiled.append(options)
        self._compiled_call_impl = torch.compile(self._call_impl, backend="eager", **options)

    monkeypatch.setattr(nn.Module, "compile", traced)
    table = small_corpus(tmp_path)
    stages = [stage("one", 1, losses=KEYFRAMES, keyframes=True, fusion=True)]
    losses = []
    for name in (False, True):
        _dynamo.reset()
        data = recipe_data(table, stages)
        data["training"] = data.get("training", {}) | {"compile": name}
        done = train(parse_config(Recipe, data, "tones"), tmp_path / str(name), quiet=True)
        losses.append(done.validations["one"].loss)
    assert compiled == [{"dynamic": True}] * 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
