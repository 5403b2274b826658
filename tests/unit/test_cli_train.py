"""`keyframe train` refuses a bad recipe in one line, before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import save_random_model
from fixtures.tone_corpus import recipe_data, small_corpus, stage
from keyframe_asr.errors import TrainingError
from keyframe_asr.training.run import train

RECIPE = """\
name: small
data: {train: no-such-train.tsv, dev: no-such-dev.tsv}
model:
  encoder: {layers: 4, keyframe_layer: 2, dim: 16, heads: 2}
  decoder: null
stages:
  - {name: baseline, epochs: 1, losses: {head_loss: ctc, decoder: 0.0}}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "parts"),
    [
        ("layers: 4", "leyers: 4", ("model.encoder.leyers", "did you mean 'layers'")),
        ("epochs: 1", "epochs: many", ("stages.0.epochs", "many")),
        ("keyframe_layer: 2", "keyframe_layer: 9", ("keyframe_layer (9)", "layers (4)")),
        ("decoder: 0.0", "decoder: 0.7", ("'baseline'", "model.decoder is null")),
        ("head_loss: ctc", "head_loss: axe", ("'baseline'", "without keyframes")),
        ("name: small", "name: [", ("not valid YAML",)),
    ],
)
def test_a_bad_recipe(tmp_path: Path, right: str, wrong: str, parts: tuple[str, ...]) -> None:
    recipe = tmp_path / "recipe.yaml"
    assert right in RECIPE
    recipe.write_text(RECIPE.replace(right, wrong))
    result = keyframe("train", recipe, "--out", tmp_path / "run")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"keyframe: error: {recipe}: ")
    assert all(part in line for part in parts), line
    assert not (tmp_path / "run").exists()


def test_a_bad_override(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    result = keyframe("train", recipe, "--out", tmp_path / "run", "--set", "training.acumulate=2")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "training.acumulate" in line and "'accumulate'" in line
    assert not (tmp_path / "run").exists()


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    result = keyframe("train", recipe, "--out", tmp_path / "run")
    assert "no-such-train.tsv: " in result.error


def test_a_plan_looks_at_what_training_would_start_from(tmp_path: Path) -> None:
    table = small_corpus(tmp_path / "corpus")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(recipe_data(table, [stage("baseline", 1)])))
    known = keyframe("train", recipe, "--plan", "--initial", save_random_model(tmp_path / "model"))
    assert known.exit_code == 0, known.stderr
    assert "model.safetensors" in "".join(known.stderr.split())
    unknown = keyframe("train", recipe, "--plan", "--initial", "nobody")
    assert "nobody: " in unknown.error


@pytest.mark.parametrize("plan", [["--plan"], []])
def test_parts_that_are_reinitialised(plan: list[str], tmp_path: Path) -> None:
    table = small_corpus(tmp_path / "corpus")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(recipe_data(table, [stage("baseline", 1)])))
    here = [recipe, *plan, "--out", tmp_path / "run"]
    model = save_random_model(tmp_path / "model")
    unknown = keyframe("train", *here, "--initial", model, "--reinitialise", "encoder3")
    assert unknown.exit_code == 1
    assert "'encoder3'" in unknown.stderr.splitlines()[-1]
    nothing = keyframe("train", *here, "--reinitialise", "encoder2")
    assert nothing.exit_code == 2
    assert "--initial" in nothing.stderr
    with refused(TrainingError, "reinitialise", "initial"):
        train(recipe, tmp_path / "run", reinitialise=["encoder2"])


def test_no_recipe_is_wrong_usage() -> None:
    assert keyframe("train").exit_code == 2
