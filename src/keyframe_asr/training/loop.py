"""The training loop: runs a recipe's stages one after another, resumable at every epoch."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset.sampling.base import CutSampler

from keyframe_asr.config.recipe import Recipe, StageConfig
from keyframe_asr.data.augment import Augmentation, Draws, at_speed
from keyframe_asr.data.dataset import (
    Batch,
    SpeechDataset,
    batches,
    evaluation_sampler,
    training_sampler,
)
from keyframe_asr.data.encoded_store import EncodedStore
from keyframe_asr.data.feature_store import FeatureStore, Store
from keyframe_asr.data.update_batches import UpdateBatches
from keyframe_asr.errors import TrainingError
from keyframe_asr.io.malloc import keep_freed_memory
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.training import checkpoint
from keyframe_asr.training.checkpoint import Progress
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.health import check_collapse, count_collapse, inter_ctc_is_ready
from keyframe_asr.training.initial import reinitialise_parts
from keyframe_asr.training.precision import autocast_type
from keyframe_asr.training.report import EpochReport, TrainingReport
from keyframe_asr.training.stages import Masking, StageObjective
from keyframe_asr.training.step import Updater
from keyframe_asr.training.validation import Validation, validate

HEALTHY_KEYFRAMES_PER_TOKEN = (0.8, 1.5)
"""Outside of these the inter-CTC is not ready for the keyframe stage."""


class Trainer:
    """Trains `network` as `recipe` says, keeping everything in `folder`.

    Raises:
        RecipeError: a folder of noise is missing or holds no recordings.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: KeyframeNetwork,
        tokenizer: Tokenizer,
        features: FeatureStore,
        folder: Path,
        processes: Processes,
        encodings: Path | None = None,
    ) -> None:
        self.recipe = recipe
        self.network = network
        self.folder = folder
        self.processes = processes
        if processes.device.type == "cpu":
            keep_freed_memory()
        if recipe.training.threads is not None:
            torch.set_num_threads(recipe.training.threads)
        self._augmentation = Augmentation(recipe.augment, recipe.seed)
        self._features, self._tokenizer = features, tokenizer
        self._encodings = encodings or folder / "encodings"
        self._store: Store = features

    def run(self, train: Sequence[CutSet], dev: CutSet, report: TrainingReport) -> list[Validation]:
        """Train every stage that is not done yet; returns the dev results of each stage run.

        On return the network holds the averaged weights of the last stage.

        Args:
            train: cuts of each stage, in the order of the recipe.
            dev: cuts that checkpoints are chosen by.
            report: takes note of everything.

        Raises:
            TrainingError: a loss is not finite, or a checkpoint cannot be read or written.
            AudioError, ManifestError: a recording cannot be read, or is not what the manifest says.
        """
        restored = checkpoint.load_state(self.folder)
        progress, optimiser_state = Progress(), None
        if restored is not None:
            progress, weights, optimiser_state = restored
            self._load(weights, self.folder / checkpoint.STATE_FILE)
        precision = self.recipe.training.precision
        if precision != "float32" and autocast_type(precision, self.processes.device) is None:
            report.warn(f"torch has no fast {precision} for this CPU; training in float32 instead")
        results = []
        for index in range(progress.stage, len(self.recipe.stages)):
            stage = self.recipe.stages[index]
            if index > progress.stage:
                progress, optimiser_state = Progress(stage=index), None
            run = _StageRun(self, stage, progress, train[index], dev, report)
            results.append(run.train(optimiser_state))
        return results

    def open_stage(
        self, stage: StageConfig, train: CutSet, dev: CutSet, report: TrainingReport
    ) -> None:
        """Choose where the stage's features come from, and get them ready.

        While the pretrained encoder is frozen, its outputs are computed once, at every speed;
        where the samples differ in each epoch, in every epoch.
        """
        pretrained = self.network.pretrained
        self._store = self._features
        if pretrained is None or stage.unfreeze_from_layer is not None:
            return
        if self._augmentation.changes_samples:
            report.warn(
                f"stage '{stage.name}': the frozen encoder runs in every epoch, because augment "
                "changes what it hears; its outputs are kept where only speeds do"
            )
            return
        store = EncodedStore(self._features, pretrained, self._encodings)
        copies = [at_speed(cut, speed) for speed in self.recipe.augment.speeds for cut in train]
        self._fill(store, [*dev, *copies], report.say)
        self._store = store

    def _fill(self, store: EncodedStore, cuts: list[Cut], say: Callable[[str], None]) -> None:
        """Store the outputs for all cuts, each process those of its share."""
        number, count = self.processes.number, self.processes.count
        store.prepare(cuts[number::count], say)
        self.processes.accelerator.wait_for_everyone()
        store.prepare(cuts, say)  # what others stored where this process does not see it

    def masking(self, progress: Progress) -> Masking | None:
        """Of encodings that the objective computes itself; None where the data are masked."""
        if not self._encodes_itself:
            return None
        draws = Draws(self.recipe.seed, progress.stage, progress.epoch)
        return functools.partial(self._augmentation.masked, draws=draws)

    @property
    def _encodes_itself(self) -> bool:
        return self.network.pretrained is not None and not self._store.pre_encoded

    def train_batches(self, train: CutSet, progress: Progress) -> Iterator[Batch]:
        """This process's batches of the epoch that `progress` says is next, augmented.

        Everything random in the epoch follows from the recipe's seed, the stage and the epoch, so
        that a resumed run repeats exactly what the run it continues would have done.
        """
        draws = Draws(self.recipe.seed, progress.stage, progress.epoch)
        torch.manual_seed(self._seed(progress) + 1_000_003 * self.processes.number)  # dropout
        change = self._augmentation.features
        if self._encodes_itself:
            change = self._augmentation.unmasked
        dataset = SpeechDataset(
            self._store, self._tokenizer, functools.partial(change, draws=draws)
        )
        training, processes = self.recipe.training, self.processes
        parts = UpdateBatches(
            self._sampler(train, progress), training.accumulate, processes.number, processes.count
        )
        for batch in batches(dataset, parts, training.workers):
            yield batch.to(processes.device)

    def count_batches(self, train: CutSet, stage: int) -> int:
        """How many batches the first epoch of a stage has; the others have about as many."""
        return sum(1 for _ in self._sampler(train, Progress(stage=stage)))

    def validate(self, objective: StageObjective, dev: CutSet, stage: StageConfig) -> Validation:
        """Measure the network on the dev set."""
        sampler = evaluation_sampler(dev, self.recipe.data.validate_batches_seconds)
        own = list(islice(sampler, self.processes.number, None, self.processes.count))
        dataset = SpeechDataset(self._store, self._tokenizer)
        loaded = (dataset.collate(cuts) for cuts in own)
        device, add_up = self.processes.device, self.processes.sum
        return validate(objective, loaded, device, stage.name, add_up)

    def prepare_weights(self, stage: StageConfig) -> None:
        """Those of the stage it starts from, by default the present ones; some re-initialised."""
        if stage.start_from is not None:
            path = self.folder / stage.start_from / "averaged.safetensors"
            self._load(checkpoint.load_weights(path), path)
        if stage.reinitialise:
            reinitialise_parts(self.network, stage.reinitialise, self.recipe)

    def _sampler(self, train: CutSet, progress: Progress) -> CutSampler:
        """Batches of the cuts of an epoch."""
        draws = Draws(self.recipe.seed, progress.stage, progress.epoch)
        cuts = self._augmentation.cuts(train, draws)
        seconds = self.recipe.training.batch_seconds
        return training_sampler(cuts, seconds, self._seed(progress), progress.epoch)

    def _seed(self, progress: Progress) -> int:
        return self.recipe.seed + 10_007 * progress.stage + progress.epoch

    def _load(self, weights: dict[str, torch.Tensor], path: Path) -> None:
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise TrainingError(
                f"{path}: its weights do not fit the recipe's model ({reason}); go on with the "
                "recipe it was made with, or train in another folder"
            ) from None


