"""One update of the weights: forward and backward over some batches, clipping, the optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from keyframe_asr.config import StageConfig, TrainingConfig
from keyframe_asr.data.dataset import Batch
from keyframe_asr.training.divergence import check_finite, naming_utterances
from keyframe_asr.training.stages import StageObjective, learning_rate, optimiser
from keyframe_asr.training.validation import count_spikes


@dataclass(frozen=True)
class BatchResult:
    """What one batch gave on the way to an update.

    Attributes:
        batch: the batch.
        loss: total loss, the mean over its utterances.
        parts: the same of each loss, not weighted.
        frames: encoder frames.
        spikes: of the inter-CTC, the keyframes there would be in recognition.
    """

    batch: Batch
    loss: float
    parts: dict[str, float]
    frames: int
    spikes: int


class Updater:
    """Trains the weights of one stage, `training.accumulate` batches at a time.

    The gradient of an update is that of the mean over all its utterances, as if they had been one
    batch; the last update of an epoch may have fewer, and carries nothing over to the next epoch.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        objective: StageObjective,
        stage: StageConfig,
        training: TrainingConfig,
        total_steps: int,
    ) -> None:
        self._accelerator = accelerator
        self._network = objective.network
        self._stage = stage
        self._training = training
        self._total_steps = total_steps
        self._objective, self._optimiser = accelerator.prepare(
            objective, optimiser(objective, training.weight_decay)
        )

    def update(self, batches: Sequence[Batch], step: int) -> tuple[float, list[BatchResult]]:
        """Make update number `step` (from 1) of the stage; returns its learning rate and results.

        Raises:
            TrainingError: a loss or the gradient is not finite; names the utterances.
        """
        utterances = sum(len(batch.ids) for batch in batches)
        results = [self._add_gradient(batch, len(batch.ids) / utterances) for batch in batches]
        norm = self._accelerator.clip_grad_norm_(
            self._objective.parameters(), self._training.gradient_clip
        )
        ids = [name for batch in batches for name in batch.ids]
        check_finite("norm of the gradient", norm, self._stage.name, ids)
        rate = learning_rate(self._stage, step, self._total_steps)
        share = self._stage.pretrained_learning_rate / self._stage.learning_rate
        for group in self._optimiser.param_groups:
            group["lr"] = rate * share if group.get("pretrained") else rate
        self._optimiser.step()
        self._optimiser.zero_grad()
        return rate, results

    def state_dict(self) -> dict[str, Any]:
        """State of the optimiser."""
        state: dict[str, Any] = self._optimiser.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a stored state of the optimiser."""
        self._optimiser.load_state_dict(state)

    def _add_gradient(self, batch: Batch, share: float) -> BatchResult:
        half = self._training.precision == "bfloat16"
        device = self._accelerator.device.type
        with (
            naming_utterances(self._stage.name, batch.ids),
            torch.autocast(device, torch.bfloat16, enabled=half),
        ):
            total, parts, encoded = self._objective(
                batch.features,
                batch.feature_lengths,
                batch.tokens,
                batch.token_lengths,
                batch.pre_encoded,
            )
            spikes = count_spikes(self._network, encoded)
        check_finite("loss", total, self._stage.name, batch.ids)
        self._accelerator.backward(total * share)
        return BatchResult(
            batch,
            float(total.detach()),
            {name: float(part.detach()) for name, part in parts.items()},
            int(encoded.frame_lengths.sum()),
            spikes,
        )
