"""Data of a stage: the batches of each epoch for this process.

All randomness in an epoch depends only on the seed of the recipe, the stage and the epoch, so a
resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from lhotse.cut import Cut
from torch import Tensor

from keyframe_asr.config.recipe import Recipe
from keyframe_asr.data.augment import Augmentation, Draws, at_speed
from keyframe_asr.data.chunk_draws import draw_chunks
from keyframe_asr.data.dataset import (
    Batch,
    BatchLoader,
    SpeechDataset,
    evaluation_sampler,
)
from keyframe_asr.data.encoded_store import EncodedStore
from keyframe_asr.data.epoch_cuts import EpochCuts
from keyframe_asr.data.feature_store import FeatureStore, Store
from keyframe_asr.data.update_batches import UpdateBatches
from keyframe_asr.io.threads import usable_cores
from keyframe_asr.model.pretrained import PretrainedEncoder
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.log import TrainingLog
from keyframe_asr.training.objective import Chunking, Masking
from keyframe_asr.training.run_data import RunData

MOST_WORKERS = 8
"""Most data loading processes by default: features of this many keep a GPU busy."""


@dataclass(frozen=True)
class DataSource:
    """Source of the data of all stages.

    Attributes:
        recipe: recipe of the run.
        data: cuts of every stage, and the tokenizer.
        features: features of the cuts.
        augmentation: augmentation of the recipe.
        processes: processes among which batches are divided.
        encodings: folder for the outputs of a frozen pretrained encoder.
    """

    recipe: Recipe
    data: RunData
    features: FeatureStore
    augmentation: Augmentation
    processes: Processes
    encodings: Path


@dataclass(frozen=True)
class _AugmentationOfEpochs:
    """Augmented features of a cut, given the epoch."""

    augment: Callable[[Cut, Store, Draws], Tensor]
    seed: int
    stage: int

    def __call__(self, cut: Cut, store: Store, epoch: int) -> Tensor:
        return self.augment(cut, store, Draws(self.seed, self.stage, epoch))


class StageData:
    """Data of one stage.

    Args:
        source: source of the data of all stages.
        number: index of the stage in the recipe, from 0.
    """

    def __init__(self, source: DataSource, number: int) -> None:
        self._source, self._number = source, number
        self._recipe, self._processes = source.recipe, source.processes
        self._stage = source.recipe.stages[number]
        self._train, self._dev = source.data.train[number], source.data.dev
        self._store: Store = source.features

    @functools.cached_property
    def batch_count(self) -> int:
        """Number of batches in the first epoch, estimated for a large corpus.

        Other epochs have about as many.
        """
        return self._cuts(0).batch_count(self._recipe.training.batch_seconds, self._seed(0), 0)

    @property
    def update_count(self) -> int:
        """Approximate number of updates per epoch."""
        return math.ceil(self.batch_count / self._recipe.training.accumulate)

    @property
    def own_batch_count(self) -> int:
        """Approximate number of batches per epoch that this process computes."""
        accumulate = self._recipe.training.accumulate
        return self.update_count * math.ceil(accumulate / self._processes.count)

    @property
    def store(self) -> Store:
        """Source of the features."""
        return self._store

    def open(self, encoder: PretrainedEncoder | None, log: TrainingLog) -> None:
        """Choose the source of features, and prepare it.

        The outputs of a frozen pretrained encoder are computed once, at every speed; if
        augmentation changes the samples, in every epoch.
        """
        if encoder is None or not encoder.is_frozen(self._stage.unfreeze_from_layer):
            return
        if self._source.augmentation.changes_samples:
            log.warning(
                f"stage '{self._stage.name}': the frozen encoder runs in every epoch, because "
                "augment changes its input; its outputs are cached only without noise, non_speech, "
                "reverberation, telephone and volume"
            )
            return
        store = EncodedStore(self._source.features, encoder, self._source.encodings)
        speeds = self._recipe.augment.speeds
        cuts = [*self._dev, *(at_speed(cut, speed) for speed in speeds for cut in self._train)]
        store.prepare(cuts[self._processes.number :: self._processes.count], log.info)
        self._processes.wait()
        store.prepare(cuts, log.info)  # computes what others stored on disks not shared with this
        self._store = store

    def updates(self, epoch: int, done: int = 0) -> Iterator[list[Batch]]:
        """Yield the augmented batches of each update of an epoch, without the first `done`.

        Raises:
            AudioError, ManifestError: a recording cannot be read, or does not match its manifest.
        """
        training, processes = self._recipe.training, self._processes
        torch.manual_seed(self._seed(epoch) + 1_000_003 * processes.number)  # dropout
        cuts = self._cuts(epoch)  # the same in every process
        sampled = UpdateBatches(
            cuts.batches(training.batch_seconds, self._seed(epoch), epoch),
            training.accumulate,
            processes.number,
            processes.count,
            epoch,
            done,
            cuts.cuts,
        )
        update: list[Batch] = []
        for batch in self._training_loader.load(sampled):
            update.append(batch.to(processes.device))
            if batch.last:
                yield update
                update = []

    @functools.cached_property
    def _training_loader(self) -> BatchLoader:
        augmentation, data = self._source.augmentation, self._source.data
        augment = augmentation.unmasked if self._is_encoded_in_training else augmentation.features
        dataset = SpeechDataset(
            self._store,
            data.tokenizer,
            _AugmentationOfEpochs(augment, self._recipe.seed, self._number),
            data.decoder_targets(self._recipe),
            data.soft_targets,
        )
        return self._loader(dataset)

    def _loader(self, dataset: SpeechDataset) -> BatchLoader:
        training, device = self._recipe.training, self._processes.device
        workers = training.workers
        if workers is None:
            workers = 0 if training.keep_features_in_memory else default_workers(device)
        return BatchLoader(dataset, workers, pinned=device.type == "cuda")

    def masking(self, epoch: int) -> Masking | None:
        """Return the masking of encodings computed by the objective; None if batches are masked."""
        if not self._is_encoded_in_training:
            return None
        return functools.partial(self._source.augmentation.masked, draws=self._draws(epoch))

    def chunking(self, epoch: int) -> Chunking | None:
        """Return how utterances are divided into chunks; None if the network cannot stream."""
        config = self._recipe.model.encoder.streaming
        if config is None:
            return None
        return functools.partial(draw_chunks, config=config, draws=self._draws(epoch))

    def dev_batches(self) -> Iterator[Batch]:
        """Yield the batches of the dev set for this process, without augmentation.

        Raises:
            AudioError, ManifestError: as `updates`.
        """
        sampler = evaluation_sampler(self._dev, self._recipe.data.validate_batches_seconds)
        data = self._source.data
        targets = data.decoder_targets(self._recipe)
        dataset = SpeechDataset(self._store, data.tokenizer, targets=targets)
        own = list(islice(sampler, self._processes.number, None, self._processes.count))
        for batch in self._loader(dataset).load(own):
            yield batch.to(self._processes.device)

    @property
    def _is_encoded_in_training(self) -> bool:
        """True if the objective runs the pretrained encoder on the batches."""
        return self._recipe.model.pretrained is not None and not self._store.pre_encoded

    def _cuts(self, epoch: int) -> EpochCuts:
        return EpochCuts(self._train, self._source.augmentation, self._draws(epoch))

    def _draws(self, epoch: int) -> Draws:
        return Draws(self._recipe.seed, self._number, epoch)

    def _seed(self, epoch: int) -> int:
        return self._recipe.seed + 10_007 * self._number + epoch


def default_workers(device: torch.device) -> int:
    """Number of data loading processes for this device: cores that it has to itself, less one."""
    if device.type == "cpu":
        return 0
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
    return max(0, min(MOST_WORKERS, usable_cores() // here - 1))
