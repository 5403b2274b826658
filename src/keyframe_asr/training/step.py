"""One update of the weights: forward and backward passes, gradient clipping, optimiser step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.config.training import TrainingConfig
from keyframe_asr.data.dataset import Batch
from keyframe_asr.errors import TrainingError
from keyframe_asr.losses.validation import problems_for_later
from keyframe_asr.model.keyframes import count_keyframes
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.batch_results import TOTAL, BatchResult, BatchResults, unusable
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.memory import naming_batch, naming_optimiser, smaller_batches
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.optimiser import learning_rate, optimiser, peak_of, without_unused
from keyframe_asr.training.precision import autocast_type, half_precision

if TYPE_CHECKING:
    from keyframe_asr.training.sharding import ShardedCopy

UPDATES_PER_READING = 50
"""Updates between readings of losses and checks: each reading waits for the device."""


MOST_COMPILATIONS = 64
"""Most times that a part of the network is compiled; after that it runs as it is, slowly."""


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
        if processes.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32
        if training.compile:
            compile_parts(objective.network)
        on_cpu = processes.device.type == "cpu"
        self._updates_per_reading = 1 if on_cpu else UPDATES_PER_READING
        self._unread = 0
        self._results = BatchResults()
        # gradients in float16 underflow unless the loss is scaled up
        self._scaler = torch.amp.GradScaler(
            processes.device.type, enabled=training.precision == "float16"
        )
        self._accelerator.free_memory()  # still references the objective of the previous stage
        self._shards: ShardedCopy | None = None
        if training.sharding == "full" and processes.count > 1:
            from keyframe_asr.training.sharding import ShardedCopy  # its imports take a second

            self._shards = ShardedCopy(objective.to(processes.device), processes)
            self._objective = self._shards.objective
            self._optimiser = optimiser(self._objective, training.weight_decay)
        else:
            self._objective, self._optimiser = self._accelerator.prepare(
                objective, optimiser(objective, training.weight_decay)
            )

    def take_weights(self) -> None:
        """Train on from the weights that the objective has; to be called before each epoch."""
        if self._shards is not None:
            self._shards.take()

    def give_weights(self) -> None:
        """Give the objective its trained weights; to be called before anything reads them."""
        if self._shards is not None:
            self._shards.give()

    def update(self, batches: Sequence[Batch], step: int) -> tuple[float, list[BatchResult]]:
        """Run update number `step` (from 1) of the stage.

        Returns:
            The learning rate, and the results read from the device: of this update on a CPU; else,
            after `UPDATES_PER_READING` updates, of all since the last reading; else none.

        Raises:
            TrainingError: a loss or the gradient was not finite, or a batch cannot be used, since
                the last reading; the message names the utterances. On a CPU, the weights have not
                been changed by it. Or a batch does not fit into memory.
        """
        for batch in batches:
            with naming_batch(batch, self._stage.name, smaller_batches(self._training)):
                self._add_gradient(batch)
        self._scaler.unscale_(self._optimiser)
        clip = self._accelerator if self._shards is None else self._shards
        norm = clip.clip_grad_norm_(self._objective.parameters(), self._training.gradient_clip)
        if not self._scaler.is_enabled():  # the scaler skips such an update and lowers its scale
            ids = tuple(name for batch in batches for name in batch.ids)
            self._results.add_norm(ids, norm)
        self._unread += 1
        results = self.read() if self._unread >= self._updates_per_reading else []
        rate = learning_rate(self._stage, step, self._total_steps)
        for group in self._optimiser.param_groups:
            group["lr"] = rate * peak_of(group, self._stage) / self._stage.learning_rate
        with naming_optimiser(self._stage.name):
            self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad()
        return rate, results

    def read(self) -> list[BatchResult]:
        """Wait for the device; returns the results that were not read yet, and raises as `update`.

        To be called before weights are stored.
        """
        self._unread = 0
        return self._results.read(self._stage.name)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimiser and of the loss scaler."""
        state: dict[str, Any] = self._optimiser.state_dict()
        if self._shards is not None:
            state = self._shards.whole_state(state)
        if self._scaler.is_enabled():
            state["scaler"] = self._scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a stored state of the optimiser."""
        state = dict(state)
        if scaler := state.pop("scaler", None):
            self._scaler.load_state_dict(scaler)
        state = without_unused(state, self._optimiser)
        if self._shards is not None:
            state = self._shards.divided_state(state, self._optimiser)
        self._optimiser.load_state_dict(state)

    def _add_gradient(self, batch: Batch) -> None:
        # processes exchange gradients once per update, after their last batch; shards, which have
        # no place for those of the whole network, after each
        at_once = batch.last or self._shards is not None
        with nullcontext() if at_once else self._accelerator.no_sync(self._objective):
            try:
                with (
                    half_precision(self._processes.device, self._half),
                    problems_for_later() as problems,
                ):
                    total, parts, encoded = self._objective(batch)
            except ValueError as error:
                self._results.read(self._stage.name)  # it may come from an earlier batch
                raise unusable(self._stage.name, batch.ids, error) from error
            spikes = count_keyframes(
                encoded.inter_log_probs, encoded.frame_lengths, self._network.policy
            ).sum()
            self._results.add_batch(
                batch, {TOTAL: total, **parts}, encoded.frame_lengths.sum(), spikes, problems
            )
            self._backward(total * batch.fraction)

    def _backward(self, loss: Tensor) -> None:
        # gradients are averaged over the processes, but the fractions sum to 1 over all of them
        self._scaler.scale(loss * self._processes.count).backward()


def compile_parts(network: KeyframeNetwork) -> None:
    """Let torch.compile compile the encoders and the decoder, for all sizes of batches.

    Raises:
        TrainingError: there is no C++ compiler.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler  # takes seconds
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise TrainingError(
            "training.compile needs a C++ compiler, and there is none; install g++, or set "
            "training.compile: false"
        ) from None
    # a batch or a text of one, training and evaluation are compiled each, and both encoders count
    torch._dynamo.config.recompile_limit = MOST_COMPILATIONS
    for part in (network.encoder1, network.encoder2, network.own_decoder):
        if part is not None:
            part.compile(dynamic=True)
