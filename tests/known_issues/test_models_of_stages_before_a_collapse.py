"""Once, model folders were written after the last stage only: a keyframe stage that collapsed left
its finished predecessors without any."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import keyframe_asr
from fixtures.errors import refused
from fixtures.tone_corpus import small_corpus, stage, tone_recipe, tones
from keyframe_asr.errors import TrainingError
from keyframe_asr.training.run import train

COLLAPSED = {"keyframes": True, "collapse": {"error": 1e-9, "evaluations": 1}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


def stages() -> list[dict[str, Any]]:
    return [stage("first", 1), stage("collapsing", 3, **COLLAPSED)]


def test_they_can_be_used(corpus: Path, tmp_path: Path) -> None:
    with refused(TrainingError, "'collapsing'"):
        train(tone_recipe(corpus, stages()), tmp_path, quiet=True)
    recognizer = keyframe_asr.load(tmp_path / "first" / "model")
    assert recognizer.transcribe(tones("AB"), "ctc").duration > 0
    assert not (tmp_path / "collapsing" / "model").exists()


def test_a_run_that_lacks_them_gets_them_on_resuming(corpus: Path, tmp_path: Path) -> None:
    train(tone_recipe(corpus, stages()[:1]), tmp_path, quiet=True)
    model = tmp_path / "first" / "model"
    weights = (model / "model.safetensors").read_bytes()
    shutil.rmtree(model)
    train(
        tone_recipe(corpus, [*stages()[:1], stage("second", 1)]), tmp_path, resume=True, quiet=True
    )
    assert (model / "model.safetensors").read_bytes() == weights
