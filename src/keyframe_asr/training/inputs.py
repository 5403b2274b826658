"""What a run starts from: manifests, texts in their normal form, tokenizer, feature statistics."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from torch import Tensor

from keyframe_asr.config import Recipe
from keyframe_asr.data.alignment import frames_needed
from keyframe_asr.data.dataset import FeatureStore
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.data.statistics import (
    STATISTICS_FILE,
    Statistics,
    load_statistics,
    measure_statistics,
)
from keyframe_asr.errors import ManifestError
from keyframe_asr.text import normalise_text
from keyframe_asr.timing import encoder_frame_seconds
from keyframe_asr.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from keyframe_asr.training.checkpoint import write_atomically
from keyframe_asr.training.prepared import prepared_statistics

_NAMED_UTTERANCES = 5


@dataclass(frozen=True)
class Inputs:
    """What a run starts from, besides its recipe; only cuts that a loss can be computed for.

    Attributes:
        train: training cuts of each stage, in the order of the recipe.
        dev: cuts that checkpoints are chosen by.
        tokenizer: the same for all stages.
        mean: (F,) of each mel bin over the recipe's training set.
        inverse_std: (F,).
    """

    train: tuple[CutSet, ...]
    dev: CutSet
    tokenizer: Tokenizer
    mean: Tensor
    inverse_std: Tensor


def prepare_inputs(
    recipe: Recipe,
    folder: Path,
    store: FeatureStore,
    *,
    resume: bool,
    warn: Callable[[str], None],
) -> Inputs:
    """Load all manifests of a run; make tokenizer and statistics, or read them.

    With `resume` they are the run's own, with `data.prepared` those of the corpus.

    Raises:
        ManifestError: a manifest cannot be used, or none of its utterances can.
        RecipeError, ModelError: the tokenizer cannot be made, or a stored file read.
    """
    names = [stage.train or recipe.data.train for stage in recipe.stages]
    manifests = {
        name: _normalised(load_manifest(name), recipe)
        for name in dict.fromkeys([recipe.data.train, recipe.data.dev, *names])
    }
    if not resume and recipe.data.prepared is not None:
        _take(Path(recipe.data.prepared), recipe, folder)
    elif not resume:
        _measure(manifests[recipe.data.train], recipe, folder, store)
    tokenizer = load_tokenizer(folder)
    measured = load_statistics(folder)
    fastest = max(recipe.augment.speeds)
    train = {
        name: alignable(name, manifests[name], tokenizer, recipe, fastest, warn)
        for name in dict.fromkeys(names)
    }
    dev = alignable(recipe.data.dev, manifests[recipe.data.dev], tokenizer, recipe, 1.0, warn)
    return Inputs(
        tuple(train[name] for name in names),
        dev,
        tokenizer,
        torch.tensor(measured["mean"]),
        torch.tensor(measured["inverse_std"]),
    )


def alignable(
    name: str,
    cuts: CutSet,
    tokenizer: Tokenizer,
    recipe: Recipe,
    speed: float,
    warn: Callable[[str], None],
) -> CutSet:
    """The cuts that CTC can align even at `speed`: at least as many frames as tokens.

    Raises:
        ManifestError: there are none; `name` is the manifest they come from.
    """
    frame_seconds = encoder_frame_seconds(recipe.model.subsampling.factor)

    def fits(cut: Cut) -> bool:
        tokens = tokenizer.encode(text(cut))
        return bool(frames_needed(tokens) <= cut.duration / speed / frame_seconds)

    fitting = {cut.id for cut in cuts if fits(cut)}
    if left_out := [cut.id for cut in cuts if cut.id not in fitting]:
        some = ", ".join(left_out[:_NAMED_UTTERANCES])
        more = ", ..." if len(left_out) > _NAMED_UTTERANCES else ""
        warn(
            f"{name}: {len(left_out)} of {len(cuts)} utterances have more text than audio and are "
            f"left out: {some}{more}"
        )
    if not fitting:
        raise ManifestError(f"{name}: no utterance has enough audio for its text; check durations")
    return CutSet.from_cuts(cut for cut in cuts if cut.id in fitting)


def _normalised(cuts: CutSet, recipe: Recipe) -> CutSet:
    said = cuts.transform_text(
        lambda words: normalise_text(words, recipe.normalisation or recipe.language)
    )
    return CutSet.from_cuts(list(said))


def _take(prepared: Path, recipe: Recipe, folder: Path) -> None:
    """Tokenizer and statistics of a prepared corpus, so that the run does not depend on it."""
    statistics = prepared_statistics(recipe, prepared)
    load_tokenizer(prepared).save(folder)
    _save_statistics(statistics, folder)


def _measure(train: CutSet, recipe: Recipe, folder: Path, store: FeatureStore) -> None:
    train_tokenizer((text(cut) for cut in train), recipe.tokenizer).save(folder)
    _save_statistics(measure_statistics(list(train), store), folder)


def _save_statistics(statistics: Statistics, folder: Path) -> None:
    values = json.dumps(statistics)
    write_atomically(folder / STATISTICS_FILE, lambda path: path.write_text(values))