class _StageRun:
    """One stage on its way."""

    def __init__(
        self,
        trainer: Trainer,
        stage: StageConfig,
        progress: Progress,
        train: CutSet,
        dev: CutSet,
        report: TrainingReport,
    ) -> None:
        self._trainer, self._stage, self._progress = trainer, stage, progress
        self._train, self._dev, self._report = train, dev, report
        self._training = trainer.recipe.training
        self._folder = trainer.folder / stage.name
        self._expected_batches = trainer.count_batches(train, progress.stage)
        self._objective = StageObjective(trainer.network, stage)
        steps = stage.epochs * math.ceil(self._expected_batches / self._training.accumulate)
        self._processes = trainer.processes
        self._processes.accelerator.free_memory()
        self._updater = Updater(self._processes, self._objective, stage, self._training, steps)

    def train(self, optimiser_state: dict[str, object] | None) -> Validation:
        """Train the epochs that are left, then average; returns what the average reaches."""
        stage, progress = self._stage, self._progress
        if progress.epoch == 0:
            self._trainer.prepare_weights(stage)
        if optimiser_state is not None:
            self._updater.load_state_dict(optimiser_state)
        self._trainer.open_stage(stage, self._train, self._dev, self._report)
        self._report.begin_stage(stage, progress)
        if progress.epoch == 0 and stage.keyframes:
            self._check_keyframes()
        check_collapse(stage, progress)  # of a run that was resumed nevertheless
        while progress.epoch < stage.epochs and not progress.ready:
            epoch = self._train_epoch()
            progress.epoch += 1
            validation = self._validate() if self._is_measured() else None
            if validation is not None:
                progress.ready = inter_ctc_is_ready(stage, validation)
                count_collapse(stage, progress, validation)
            self._store(validation)
            self._report.end_epoch(stage, progress, epoch, validation)
            check_collapse(stage, progress)
        if progress.ready and progress.epoch < stage.epochs:
            self._report.say(f"stage '{stage.name}' ends here: its inter-CTC is good enough")
        return self._finish()

    def _train_epoch(self) -> EpochReport:
        progress = self._progress
        accumulate = self._training.accumulate
        updates = math.ceil(self._expected_batches / accumulate)
        own = updates * math.ceil(accumulate / self._processes.count)
        epoch = EpochReport(time.monotonic(), own)
        self._objective.train()
        self._objective.masking = self._trainer.masking(progress)
        loaded = self._trainer.train_batches(self._train, progress)
        group: list[Batch] = []
        while (batch := epoch.waiting(loaded)) is not None:
            group.append(batch)
            if not batch.last:
                continue
            progress.step += 1
            epoch.learning_rate, results = self._updater.update(group, progress.step)
            for result in results:
                epoch.add(result)
            self._report.batch(self._stage, progress, epoch)
            group = []
        return epoch.over(self._processes.sum)

    def _is_measured(self) -> bool:
        every, epoch = self._training.validate_every_epochs, self._progress.epoch
        return epoch % every == 0 or epoch == self._stage.epochs

    def _validate(self) -> Validation:
        return self._trainer.validate(self._objective, self._dev, self._stage)

    def _store(self, validation: Validation | None) -> None:
        """Store the epoch: first weights, then the state that lists them, then forget others."""
        progress, weights = self._progress, self._trainer.network.state_dict()
        name = None
        if validation is not None:
            score = validation.error if self._stage.select_by == "error" else validation.loss
            name = checkpoint.rank(progress, score, self._stage.average_best)

        def write() -> None:
            if name is not None:
                checkpoint.save_weights(weights, self._folder / name)
            optimiser = self._updater.state_dict()
            checkpoint.save_state(self._trainer.folder, progress, weights, optimiser)
            checkpoint.remove_unlisted(progress, self._folder)

        self._processes.write(write)

    def _finish(self) -> Validation:
        if not self._progress.best:  # resumed with fewer epochs, before any was measured
            self._store(self._validate())
        paths = [self._folder / name for _, name in self._progress.best]
        self._processes.check_shared(paths[0])
        weights = checkpoint.average_weights(paths)
        self._trainer.network.load_state_dict(weights)
        validation = self._validate()
        following = Progress(stage=self._progress.stage + 1)

        def write() -> None:
            checkpoint.save_weights(weights, self._folder / "averaged.safetensors")
            checkpoint.save_state(self._trainer.folder, following, weights, None)

        self._processes.write(write)
        self._report.end_stage(self._stage, validation)
        return validation

    def _check_keyframes(self) -> None:
        low, high = HEALTHY_KEYFRAMES_PER_TOKEN
        found = self._validate().keyframes_per_token
        if not low <= found <= high:
            self._report.warn(
                f"stage '{self._stage.name}' starts with {found:.2f} keyframes per token, outside "
                f"{low}-{high}: the inter-CTC is not ready; train the stage before it for longer"
            )
