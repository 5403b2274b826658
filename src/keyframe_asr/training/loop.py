"""Training loop: runs the stages of a recipe one after another, resumable after every epoch.

The loop only decides the order of events. The data of an epoch are in `epoch_data`, the update of
the weights in `step`, the evaluation on the dev set in `validation`, and storage in `checkpoint`;
none of these calls the loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keyframe_asr.config.recipe import Recipe
from keyframe_asr.io.model_folder import CONFIG_FILE
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.checkpoint import Checkpoints, RunState
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.epoch_data import DataSource, StageData
from keyframe_asr.training.epoch_share import own_share, take_up
from keyframe_asr.training.epoch_statistics import EpochStatistics
from keyframe_asr.training.initial_weights import reinitialise_parts
from keyframe_asr.training.log import TrainingLog
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.precision import autocast_type
from keyframe_asr.training.resuming import continues
from keyframe_asr.training.stage_model import model_folder, save_stage_model
from keyframe_asr.training.step import Updater
from keyframe_asr.training.teacher import FullFrameTeacher
from keyframe_asr.training.validation import (
    Validation,
    check_collapse,
    count_collapsed,
    inter_ctc_is_ready,
    validate,
)

HEALTHY_KEYFRAMES_PER_TOKEN = (0.8, 1.5)
"""Range in which the inter-CTC is ready for the keyframe stage."""


@dataclass(frozen=True)
class Run:
    """Objects shared by all stages of a run.

    Attributes:
        folder: folder of the run.
        trains_on: True if the last finished stage gets more epochs.
        teacher: hears all frames; None if the recipe has none.
    """

    recipe: Recipe
    folder: Path
    network: KeyframeNetwork
    source: DataSource
    checkpoints: Checkpoints
    processes: Processes
    log: TrainingLog
    trains_on: bool = False
    teacher: FullFrameTeacher | None = None


def train_stages(run: Run) -> dict[str, Validation]:
    """Train every stage that is not finished; write a model folder at the end of each.

    On return, the network has the averaged weights of the last stage.

    Returns:
        Evaluation of the averaged weights of each stage on the dev set, by name.

    Raises:
        TrainingError: a loss is not finite, or a checkpoint cannot be read or written.
        AudioError, ManifestError: a recording cannot be read, or does not match its manifest.
    """
    restored = run.checkpoints.restore(run.network, trains_on=run.trains_on)
    state, optimiser = restored or (RunState(), None)
    precision = run.recipe.training.precision
    half = autocast_type(precision, run.processes.device)
    if half is None and precision not in ("auto", "float32"):
        run.log.warning(f"torch has no fast {precision} on this CPU; training in float32 instead")
    results = {}
    for number in range(state.stage, len(run.recipe.stages)):
        if number > state.stage:
            state, optimiser = RunState(stage=number), None
        results[run.recipe.stages[number].name] = _StageRun(run, state).train(optimiser)
    return results


def write_missing_models(run: Run, finished: int) -> None:
    """Write the model folders of finished stages that have none; runs of version 0.1 lack them."""

    def write() -> None:
        for stage in run.recipe.stages[:finished]:
            folder = run.folder / stage.name
            if not (model_folder(folder) / CONFIG_FILE).is_file():
                save_stage_model(stage, run.network, run.source, folder)

    run.processes.write(write)


class _StageRun:
    """One stage: trains its epochs, then averages the best."""

    def __init__(self, run: Run, state: RunState) -> None:
        self._run, self._state, self._log = run, state, run.log
        self._stage = run.recipe.stages[state.stage]
        self._data = StageData(run.source, state.stage)
        updates = self._stage.epochs * self._data.update_count
        self._objective = StageObjective(run.network, self._stage, run.teacher)
        self._updater = Updater(
            run.processes, self._objective, self._stage, run.recipe.training, updates
        )

    def train(self, optimiser: dict[str, Any] | None) -> Validation:
        """Train the remaining epochs, then average the best; returns the evaluation of the average.

        Args:
            optimiser: state of the optimiser if the stage was interrupted; None at its start.
        """
        stage, state = self._stage, self._state
        self._prepare(optimiser)
        while state.epoch < stage.epochs and not state.ready:
            self._run_epoch()
        if state.ready and state.epoch < stage.epochs:
            self._log.info(f"stage '{stage.name}' ends early: {self._why_ready()}")
        return self._finish()

    def _prepare(self, optimiser: dict[str, Any] | None) -> None:
        """Prepare weights, optimiser and data for the next epoch."""
        stage, state, network = self._stage, self._state, self._run.network
        if state.begins_stage:
            if stage.start_from is not None:
                self._run.checkpoints.load_average(stage.start_from, network)
            reinitialise_parts(network, stage.reinitialise, self._run.recipe)
        if optimiser is not None:
            self._updater.load_state_dict(optimiser)
        self._data.open(network.pretrained, self._log)
        every = self._run.recipe.training.validate_every_epochs
        self._log.begin_stage(stage, state, every, self._data.update_count)
        if stage.start_counts and state.start_score is None:
            validation = self._validate()
            state.start_score = self._score(validation)
            self._store(validation)
            self._run.processes.write(lambda: self._log.start(stage, validation))
        if state.begins_stage and stage.keyframes and not stage.start_counts:
            self._check_keyframes()
        check_collapse(stage, state.collapsed_evaluations)  # fails again if resumed after it

    def _run_epoch(self) -> None:
        """Train an epoch, evaluate it if it is due, and store it."""
        stage, state = self._stage, self._state
        statistics = self._train_epoch()
        state.epoch += 1
        every = self._run.recipe.training.validate_every_epochs
        validation = None
        if state.epoch % every == 0 or state.epoch == stage.epochs:
            validation = self._validate()
            self._count_improvement(validation)
            state.ready = inter_ctc_is_ready(stage, validation) or self._is_out_of_patience()
            state.collapsed_evaluations = count_collapsed(
                stage, validation, state.collapsed_evaluations
            )
        self._store(validation)
        self._run.processes.write(lambda: self._log.end_epoch(stage, state, statistics, validation))
        check_collapse(stage, state.collapsed_evaluations)

    def _train_epoch(self) -> EpochStatistics:
        """Train one pass over the data; returns the sums over all processes."""
        state = self._state
        statistics = EpochStatistics(self._data.own_batch_count)
        self._objective.train()
        self._objective.masking = self._data.masking(state.epoch)
        self._objective.chunking = self._data.chunking(state.epoch)
        self._updater.take_weights()
        shares, state.shares = state.shares, []
        every = self._run.recipe.training.save_every_updates
        for batches in statistics.timed(self._data.updates(state.epoch, state.updates)):
            take_up(shares, statistics, self._run.processes)
            shares = []
            state.step += 1
            state.updates += 1
            statistics.learning_rate, results = self._updater.update(batches, state.step)
            statistics.add(*results)
            self._log.update(self._stage, state, statistics)
            if every is not None and state.updates % every == 0:
                self._store_updates(statistics)
        statistics.add(*self._updater.read())
        self._updater.give_weights()
        take_up(shares, statistics, self._run.processes)  # if the epoch was complete
        state.updates = 0
        return statistics.over_processes(self._run.processes.sum)

    def _validate(self) -> Validation:
        batches = self._data.dev_batches()
        run = self._run
        half = autocast_type(run.recipe.training.precision, run.processes.device)
        return validate(self._objective, batches, self._stage.name, run.processes.sum, half)

    def _score(self, validation: Validation) -> float:
        return validation.error if self._stage.select_by == "error" else validation.loss

    def _count_improvement(self, validation: Validation) -> None:
        state = self._state
        is_better = not state.best or self._score(validation) < state.best[0][0]
        state.without_improvement = 0 if is_better else state.without_improvement + 1

    def _is_out_of_patience(self) -> bool:
        patience = self._stage.patience
        return patience is not None and self._state.without_improvement >= patience

    def _why_ready(self) -> str:
        if self._is_out_of_patience():
            return (
                f"no improvement on the development set in {self._state.without_improvement} "
                "evaluations"
            )
        return "its inter-CTC is ready"

    def _store(self, validation: Validation | None) -> None:
        """Store the epoch with its score."""
        score = None if validation is None else self._score(validation)
        self._run.checkpoints.store_epoch(
            self._stage, self._state, self._run.network, self._updater.state_dict(), score
        )

    def _store_updates(self, statistics: EpochStatistics) -> None:
        """Store the updates of the epoch so far."""
        statistics.add(*self._updater.read())  # also checks that the weights are finite
        self._updater.give_weights()
        processes = self._run.processes
        shares = processes.gather(own_share(statistics, processes))
        self._run.checkpoints.store_updates(
            replace(self._state, shares=shares), self._run.network, self._updater.state_dict()
        )

    def _finish(self) -> Validation:
        """Average the best epochs, evaluate the average and store it."""
        if not self._state.best:  # resumed with fewer epochs, before any was evaluated
            self._store(self._validate())
        checkpoints, network = self._run.checkpoints, self._run.network
        network.load_state_dict(checkpoints.average_best(self._stage, self._state))
        validation = self._validate()
        start = self._state.start_score
        if start is not None and self._score(validation) > start:
            checkpoints.load_best(self._stage, self._state, network)
            validation = self._validate()
        # before the state: what is killed in between logs it again, but never leaves it out
        is_start = self._state.start_is_best
        self._run.processes.write(lambda: self._log.end_stage(self._stage, validation, is_start))
        checkpoints.finish_stage(
            self._stage,
            self._state,
            network,
            lambda folder: save_stage_model(
                self._stage, network, self._run.source, folder, self._data.store
            ),
            keep_last=continues(self._stage) and not self._state.ready,
        )
        return validation

    def _check_keyframes(self) -> None:
        low, high = HEALTHY_KEYFRAMES_PER_TOKEN
        found = self._validate().keyframes_per_token
        if not low <= found <= high:
            self._log.warning(
                f"stage '{self._stage.name}' starts with {found:.2f} keyframes per token, outside "
                f"{low}-{high}: the inter-CTC is not ready. The stage goes on; if its errors stay "
                "high, train the previous stage longer"
            )
