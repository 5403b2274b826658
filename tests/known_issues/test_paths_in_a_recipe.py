"""Once, paths in a recipe were relative to the working folder: `--plan` of a shipped recipe failed
everywhere else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from fixtures.command_line import keyframe
from fixtures.tone_corpus import recipe_data, small_corpus, stage
from keyframe_asr.config.recipe import Recipe, load_recipe, with_absolute_paths
from keyframe_asr.config.recipe_paths import PATH_KEYS
from keyframe_asr.config.strict import models_in
from keyframe_asr.training.run import train

NO_PATHS = {
    "model.decoder.language",
    "model.decoder.languages",
    "name",
    "language",
    "stages.*.name",
    "stages.*.start_from",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """`recipes/tones.yaml` and, beside its folder, `data`."""
    folder = tmp_path / "project"
    small_corpus(folder / "data" / "tones")
    data = recipe_data(Path("../data/tones/corpus.tsv"), [stage("only", 1)])
    (folder / "recipes").mkdir()
    (folder / "recipes" / "tones.yaml").write_text(yaml.safe_dump(data))
    return folder


def manifests(recipe: Recipe) -> list[Path]:
    return [
        Path(name.removesuffix(":train").removesuffix(":dev"))
        for name in (recipe.data.train, recipe.data.dev)
    ]


def test_a_plan_from_any_folder(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder, recipe in (
        (project, "recipes/tones.yaml"),
        (project / "recipes", "tones.yaml"),
        (elsewhere, project / "recipes" / "tones.yaml"),
    ):
        done = keyframe("train", recipe, "--plan", folder=folder)
        assert (done.exit_code, done.stderr) == (0, ""), done
        assert "only" in done.stdout


def test_paths_stay_short(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert load_recipe("recipes/tones.yaml").data.train == "data/tones/corpus.tsv:train"


def test_a_path_through_a_link_is_the_linked_file(project: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(project / "recipes")
    for found in manifests(load_recipe(link / "tones.yaml")):
        assert found.samefile(project / "data" / "tones" / "corpus.tsv")


def test_overrides_are_relative_to_the_working_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "data")
    recipe = load_recipe("../recipes/tones.yaml", ["data.dev=tones/corpus.tsv:dev"])
    assert recipe.data.dev == "tones/corpus.tsv:dev"
    assert all(path.is_file() for path in manifests(recipe))


def test_a_recipe_for_the_working_folder_still_works(project: Path) -> None:
    path = project / "recipes" / "tones.yaml"
    path.write_text(path.read_text().replace("../data", "data"))
    done = keyframe("train", path, "--plan", folder=project)
    assert done.exit_code == 0, done
    (note,) = done.stderr.splitlines()
    assert str(path) in note
    assert "data.train" in note
    assert "data.dev" in note


def test_beside_the_recipe_comes_first(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(project / "data", project / "recipes" / "data")
    path = project / "recipes" / "tones.yaml"
    path.write_text(path.read_text().replace("../data", "data"))
    monkeypatch.chdir(project)
    assert manifests(load_recipe(path))[0].is_relative_to(project / "recipes")


def test_the_recipe_of_a_run_holds_anywhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    train("recipes/tones.yaml", "run", quiet=True)
    monkeypatch.chdir(tmp_path)
    stored = load_recipe(project / "run" / "recipe.yaml")
    assert all(path.is_file() for path in manifests(stored))
    done = train(project / "run" / "recipe.yaml", project / "run", resume=True, quiet=True)
    assert done.validations == {}
    data: dict[str, Any] = yaml.safe_load((project / "run" / "recipe.yaml").read_text())
    assert Path(data["data"]["train"]).is_absolute()


def test_names_of_encoders_are_no_paths(tmp_path: Path) -> None:
    data = recipe_data(tmp_path / "corpus.tsv", [stage("only", 1)])
    for source, expected in (
        ("openai/whisper-base", "openai/whisper-base"),
        ("english", "english"),
        ("../models/whisper", str(tmp_path.parent / "models" / "whisper")),
    ):
        data["model"] = data["model"] | {"pretrained": {"family": "whisper", "source": source}}
        (tmp_path / "recipe.yaml").write_text(json.dumps(data))
        recipe = load_recipe(tmp_path / "recipe.yaml")
        assert recipe.model.pretrained is not None
        assert recipe.model.pretrained.source == expected
        assert with_absolute_paths(recipe).model.pretrained == recipe.model.pretrained


def test_every_key_with_a_path_is_known() -> None:
    """A new key that holds any text is either a path or listed here as none."""
    assert set(PATH_KEYS) | NO_PATHS == set(keys_with_text(Recipe))


def keys_with_text(kind: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        if name == "text_form":  # a name, or the rules of a form
            continue
        annotation = str(field.annotation)
        several = annotation.startswith("list[")
        nested = list(models_in(field.annotation))
        for model in nested:
            yield from keys_with_text(model, f"{before}{name}." + ("*." if several else ""))
        if not nested and ("str" in annotation.replace("dict[str", "")):
            yield before + name


def test_a_path_that_is_replaced_is_not_looked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    shutil.move("recipes/tones.yaml", "recipes/deeper.yaml")
    Path("recipes/deeper.yaml").write_text(
        Path("recipes/deeper.yaml").read_text().replace("../data", "data")
    )
    load_recipe("recipes/deeper.yaml")
    assert "data.train" in capsys.readouterr().err
    given = [f"data.{key}=data/tones/corpus.tsv:{key}" for key in ("train", "dev", "test")]
    load_recipe("recipes/deeper.yaml", given)
    assert capsys.readouterr().err == ""
