"""The training loop: the stages of a recipe one after another, resumable at every epoch.

The loop knows when something happens; what happens is in the files it calls, none of which calls
it: the data of an epoch (`epoch_data`), one update of the weights (`step`), the measurement on the
dev set (`validation`) and what is stored of a run (`checkpoint`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keyframe_asr.config.recipe import Recipe
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.checkpoint import Checkpoints, RunState
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.epoch_data import DataSource, StageData
from keyframe_asr.training.initial_weights import reinitialise_parts
from keyframe_asr.training.log import EpochStatistics, TrainingLog
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.step import Updater, autocast_type
from keyframe_asr.training.validation import (
    Validation,
    check_collapse,
    count_collapsed,
    inter_ctc_is_ready,
    validate,
)

HEALTHY_KEYFRAMES_PER_TOKEN = (0.8, 1.5)
"""Outside of these the inter-CTC is not ready for the keyframe stage."""


@dataclass(frozen=True)
class Run:
    """What all stages of a run share."""

    recipe: Recipe
    network: KeyframeNetwork
    source: DataSource
    checkpoints: Checkpoints
    processes: Processes
    log: TrainingLog


def train_stages(run: Run) -> dict[str, Validation]:
    """Train every stage that is not done yet; returns what the average of each reaches on dev.

    On return the network holds the averaged weights of the last stage.

    Raises:
        TrainingError: a loss is not finite, or a checkpoint cannot be read or written.
        AudioError, ManifestError: a recording cannot be read, or is not what the manifest says.
    """
    state, optimiser = run.checkpoints.restore(run.network) or (RunState(), None)
    precision = run.recipe.training.precision
    if precision != "float32" and autocast_type(precision, run.processes.device) is None:
        run.log.warning(f"torch has no fast {precision} for this CPU; training in float32 instead")
    results = {}
    for number in range(state.stage, len(run.recipe.stages)):
        if number > state.stage:
            state, optimiser = RunState(stage=number), None
        results[run.recipe.stages[number].name] = _StageRun(run, state).train(optimiser)
    return results


class _StageRun:
    """One stage: epochs until it is over, then the average of the best."""

    def __init__(self, run: Run, state: RunState) -> None:
        self._run, self._state, self._log = run, state, run.log
        self._stage = run.recipe.stages[state.stage]
        self._data = StageData(run.source, state.stage)
        updates = self._stage.epochs * self._data.update_count
        self._objective = StageObjective(run.network, self._stage)
        self._updater = Updater(
            run.processes, self._objective, self._stage, run.recipe.training, updates
        )

    def train(self, optimiser: dict[str, Any] | None) -> Validation:
        """Train the epochs that are left, then average; returns what the average reaches.

        Args:
            optimiser: its state where the stage was interrupted; None at the beginning.
        """
        stage, state = self._stage, self._state
        self._prepare(optimiser)
        while state.epoch < stage.epochs and not state.ready:
            self._run_epoch()
        if state.ready and state.epoch < stage.epochs:
            self._log.info(f"stage '{stage.name}' ends here: its inter-CTC is good enough")
        return self._finish()

    def _prepare(self, optimiser: dict[str, Any] | None) -> None:
        """Weights and optimiser as they are before the next epoch, and the data it needs."""
        stage, state, network = self._stage, self._state, self._run.network
        if state.epoch == 0:
            if stage.start_from is not None:
                self._run.checkpoints.load_average(stage.start_from, network)
            reinitialise_parts(network, stage.reinitialise, self._run.recipe)
        if optimiser is not None:
            self._updater.load_state_dict(optimiser)
        self._data.open(network.pretrained, self._log)
        self._log.begin_stage(stage, state)
        if state.epoch == 0 and stage.keyframes:
            self._check_keyframes()
        check_collapse(stage, state.collapsed_evaluations)  # of a run that was resumed nevertheless

    def _run_epoch(self) -> None:
        """Train an epoch, measure it if it is its turn, and store it."""
        stage, state = self._stage, self._state
        statistics = self._train_epoch()
        state.epoch += 1
        every = self._run.recipe.training.validate_every_epochs
        validation = None
        if state.epoch % every == 0 or state.epoch == stage.epochs:
            validation = self._validate()
            state.ready = inter_ctc_is_ready(stage, validation)
            state.collapsed_evaluations = count_collapsed(
                stage, validation, state.collapsed_evaluations
            )
        self._store(validation)
        self._log.end_epoch(stage, state, statistics, validation)
        check_collapse(stage, state.collapsed_evaluations)

    def _train_epoch(self) -> EpochStatistics:
        """Update the weights with all data once; returns the sums over all processes."""
        state = self._state
        statistics = EpochStatistics(self._data.own_batch_count)
        self._objective.train()
        self._objective.masking = self._data.masking(state.epoch)
        for batches in statistics.timed(self._data.updates(state.epoch)):
            state.step += 1
            statistics.learning_rate, results = self._updater.update(batches, state.step)
            for result in results:
                statistics.add(result)
            self._log.update(self._stage, state, statistics)
        return statistics.over_processes(self._run.processes.sum)

    def _validate(self) -> Validation:
        batches = self._data.dev_batches()
        return validate(self._objective, batches, self._stage.name, self._run.processes.sum)

    def _store(self, validation: Validation | None) -> None:
        """Store the epoch, which takes part in the average if it is one of the best."""
        score = None
        if validation is not None:
            score = validation.error if self._stage.select_by == "error" else validation.loss
        self._run.checkpoints.store_epoch(
            self._stage, self._state, self._run.network, self._updater.state_dict(), score
        )

    def _finish(self) -> Validation:
        """Average the best epochs, measure the average and store it."""
        if not self._state.best:  # resumed with fewer epochs, before any was measured
            self._store(self._validate())
        checkpoints, network = self._run.checkpoints, self._run.network
        network.load_state_dict(checkpoints.average_best(self._stage, self._state))
        validation = self._validate()
        checkpoints.finish_stage(self._stage, self._state, network)
        self._log.end_stage(self._stage, validation)
        return validation

    def _check_keyframes(self) -> None:
        low, high = HEALTHY_KEYFRAMES_PER_TOKEN
        found = self._validate().keyframes_per_token
        if not low <= found <= high:
            self._log.warning(
                f"stage '{self._stage.name}' starts with {found:.2f} keyframes per token, outside "
                f"{low}-{high}: the inter-CTC is not ready; train the stage before it for longer"
            )
