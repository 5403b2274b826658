"""Recipe of a run: completed from a prepared corpus, and stored in the folder."""

from __future__ import annotations

from pathlib import Path

import yaml

from keyframe_asr.config.recipe import Recipe, TokenizerConfig, with_absolute_paths
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.corpora.summary import CorpusSummary, read_summary
from keyframe_asr.errors import ManifestError, RecipeError, TrainingError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.training.checkpoint import NO_SPACE

RECIPE_FILE = "recipe.yaml"


def complete_recipe(recipe: Recipe) -> Recipe:
    """Fill in the language, text form and tokenizer of the corpus in `data.prepared`, if given.

    Raises:
        ManifestError: the folder does not contain a complete prepared corpus.
        RecipeError: the recipe contradicts the prepared corpus.
    """
    if recipe.data.prepared is None:
        return recipe.model_copy(update={"text_form": recipe.form})
    folder = Path(recipe.data.prepared)
    summary = read_summary(folder)
    if summary is None or summary.tokenizer is None:
        lacks = "tokenizer" if summary else "complete preparation"
        raise ManifestError(
            f"{folder}: contains no {lacks}; run keyframe prepare with --out {folder}, or give the "
            "manifests as data.train and data.dev instead of data.prepared"
        )
    tokenizer = parse_config(TokenizerConfig, summary.tokenizer, str(folder))
    wanted = _differences(recipe, summary, tokenizer)
    if wanted:
        raise RecipeError(
            f"{recipe.name}: the recipe has {', '.join(wanted)}; remove it from the recipe, or "
            f"prepare {folder} again"
        )
    found = {"language": summary.language, "text_form": summary.form}
    return recipe.model_copy(update=found | {"tokenizer": tokenizer})


def store_recipe(recipe: Recipe, folder: Path) -> None:
    """Write `recipe.yaml`, with all defaults and absolute paths, into the folder of a run."""
    data = with_absolute_paths(recipe).model_dump(mode="json")
    described = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    write_whole(folder / RECIPE_FILE, described, NO_SPACE, TrainingError)


def _differences(recipe: Recipe, summary: CorpusSummary, tokenizer: TokenizerConfig) -> list[str]:
    """List the settings of the recipe that differ from the prepared corpus."""
    wanted = []
    if "language" in recipe.model_fields_set and recipe.language != summary.language:
        wanted.append(f"language '{recipe.language}', but '{summary.language}' was prepared")
    if recipe.text_form not in (None, summary.form):
        wanted.append(f"text_form '{recipe.form.name}', but '{summary.form.name}' was prepared")
    if "tokenizer" in recipe.model_fields_set:
        wanted += [
            f"tokenizer.{name} '{getattr(recipe.tokenizer, name)}', but "
            f"'{getattr(tokenizer, name)}' was prepared"
            for name in sorted(recipe.tokenizer.model_fields_set & tokenizer.model_fields_set)
            if getattr(recipe.tokenizer, name) != getattr(tokenizer, name)
        ]
    return wanted
