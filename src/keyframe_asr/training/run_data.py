"""Data of a run: manifests with normalised texts, tokenizer and feature statistics."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from lhotse import CutSet
from torch import Tensor

from keyframe_asr.config.recipe import DataConfig, Recipe
from keyframe_asr.data.decoder_targets import DecoderTargets
from keyframe_asr.data.feature_store import Store
from keyframe_asr.data.manifest import load_packed
from keyframe_asr.data.packed_cuts import PackedCuts
from keyframe_asr.data.soft_targets import SoftTargets
from keyframe_asr.data.statistics import (
    STATISTICS_FILE,
    Statistics,
    load_statistics,
    measure_statistics,
)
from keyframe_asr.errors import ManifestError, RecipeError, TrainingError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.decoder_tokenizers import load_decoder_tokenizer
from keyframe_asr.io.model_folder import find_model
from keyframe_asr.io.pretrained_decoder import source_tokenizer
from keyframe_asr.text.decoder_tokenizer import DECODER_TOKENIZER_FILE, DecoderTokenizer
from keyframe_asr.text.forms import MAX_LOST, losses_of, normaliser
from keyframe_asr.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from keyframe_asr.timing import encoder_frame_seconds, frames_needed
from keyframe_asr.training.checkpoint import NO_SPACE
from keyframe_asr.training.log import TrainingLog

_LISTED_UTTERANCES = 5
_LISTED_UNITS = 10

_COUNTED_TEXTS = 50_000
"""Texts, spread over a manifest, whose losses are counted; comparing all takes minutes."""


@dataclass(frozen=True)
class RunData:
    """Data of a run; contains only cuts that CTC can align.

    Attributes:
        train: training cuts of each stage, in the order of the recipe.
        dev: dev cuts, used to select checkpoints.
        tokenizer: tokenizer of all stages.
        mean: (F,) mean of each feature over the training set of the recipe.
        inverse_std: (F,) inverse standard deviation.
        decoder_tokenizer: tokens of the pretrained decoder, if there is one.
        soft_targets: of its teacher for the training cuts, if the recipe names any.
    """

    train: tuple[PackedCuts, ...]
    dev: CutSet
    tokenizer: Tokenizer
    mean: Tensor
    inverse_std: Tensor
    decoder_tokenizer: DecoderTokenizer | None = None
    soft_targets: SoftTargets | None = None

    def decoder_targets(self, recipe: Recipe) -> DecoderTargets | None:
        """Return what the pretrained decoder learns to write, if there is one.

        Raises:
            ModelError: it does not know the language of the recipe.
        """
        decoder = recipe.model.pretrained_decoder
        if decoder is None or self.decoder_tokenizer is None:
            return None
        return DecoderTargets(
            self.decoder_tokenizer,
            decoder.language or recipe.language,
            int((decoder.architecture or {})["max_target_positions"]),
            always=decoder.language is not None,
        )


def load_run_data(
    recipe: Recipe,
    folder: Path,
    store: Store | None,
    log: TrainingLog,
    *,
    resume: bool,
    statistics: Statistics | None = None,
) -> RunData:
    """Load all manifests of a run, and make or read tokenizer and statistics.

    With `resume` they are read from the run, with `data.prepared` from the prepared corpus.

    Args:
        recipe: recipe of the run.
        folder: folder of the run; tokenizer and statistics are stored there.
        store: features of the network's input, for the statistics; None to read no recordings,
            which gives a mean of 0 and a deviation of 1.
        log: logs which utterances are left out.
        resume: True if tokenizer and statistics exist in `folder`.
        statistics: those of the initial weights; None to measure them.

    Raises:
        ManifestError: a manifest cannot be used, or none of its utterances can.
        RecipeError, ModelError: the tokenizer cannot be trained, or a stored file cannot be read.
    """
    common, dev_name = train_name(recipe), recipe.data.dev
    manifests = {common: _training_manifests(recipe.data), dev_name: [dev_name]}
    manifests |= {_joined(one.manifests): one.manifests for one in recipe.stages if one.train}
    cuts = {
        name: _normalised(name, _load_all(files), recipe, log.warning)
        for name, files in manifests.items()
    }
    if not resume:
        _make_tokenizer(cuts[common], recipe, folder, log)
        if store is not None:
            found = statistics or _find_statistics(cuts[common], recipe, store, log)
            write_whole(folder / STATISTICS_FILE, json.dumps(found), NO_SPACE, TrainingError)
    tokenizer = load_tokenizer(folder)
    mean, inverse_std = torch.zeros(1), torch.ones(1)
    if store is not None:
        stored = load_statistics(folder)
        mean, inverse_std = torch.tensor(stored["mean"]), torch.tensor(stored["inverse_std"])
    names = [_joined(stage.manifests) or common for stage in recipe.stages]
    speed, train = max(recipe.augment.speeds), dict[str, PackedCuts]()
    for name in dict.fromkeys(names):
        _name_long(name, cuts[name], recipe, log.warning)
        train[name] = alignable(name, cuts[name], tokenizer, recipe, speed, log.warning)
    decoder_tokenizer = load_decoder_tokenizer(folder, recipe.model.pretrained_decoder)
    return RunData(
        tuple(train[name] for name in names),
        CutSet.from_cuts(alignable(dev_name, cuts[dev_name], tokenizer, recipe, 1.0, log.warning)),
        tokenizer,
        mean,
        inverse_std,
        decoder_tokenizer,
        _soft_targets(recipe.data, decoder_tokenizer),
    )


def _soft_targets(data: DataConfig, tokenizer: DecoderTokenizer | None) -> SoftTargets | None:
    if not data.soft_targets:
        return None
    if tokenizer is None:
        raise RecipeError(
            "data.soft_targets is for a pretrained decoder, which the recipe does not have; remove "
            "it, or set model.decoder.kind: pretrained"
        )
    return SoftTargets(data.soft_targets, tokenizer.vocab_size)


def train_name(recipe: Recipe) -> str:
    """Name of the training manifests of a recipe, for messages."""
    return _joined(_training_manifests(recipe.data))


def _training_manifests(data: DataConfig) -> list[str]:
    return [data.train, *data.more_train]


def _joined(manifests: list[str]) -> str:
    return " + ".join(manifests)


def alignable(
    name: str,
    cuts: PackedCuts,
    tokenizer: Tokenizer,
    recipe: Recipe,
    speed: float,
    warn: Callable[[str], None],
) -> PackedCuts:
    """Select the cuts that have enough frames for CTC, even at `speed`; log the others.

    Raises:
        ManifestError: there is no such cut in the manifest `name`.
    """
    frame_seconds = encoder_frame_seconds(recipe.model.subsampling.factor)
    needed = (frames_needed(tokenizer.encode(text)) for text in cuts.texts)
    frames = cuts.durations / speed / frame_seconds
    fits = np.fromiter(needed, np.int64, len(cuts)) <= frames
    if not fits.all():
        warn(
            f"{name}: {_count(cuts, ~fits)} utterances have more text than audio and are left out: "
            f"{_some(cuts, ~fits)}"
        )
    if not fits.any():
        raise ManifestError(f"{name}: no utterance has enough audio for its text; check durations")
    return cuts.chosen(np.flatnonzero(fits))


def _name_long(name: str, cuts: PackedCuts, recipe: Recipe, warn: Callable[[str], None]) -> None:
    """Warn about utterances that are longer than a batch even at the highest speed."""
    limit = recipe.training.batch_seconds
    long = cuts.durations / max(recipe.augment.speeds) > limit
    if long.any():
        warn(
            f"{name}: {_count(cuts, long)} utterances are longer than training.batch_seconds "
            f"({limit:g}); each is a batch of its own, which may need more memory: "
            f"{_some(cuts, long)}"
        )


def _count(cuts: PackedCuts, marked: npt.NDArray[np.bool_]) -> str:
    return f"{int(marked.sum())} of {len(cuts)}"


def _some(cuts: PackedCuts, marked: npt.NDArray[np.bool_]) -> str:
    """Names of the first marked utterances."""
    places = np.flatnonzero(marked).tolist()
    some = ", ".join(map(cuts.id_at, places[:_LISTED_UTTERANCES]))
    return some + (", ..." if len(places) > _LISTED_UTTERANCES else "")


def _normalised(
    name: str, cuts: PackedCuts, recipe: Recipe, warn: Callable[[str], None]
) -> PackedCuts:
    """Bring the texts into the form of the recipe; tell if that loses much of them."""
    form = recipe.form
    every = max(1, len(cuts) // _COUNTED_TEXTS)
    losses = losses_of(itertools.islice(cuts.texts, 0, None, every), form)
    if losses.fraction > MAX_LOST:
        warn(
            f"{name}: the text form {form.name} loses {losses.fraction:.1%} of the words "
            f"({losses.named()}); give language or text_form in the recipe"
        )
    normalise = normaliser(form)
    keep_written = recipe.model.pretrained_decoder is not None
    return cuts.with_texts(map(normalise, cuts.texts), keep_written)


def _load_all(manifests: list[str]) -> PackedCuts:
    """Manifests as one. Raises `ManifestError` if two utterances share a name."""
    loaded = [load_packed(name) for name in manifests]
    if len(loaded) == 1:
        return loaded[0]
    seen: set[str] = set()
    for name, cuts in zip(manifests, loaded, strict=True):
        for one in cuts.ids:
            if one in seen:
                raise ManifestError(
                    f"{name}: utterance '{one}' occurs twice in the training manifests; list "
                    "each manifest once, and give each utterance a unique name"
                )
            seen.add(one)
    return PackedCuts.joined(loaded)


def _make_tokenizer(train: PackedCuts, recipe: Recipe, folder: Path, log: TrainingLog) -> None:
    """Train the tokenizer, or copy that of a prepared corpus or a model, into the run's folder.

    The tokenizer of a pretrained decoder is copied, too.
    """
    given = _tokenizer_source(recipe)
    if given is None:
        tokenizer = train_tokenizer(train.texts, recipe.tokenizer)
    else:
        tokenizer = load_tokenizer(given)
        _check_texts(train, tokenizer, recipe, given, log.warning)
    write_whole(folder / tokenizer.file_name, tokenizer.content(), NO_SPACE, TrainingError)
    if (decoder := recipe.model.pretrained_decoder) is not None:
        content = source_tokenizer(decoder).content()
        write_whole(folder / DECODER_TOKENIZER_FILE, content, NO_SPACE, TrainingError)


def _tokenizer_source(recipe: Recipe) -> Path | None:
    """Folder of the tokenizer; None if one is trained. Raises `ModelError` for an unknown model."""
    if recipe.data.prepared is not None:
        return Path(recipe.data.prepared)
    return None if recipe.tokenizer.of_model is None else find_model(recipe.tokenizer.of_model)


def _find_statistics(
    train: PackedCuts, recipe: Recipe, store: Store, log: TrainingLog
) -> Statistics:
    """Read the feature statistics of a prepared corpus, or measure them."""
    level, prepared = recipe.features.level, recipe.data.prepared
    if prepared is not None and recipe.model.pretrained is None:  # a corpus has only fbank's
        statistics = _prepared_statistics(recipe, Path(prepared))
        if statistics["level"] == level:
            return statistics
    return measure_statistics(train, store, level=level, say=log.info)


def _prepared_statistics(recipe: Recipe, folder: Path) -> Statistics:
    """Read the feature statistics of a prepared corpus.

    Raises:
        ManifestError: the statistics cannot be read.
        RecipeError: they belong to other features than those of the recipe.
    """
    statistics = load_statistics(folder)
    bins, wanted = len(statistics["mean"]), recipe.features.num_mel_bins
    if bins != wanted:
        raise RecipeError(
            f"{folder}: its feature statistics have {bins} mel bins, but features.num_mel_bins is "
            f"{wanted}; set it to {bins}, or give the manifests as data.train and data.dev instead "
            "of data.prepared"
        )
    return statistics


def _check_texts(
    train: PackedCuts,
    tokenizer: Tokenizer,
    recipe: Recipe,
    source: Path,
    warn: Callable[[str], None],
) -> None:
    """Warn if manifests contain units unknown to a tokenizer that was not trained on them."""
    if recipe.data.prepared is not None and not recipe.data.more_train:
        return
    lacking = sorted({part for text in train.texts for part in tokenizer.unknown(text)})
    if lacking:
        some = " ".join(lacking[:_LISTED_UNITS]) + (" ..." if lacking[_LISTED_UNITS:] else "")
        warn(
            f"{train_name(recipe)}: the tokenizer of {source} lacks {len(lacking)} units of the "
            f"texts ({some}), which are trained as unknown; to include them, train a tokenizer "
            "on all manifests"
        )
