"""What a run starts from: manifests, texts in their normal form, tokenizer, feature statistics."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from torch import Tensor

from keyframe_asr.config import DataConfig, Recipe
from keyframe_asr.data.dataset import Store
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.errors import ManifestError, TrainingError
from keyframe_asr.text import normalise_text
from keyframe_asr.timing import encoder_frame_seconds
from keyframe_asr.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from keyframe_asr.training.checkpoint import write_atomically
from keyframe_asr.training.report import TrainingReport

STATISTICS_CUTS = 2000
"""CMVN is estimated on at most so many utterances."""

_STATISTICS_FILE = "cmvn.json"
_NAMED_UTTERANCES = 5


@dataclass(frozen=True)
class Inputs:
    """What a run starts from, besides its recipe; only cuts that a loss can be computed for.

    Attributes:
        train: training cuts of each stage, in the order of the recipe.
        dev: cuts that checkpoints are chosen by.
        tokenizer: the same for all stages.
        mean: (F,) of each feature over the recipe's training set.
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
    store: Store,
    *,
    resume: bool,
    report: TrainingReport,
) -> Inputs:
    """Load all manifests of a run; make tokenizer and statistics, or with `resume` read them.

    Raises:
        ManifestError: a manifest cannot be used, or none of its utterances can.
        RecipeError, ModelError, TrainingError: the tokenizer cannot be made, or a stored file read.
    """
    common = training_name(recipe)
    names = [stage.train or common for stage in recipe.stages]
    manifests = {
        name: _normalised(load_manifest(name), recipe)
        for name in dict.fromkeys([recipe.data.dev, *(one for one in names if one != common)])
    }
    manifests[common] = _normalised(_load_together(recipe.data), recipe)
    if not resume:
        _measure(manifests[common], recipe, folder, store, report.say)
    tokenizer = load_tokenizer(folder)
    measured = _read_statistics(folder / _STATISTICS_FILE)
    fastest = max(recipe.augment.speeds)
    train = {
        name: alignable(name, manifests[name], tokenizer, recipe, fastest, report.warn)
        for name in dict.fromkeys(names)
    }
    dev = alignable(
        recipe.data.dev, manifests[recipe.data.dev], tokenizer, recipe, 1.0, report.warn
    )
    return Inputs(
        tuple(train[name] for name in names),
        dev,
        tokenizer,
        torch.tensor(measured["mean"]),
        torch.tensor(measured["inverse_std"]),
    )


def training_name(recipe: Recipe) -> str:
    """What messages call the recipe's training manifests."""
    return " + ".join([recipe.data.train, *recipe.data.more_train])


def measure_statistics(cuts: Iterable[Cut], store: Store) -> dict[str, list[float]]:
    """Mean and inverse standard deviation of each feature over the cuts."""
    total, squares, frames = np.zeros(store.width), np.zeros(store.width), 0
    for cut in cuts:
        features = store(cut).double().numpy()
        total += features.sum(axis=0)
        squares += (features**2).sum(axis=0)
        frames += len(features)
    mean = total / max(1, frames)
    deviation = np.sqrt(np.maximum(squares / max(1, frames) - mean**2, 1e-4))
    return {"mean": mean.tolist(), "inverse_std": (1 / deviation).tolist()}


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
        repeats = sum(a == b for a, b in itertools.pairwise(tokens))
        return bool(len(tokens) + repeats <= cut.duration / speed / frame_seconds)

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
    said = cuts.transform_text(lambda words: normalise_text(words, recipe.language))
    return CutSet.from_cuts(list(said))


def _load_together(data: DataConfig) -> CutSet:
    """All training manifests as one. Raises `ManifestError` if two utterances share a name."""
    together: dict[str, Cut] = {}
    for name in [data.train, *data.more_train]:
        for cut in load_manifest(name):
            if cut.id in together:
                raise ManifestError(
                    f"{name}: utterance '{cut.id}' is in another training manifest too; "
                    "give each its own name"
                )
            together[cut.id] = cut
    return CutSet.from_cuts(together.values())


def _measure(
    train: CutSet, recipe: Recipe, folder: Path, store: Store, say: Callable[[str], None]
) -> None:
    train_tokenizer((text(cut) for cut in train), recipe.tokenizer).save(folder)
    measured = list(train)[:: max(1, math.ceil(len(train) / STATISTICS_CUTS))]
    store.prepare(measured, say)
    values = json.dumps(measure_statistics(measured, store))
    write_atomically(folder / _STATISTICS_FILE, lambda path: path.write_text(values))


def _read_statistics(path: Path) -> dict[str, list[float]]:
    try:
        measured: dict[str, list[float]] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path}: cannot be read ({error}); copy the run again or train in another folder"
        ) from None
    return measured
