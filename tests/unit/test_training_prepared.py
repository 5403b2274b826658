"""Training on a prepared corpus: what is taken from it, and what a recipe may not contradict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fixtures.errors import refused
from fixtures.tone_corpus import MODEL, random_texts, stage, write_corpus
from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.corpora import tables
from keyframe_asr.data.corpora.preparation import prepare_corpus
from keyframe_asr.data.corpora.preparation_options import PreparationOptions
from keyframe_asr.errors import KeyframeError, ManifestError, RecipeError, TrainingError
from keyframe_asr.evaluation.scoring import Scoring
from keyframe_asr.inference.recognizer import load
from keyframe_asr.training.run import train
from keyframe_asr.training.run_recipe import complete_recipe


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of tones whose transcripts keep their digits."""
    folder = tmp_path_factory.mktemp("tones")
    texts = {"train": random_texts(8, 1), "dev": random_texts(3, 2), "test": random_texts(3, 3)}
    table = write_corpus(folder, texts)
    content = table.read_text().replace("\tA", "\tA 1")
    table.write_text(content)
    options = PreparationOptions("characters", digits="keep")
    prepare_corpus(tables.read_table(table, "en"), folder / "out", options)
    return folder / "out"


def data_of(prepared: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "tones",
        "data": {"prepared": str(prepared)},
        "model": MODEL,
        "training": {"batch_seconds": 4.0, "threads": 1},
        "stages": [stage("one", 1, keyframes=True, fusion=True)],
    } | changes


def recipe_of(prepared: Path, **changes: Any) -> Recipe:
    return parse_config(Recipe, data_of(prepared, **changes), "tones")


def failure(recipe: Recipe, folder: Path, kind: type[KeyframeError] = RecipeError) -> str:
    with pytest.raises(kind) as error:
        train(recipe, folder, quiet=True)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_prepared_stands_for_its_manifests(prepared: Path) -> None:
    data = recipe_of(Path("data/some/")).data
    assert (data.train, data.dev, data.test) == (
        "data/some/train.jsonl.gz",
        "data/some/dev.jsonl.gz",
        "data/some/test.jsonl.gz",
    )
    changed = recipe_of(prepared, data={"prepared": "data/some", "dev": "mine.tsv:dev"}).data
    assert (changed.train, changed.dev) == ("data/some/train.jsonl.gz", "mine.tsv:dev")


def test_what_a_recipe_leaves_open(prepared: Path) -> None:
    recipe = recipe_of(prepared)
    assert recipe.text_form is None
    found = complete_recipe(recipe)
    assert (found.language, found.form.name) == ("en", "english-digits")
    assert found.tokenizer.kind == "characters"
    spelled_out = parse_config(Recipe, found.model_dump(), "tones")
    assert complete_recipe(spelled_out) == found


def test_a_whole_run_and_its_evaluation(prepared: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = train(recipe_of(prepared), run, quiet=True).model
    for name in ("cmvn.json", "tokenizer.txt"):
        kept, given = run / name, prepared / name
        assert kept.read_text().strip() == given.read_text().strip()
    config = load_model_folder_config(model / "config.yaml")
    assert (config.language, config.text_form.name) == ("en", "english-digits")
    assert "`out`" in (model / "README.md").read_text()

    stored = load_recipe(run / "recipe.yaml")
    assert stored.form.name == "english-digits"
    assert stored.data.prepared == str(prepared)
    train(stored, run, resume=True, quiet=True)

    recognizer = load(str(model))
    scoring = Scoring(recognizer, recognizer.modes[:1])
    report = scoring.run(str(prepared / "test.jsonl.gz"))
    assert "0-9" in report["normalisation"]
    assert any("1" in reference for reference in scoring.references)


def test_resuming_with_another_normal_form(prepared: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(recipe_of(prepared), run, quiet=True)
    manifests = {name: str(prepared / f"{name}.jsonl.gz") for name in ("train", "dev")}
    with refused(TrainingError, "text_form", run):
        train(recipe_of(prepared, data=manifests), run, resume=True, quiet=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"language": "zh"}, ["language 'zh'", "'en'"]),
        ({"text_form": "english"}, ["text_form 'english'", "'english-digits'"]),
        (
            {"tokenizer": {"kind": "sentencepiece", "vocab_size": 30}},
            ["tokenizer.kind 'sentencepiece'", "'characters'", "tokenizer.vocab_size '30'"],
        ),
        ({"features": {"num_mel_bins": 16}}, ["80 mel bins", "16"]),
    ],
)
def test_contradictions(
    prepared: Path, tmp_path: Path, changes: dict[str, Any], named: list[str]
) -> None:
    message = failure(recipe_of(prepared, **changes), tmp_path / "run")
    assert all(value in message for value in named), message


def test_folders_that_are_no_preparation(prepared: Path, tmp_path: Path) -> None:
    line = failure(recipe_of(tmp_path), tmp_path / "run", ManifestError)
    assert line.startswith(f"{tmp_path}: ") and "keyframe prepare" in line
    copy = tmp_path / "copy"
    shutil.copytree(prepared, copy)
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps(summary | {"tokenizer": None}))
    line = failure(recipe_of(copy), tmp_path / "run", ManifestError)
    assert str(copy) in line and "tokenizer" in line
    (copy / "summary.json").write_text(json.dumps(summary))
    (copy / "cmvn.json").write_text('{"mean": [1.0]}')
    assert "cmvn.json: " in failure(recipe_of(copy), tmp_path / "run", ManifestError)
    assert not (tmp_path / "run" / "recipe.yaml").exists()
