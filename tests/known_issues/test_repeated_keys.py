"""Once, the last of two equal keys in a recipe or a configuration won, without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.errors import refused
from fixtures.random_model import save_random_model
from fixtures.tone_corpus import recipe_data, stage
from keyframe_asr import load
from keyframe_asr.config.recipe import load_recipe
from keyframe_asr.data.statistics import STATISTICS_FILE, load_statistics
from keyframe_asr.errors import ManifestError, RecipeError

RECIPE = """\
name: twice
data: {train: train.tsv, dev: dev.tsv}
stages:
  - name: only
    epochs: 1
    losses: &losses {head_loss: ctc}
    epochs: 2
"""


def test_a_key_of_a_stage(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    with refused(RecipeError, path, "'epochs'", 5, 7):
        load_recipe(path)


def test_a_key_in_braces_in_quotes_and_in_json(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("    epochs: 2\n", "").replace("dev:", "'train':"))
    with refused(RecipeError, path, "'train'", 2):
        load_recipe(path)
    described = json.dumps(recipe_data(tmp_path, [stage("only")]))
    path.write_text(described.replace('"seed":', '"name": "other", "seed":'))
    with refused(RecipeError, path, "'name'", 1):
        load_recipe(path)


def test_a_key_that_replaces_a_merged_one_is_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    second = "  - {name: second, epochs: 3, losses: {<<: *losses, head: 0.5}}\n"
    path.write_text(RECIPE.replace("    epochs: 2\n", second))
    assert load_recipe(path).stages[1].losses.head == 0.5


def test_an_override(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("    epochs: 2\n", ""))
    with refused(RecipeError, "--set training=", "'threads'"):
        load_recipe(path, ["training={threads: 1, threads: 2}"])


def test_the_configuration_of_a_model(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    with (model / "config.yaml").open("a") as file:
        file.write("keyframes: false\n")
    with refused(RecipeError, model / "config.yaml", "'keyframes'"):
        load(model)


def test_statistics_in_json(tmp_path: Path) -> None:
    path = tmp_path / STATISTICS_FILE
    path.write_text('{"mean": [0], "inverse_std": [1], "mean": [2]}')
    with refused(ManifestError, path, "'mean'"):
        load_statistics(tmp_path)


@pytest.mark.parametrize("content", ["name: 2026-13-45", "[" * 5000, "a: &a [*a]"])
def test_other_yaml_that_cannot_be_constructed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with refused(RecipeError, path):
        load_recipe(path)
