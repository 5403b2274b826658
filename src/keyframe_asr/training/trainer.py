"""The training loop: runs a recipe's stages one after another, resumable at every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from lhotse import CutSet

from keyframe_asr.config import Recipe, StageConfig
from keyframe_asr.data.augment import FeatureMasking, perturb_speeds, seed_augmentation
from keyframe_asr.data.dataset import (
    Batch,
    FeatureStore,
    SpeechDataset,
    batches,
    evaluation_sampler,
    training_sampler,
)
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.errors import TrainingError
from keyframe_asr.model.network import Encoded, KeyframeNetwork
from keyframe_asr.tokenizer import Tokenizer
from keyframe_asr.training import checkpoint
from keyframe_asr.training.checkpoint import Progress
from keyframe_asr.training.report import EpochReport, TrainingReport
from keyframe_asr.training.stages import StageObjective, learning_rate, optimiser
from keyframe_asr.training.validation import Validation, validate

HEALTHY_KEYFRAMES_PER_TOKEN = (0.8, 1.5)
"""Outside of these the inter-CTC is not ready for the keyframe stage."""


class Trainer:
    """Trains `network` as `recipe` says, keeping everything in `folder`."""

    def __init__(
        self,
        recipe: Recipe,
        network: KeyframeNetwork,
        tokenizer: Tokenizer,
        features: FeatureStore,
        folder: Path,
    ) -> None:
        self.recipe = recipe
        self.network = network
        self.folder = folder
        training = recipe.training
        self.accelerator = Accelerator(
            mixed_precision="bf16" if training.precision == "bfloat16" else "no",
            gradient_accumulation_steps=training.accumulate,
        )
        if training.threads is not None:
            torch.set_num_threads(training.threads)
        self._dataset = SpeechDataset(features, tokenizer, FeatureMasking(recipe.augment))
        self._dev_dataset = SpeechDataset(features, tokenizer)

    def run(self, train: CutSet, dev: CutSet, report: TrainingReport) -> list[Validation]:
        """Train every stage that is not done yet; returns the dev results of each stage run.

        On return the network holds the averaged weights of the last stage.

        Raises:
            TrainingError: the loss is not finite, or a checkpoint cannot be read.
        """
        restored = checkpoint.load_state(self.folder)
        progress, optimiser_state = Progress(), None
        if restored is not None:
            progress, weights, optimiser_state = restored
            self.network.load_state_dict(weights)
        results = []
        for index in range(progress.stage, len(self.recipe.stages)):
            stage = self.recipe.stages[index]
            if index > progress.stage:
                progress, optimiser_state = Progress(stage=index), None
            results.append(self._run_stage(stage, progress, optimiser_state, train, dev, report))
        return results

    def _run_stage(
        self,
        stage: StageConfig,
        progress: Progress,
        optimiser_state: dict[str, object] | None,
        train: CutSet,
        dev: CutSet,
        report: TrainingReport,
    ) -> Validation:
        folder = self.folder / stage.name
        if progress.epoch == 0 and stage.start_from is not None:
            earlier = self.folder / stage.start_from / "averaged.safetensors"
            self.network.load_state_dict(checkpoint.average_weights([earlier]))
        objective = StageObjective(self.network, stage)
        wrapped, updates = self.accelerator.prepare(
            objective, optimiser(objective, self.recipe.training.weight_decay)
        )
        if optimiser_state is not None:
            updates.load_state_dict(optimiser_state)
        if stage.train is not None:
            train = load_manifest(stage.train)
        report.begin_stage(stage, progress)
        if progress.epoch == 0 and stage.keyframes:
            self._check_keyframes(self._validate(objective, dev), stage, report)
        while progress.epoch < stage.epochs:
            epoch = self._train_epoch(wrapped, updates, stage, progress, train, report)
            progress.epoch += 1
            validation = None
            if self._validates(stage, progress.epoch):
                validation = self._validate(objective, dev)
                score = validation.error if stage.select_by == "error" else validation.loss
                checkpoint.keep_best(
                    progress, score, self.network.state_dict(), folder, stage.average_best
                )
            checkpoint.save_state(
                self.folder, progress, self.network.state_dict(), updates.state_dict()
            )
            checkpoint.remove_unlisted(progress, folder)
            report.end_epoch(stage, progress, epoch, validation)
        weights = checkpoint.average_weights([folder / name for _, name in progress.best])
        self.network.load_state_dict(weights)
        validation = self._validate(objective, dev)
        checkpoint.save_weights(weights, folder / "averaged.safetensors")
        following = Progress(stage=progress.stage + 1)
        checkpoint.save_state(self.folder, following, weights, None)
        report.end_stage(stage, validation)
        return validation

    def _validates(self, stage: StageConfig, epoch: int) -> bool:
        return epoch % self.recipe.training.validate_every_epochs == 0 or epoch == stage.epochs

    def _train_epoch(
        self,
        objective: torch.nn.Module,
        updates: torch.optim.Optimizer,
        stage: StageConfig,
        progress: Progress,
        train: CutSet,
        report: TrainingReport,
    ) -> EpochReport:
        expected = train_batches(train, self.recipe.training.batch_seconds)
        total_steps = stage.epochs * math.ceil(expected / self.recipe.training.accumulate)
        epoch = EpochReport(started=time.monotonic(), expected_batches=expected)
        objective.train()
        for batch in self._epoch_batches(train, progress):
            with self.accelerator.accumulate(objective):
                total, parts, encoded = objective(
                    batch.features, batch.feature_lengths, batch.tokens, batch.token_lengths
                )
                _check_finite(total, batch, stage)
                self.accelerator.backward(total)
                if self.accelerator.sync_gradients:
                    progress.step += 1
                    rate = learning_rate(stage, progress.step, total_steps)
                    for group in updates.param_groups:
                        group["lr"] = rate
                    self.accelerator.clip_grad_norm_(
                        objective.parameters(), self.recipe.training.gradient_clip
                    )
                    epoch.learning_rate = rate
                updates.step()
                updates.zero_grad()
            epoch.add(batch, float(total.detach()), parts, encoded)
            report.batch(stage, progress, epoch)
        return epoch

    def _epoch_batches(self, train: CutSet, progress: Progress) -> Iterator[Batch]:
        # Everything random in an epoch follows from these numbers, so that a resumed run repeats
        # exactly what the run it continues would have done.
        seed = self.recipe.seed + 10_007 * progress.stage + progress.epoch
        seed_augmentation(seed)
        cuts = perturb_speeds(train, self.recipe.augment.speeds, seed)
        training = self.recipe.training
        sampler = training_sampler(cuts, training.batch_seconds, seed, progress.epoch)
        for batch in batches(self._dataset, sampler, training.workers):
            yield batch.to(self.accelerator.device)

    def _validate(self, objective: StageObjective, dev: CutSet) -> Validation:
        sampler = evaluation_sampler(dev, self.recipe.data.validate_batches_seconds)
        return validate(objective, batches(self._dev_dataset, sampler), self.accelerator.device)

    def _check_keyframes(
        self, before: Validation, stage: StageConfig, report: TrainingReport
    ) -> None:
        low, high = HEALTHY_KEYFRAMES_PER_TOKEN
        if not low <= before.keyframes_per_token <= high:
            report.warn(
                f"stage '{stage.name}' starts with {before.keyframes_per_token:.2f} keyframes per "
                f"token, outside {low}-{high}: the inter-CTC is not ready; train the stage before "
                "it for longer"
            )


def train_batches(train: CutSet, batch_seconds: float) -> int:
    """About how many batches an epoch has."""
    return max(1, round(sum(cut.duration for cut in train) / batch_seconds))


def _check_finite(total: torch.Tensor, batch: Batch, stage: StageConfig) -> None:
    if not torch.isfinite(total):
        raise TrainingError(
            f"stage '{stage.name}': the loss is {float(total)} for the batch of "
            f"{', '.join(batch.ids)}; look at these utterances, or lower the learning rate"
        )
