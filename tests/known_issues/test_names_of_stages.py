"""Once, a stage could be named like a path or like another file of the run: `../evil` was written
beside the run, `state.pt` failed after an epoch, and a null byte ended in a traceback."""

from __future__ import annotations

import pytest

from fixtures.errors import refused
from fixtures.tone_corpus import stage
from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import RecipeError


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../evil", "a/b", "a\\b", ".lock", "state.pt", "tensorboard", " a", "a\n"],
)
def test_refused(name: str) -> None:
    with refused(RecipeError, "'name'"):
        parse_config(StageConfig, stage(name), "recipe.yaml")


def test_a_null_byte() -> None:
    with refused(RecipeError, "'name'"):
        parse_config(StageConfig, stage("a\0b"), "recipe.yaml")


@pytest.mark.parametrize(
    "name", ["keyframes", "baseline-longer", "axe_2", "1.5", "two words", "упражнение", "चरण"]
)
def test_accepted(name: str) -> None:
    assert parse_config(StageConfig, stage(name), "recipe.yaml").name == name
