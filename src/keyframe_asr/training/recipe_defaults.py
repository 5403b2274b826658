"""A recipe on a prepared corpus: what the recipe leaves open is taken from the corpus."""

from __future__ import annotations

from pathlib import Path

from keyframe_asr.config.recipe import Recipe, TokenizerConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.corpora.summary import CorpusSummary, read_summary
from keyframe_asr.data.statistics import Statistics, load_statistics
from keyframe_asr.errors import ManifestError, RecipeError


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


def prepared_statistics(recipe: Recipe, folder: Path) -> Statistics:
    """The feature statistics of a prepared corpus.

    Raises:
        ManifestError: they cannot be read.
        RecipeError: they are of other features than the recipe's.
    """
    statistics = load_statistics(folder)
    bins, wanted = len(statistics["mean"]), recipe.features.num_mel_bins
    if bins != wanted:
        raise RecipeError(
            f"{folder}: its feature statistics are of {bins} mel bins, but the recipe says "
            f"features.num_mel_bins: {wanted}; give {bins}, or name the manifests as data.train "
            "and data.dev instead of data.prepared"
        )
    return statistics


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
