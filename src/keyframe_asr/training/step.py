"""One update of the weights: forward and backward passes, gradient clipping, optimiser step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from keyframe_asr.config.recipe import StageConfig, TrainingConfig
from keyframe_asr.data.dataset import Batch
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.objective import StageObjective, check_finite, naming_utterances
from keyframe_asr.training.optimiser import learning_rate, optimiser, peak_of
from keyframe_asr.training.validation import count_spikes

_HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class BatchResult:
    """Result of a batch.

    Attributes:
        batch: the batch.
        loss: total loss, mean over utterances.
        parts: each loss without its weight, mean over utterances.
        frames: encoder frames.
        spikes: spikes of the inter-CTC, which become keyframes in recognition.
    """

    batch: Batch
    loss: float
    parts: dict[str, float]
    frames: int
    spikes: int


class Updater:
    """Updates the weights of one stage.

    The gradient of an update is that of the mean loss over all its utterances, as if they were one
    batch, whichever process computes them. The last update of an epoch may have fewer utterances;
    nothing is carried over to the next epoch.
    """

    def __init__(
        self,
        processes: Processes,
        objective: StageObjective,
        stage: StageConfig,
        training: TrainingConfig,
        total_steps: int,
    ) -> None:
        self._processes = processes
        self._accelerator = processes.accelerator
        self._network = objective.network
        self._stage = stage
        self._training = training
        self._total_steps = total_steps
        self._half = autocast_type(training.precision, processes.device)
        # gradients in float16 underflow unless the loss is scaled up
        self._scaler = torch.amp.GradScaler(
            processes.device.type, enabled=training.precision == "float16"
        )
        self._accelerator.free_memory()  # still references the objective of the previous stage
        self._objective, self._optimiser = self._accelerator.prepare(
            objective, optimiser(objective, training.weight_decay)
        )

    def update(self, batches: Sequence[Batch], step: int) -> tuple[float, list[BatchResult]]:
        """Run update number `step` (from 1) of the stage; returns learning rate and results.

        Raises:
            TrainingError: a loss or the gradient is not finite; the message names the utterances.
        """
        results = [self._add_gradient(batch) for batch in batches]
        self._scaler.unscale_(self._optimiser)
        norm = self._accelerator.clip_grad_norm_(
            self._objective.parameters(), self._training.gradient_clip
        )
        if not self._scaler.is_enabled():  # the scaler skips such an update and lowers its scale
            ids = [name for batch in batches for name in batch.ids]
            check_finite("norm of the gradient", norm, self._stage.name, ids)
        rate = learning_rate(self._stage, step, self._total_steps)
        for group in self._optimiser.param_groups:
            group["lr"] = rate * peak_of(group, self._stage) / self._stage.learning_rate
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad()
        return rate, results

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimiser and of the loss scaler."""
        state: dict[str, Any] = self._optimiser.state_dict()
        if self._scaler.is_enabled():
            state["scaler"] = self._scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a stored state of the optimiser."""
        state = dict(state)
        if scaler := state.pop("scaler", None):
            self._scaler.load_state_dict(scaler)
        self._optimiser.load_state_dict(state)

    def _add_gradient(self, batch: Batch) -> BatchResult:
        with (
            naming_utterances(self._stage.name, batch.ids),
            torch.autocast(self._processes.device.type, self._half, enabled=self._half is not None),
            # processes exchange gradients once per update, after their last batch
            nullcontext() if batch.last else self._accelerator.no_sync(self._objective),
        ):
            total, parts, encoded = self._objective(
                batch.features,
                batch.feature_lengths,
                batch.tokens,
                batch.token_lengths,
                batch.pre_encoded,
                batch.ids,
                batch.decoder_tokens,
                batch.soft_targets,
            )
            spikes = count_spikes(self._network, encoded)
            check_finite("loss", total, self._stage.name, batch.ids)
            self._backward(total * batch.fraction)
        return BatchResult(
            batch,
            float(total.detach()),
            {name: float(part) for name, part in parts.items()},
            int(encoded.frame_lengths.sum()),
            spikes,
        )

    def _backward(self, loss: Tensor) -> None:
        # gradients are averaged over the processes, but the fractions sum to 1 over all of them
        self._scaler.scale(loss * self._processes.count).backward()


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """Data type of matrix products on `device`; None for float32.

    A CPU without fast bfloat16 emulates it, a hundred times slower than float32 on one CPU measured
    (docs/lab_log.md); float32 is used instead.
    """
    if precision == "bfloat16" and device.type == "cpu" and not cpu_computes_bfloat16():
        return None
    return _HALF.get(precision)


def cpu_computes_bfloat16() -> bool:
    """True if oneDNN, which torch uses, supports bfloat16 matrix products on this CPU."""
    available = torch.backends.mkldnn.is_available()
    return bool(available and torch.ops.mkldnn._is_mkldnn_bf16_supported())
