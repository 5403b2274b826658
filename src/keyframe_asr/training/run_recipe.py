"""The recipe of a run: completed from a prepared corpus, kept in the folder, checked on resume."""

from __future__ import annotations

from pathlib import Path

import yaml

from keyframe_asr.config.recipe import Recipe, TokenizerConfig, load_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.corpora.summary import CorpusSummary, read_summary
from keyframe_asr.errors import ManifestError, RecipeError, TrainingError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.training.checkpoint import NO_ROOM

RECIPE_FILE = "recipe.yaml"


def complete_recipe(recipe: Recipe) -> Recipe:
    """The recipe with the language, normal form and tokenizer of `data.prepared`, if it names one.

    Raises:
        ManifestError: the folder holds no complete preparation.
        RecipeError: the recipe wants something else than was prepared.
    """
    if recipe.data.prepared is None:
        return recipe.model_copy(update={"normalisation": recipe.normalisation or recipe.language})
    folder = Path(recipe.data.prepared)
    summary = read_summary(folder)
    if summary is None or summary.tokenizer is None:
        lacks = "tokenizer" if summary else "complete preparation"
        raise ManifestError(
            f"{folder}: holds no {lacks}; run keyframe prepare with --out {folder}, or name the "
            "manifests as data.train and data.dev instead of data.prepared"
        )
    tokenizer = parse_config(TokenizerConfig, summary.tokenizer, str(folder))
    wanted = _differences(recipe, summary, tokenizer)
    if wanted:
        raise RecipeError(
            f"{recipe.name}: the recipe asks for {', '.join(wanted)}; leave it out of the "
            f"recipe, or prepare {folder} anew"
        )
    found = {"language": summary.language, "normalisation": summary.normalisation}
    return recipe.model_copy(update=found | {"tokenizer": tokenizer})


def store_recipe(recipe: Recipe, folder: Path) -> None:
    """Write `recipe.yaml`, every default spelled out, into the folder of a run."""
    described = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_whole(folder / RECIPE_FILE, described, NO_ROOM, TrainingError)


def check_recipe(recipe: Recipe, folder: Path) -> None:
    """Refuse to resume a run with a recipe that its weights or its stages do not fit.

    Epochs, learning rates, batches and data may change, and stages may be added at the end; what
    the stages are called, start from and re-initialise may not.

    Raises:
        TrainingError: names what differs.
    """
    if not (folder / RECIPE_FILE).exists():
        return
    before = load_recipe(folder / RECIPE_FILE)
    fixed = ("language", "tokenizer", "features", "model")
    differing = [name for name in fixed if getattr(before, name) != getattr(recipe, name)]
    # recipes stored by version 0.1 name no normal form
    if (before.normalisation or before.language) != (recipe.normalisation or recipe.language):
        differing.append("normalisation")
    for key, what in (
        ("name", "the names of the stages"),
        ("start_from", "what the stages start from"),
        ("reinitialise", "what the stages re-initialise"),
    ):
        then = [getattr(stage, key) for stage in before.stages]
        if [getattr(stage, key) for stage in recipe.stages][: len(then)] != then:
            differing.append(what)
    if differing:
        raise TrainingError(
            f"{folder}: was trained with another recipe, which differs in {', '.join(differing)}; "
            f"resume with {folder / RECIPE_FILE}, or choose another --out"
        )


def _differences(recipe: Recipe, summary: CorpusSummary, tokenizer: TokenizerConfig) -> list[str]:
    """What the recipe spells out and the corpus has otherwise."""
    prepared = {"language": summary.language, "normalisation": summary.normalisation}
    wanted = [
        f"{name} '{getattr(recipe, name)}' where '{value}' was prepared"
        for name, value in prepared.items()
        if name in recipe.model_fields_set and getattr(recipe, name) not in (None, value)
    ]
    if "tokenizer" in recipe.model_fields_set:
        wanted += [
            f"tokenizer.{name} '{getattr(recipe.tokenizer, name)}' where "
            f"'{getattr(tokenizer, name)}' was prepared"
            for name in TokenizerConfig.model_fields
            if name in recipe.tokenizer.model_fields_set
            and getattr(recipe.tokenizer, name) != getattr(tokenizer, name)
        ]
    return wanted
