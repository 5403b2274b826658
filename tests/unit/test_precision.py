"""A CPU without arithmetic for bfloat16 trains in float32, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fixtures.tone_corpus import recipe_data, small_corpus, stage
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.training import precision
from keyframe_asr.training.precision import autocast_type
from keyframe_asr.training.run import train


@pytest.mark.parametrize("computes", [False, True])
def test_bfloat16_needs_a_cpu_that_has_it(computes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_computes_bfloat16", lambda: computes)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert autocast_type("bfloat16", cpu) is (torch.bfloat16 if computes else None)
    assert autocast_type("bfloat16", gpu) is torch.bfloat16
    assert autocast_type("float16", cpu) is torch.float16
    assert autocast_type("float32", cpu) is None


def test_this_cpu_is_known() -> None:
    assert precision.cpu_computes_bfloat16() in (False, True)


def test_training_says_that_it_takes_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precision, "cpu_computes_bfloat16", lambda: False)
    data = recipe_data(small_corpus(tmp_path / "corpus"), [stage("baseline", 1)])
    data["training"] = data.get("training", {}) | {"precision": "bfloat16"}
    train(parse_config(Recipe, data, "tones"), tmp_path / "run")
    told = capsys.readouterr().err
    assert "bfloat16" in told and "float32" in told
