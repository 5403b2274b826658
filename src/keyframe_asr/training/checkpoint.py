"""Checkpoints: state and weights of a run for resuming, and the average of the best epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.errors import TrainingError
from keyframe_asr.io.atomic_write import replacing
from keyframe_asr.training.distributed import Processes

STATE_FILE = "state.pt"

Stored = tuple["RunState", dict[str, Tensor], dict[str, Any] | None]
"""State of a run, weights, and state of the optimiser (None at the start of a stage)."""

NO_SPACE = "free disk space or choose another folder, then continue with --resume"
"""Advice if a file of a run cannot be written."""


@dataclass
class RunState:
    """Position of a run.

    Attributes:
        stage: index of the stage, from 0.
        epoch: index of the next epoch of the stage, from 0.
        step: updates of the stage so far.
        best: (score, weights file) of the best epochs of the stage, best first.
        collapsed_evaluations: consecutive evaluations whose error indicates a collapse.
        ready: True if the stage ends before its last epoch.
        start_score: score of the weights at the start of the stage, if they count.
        without_improvement: consecutive evaluations without a better score than before.
        updates: updates of the next epoch that are done, if the state is from within it.
        shares: what each process knew of that epoch, in order (`epoch_share`).
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    best: list[tuple[float, str]] = field(default_factory=list)
    collapsed_evaluations: int = 0
    ready: bool = False
    start_score: float | None = None
    without_improvement: int = 0
    updates: int = 0
    shares: list[dict[str, Any]] = field(default_factory=list)

    @property
    def begins_stage(self) -> bool:
        """True before the first update of the stage."""
        return self.epoch == 0 and self.updates == 0

    @property
    def candidates(self) -> list[tuple[float, str]]:
        """The best epochs, without the start if any is better than it."""
        better = [one for one in self.best if self.start_score is None or one[0] < self.start_score]
        return better or self.best

    @property
    def start_is_best(self) -> bool:
        """True if the start counts, and no epoch is better."""
        return self.start_score is not None and self.candidates[0][0] >= self.start_score


@dataclass(frozen=True)
class Progress:
    """What a run has finished.

    Attributes:
        state: state of the run.
        last: state after the last epoch of the last finished stage, if it can be trained on.
    """

    state: RunState
    last: RunState | None

    @property
    def finished(self) -> int:
        """Number of finished stages."""
        return self.state.stage


class Checkpoints:
    """Stores the state and weights of a run in its folder.

    Weights are written first, then the state that lists them. So a run that is killed between two
    writes loses at most the epoch that was being stored.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._folder, self._processes = folder, processes

    def restore(
        self, network: nn.Module, *, trains_on: bool = False
    ) -> tuple[RunState, dict[str, Any] | None] | None:
        """Load the latest weights into the network.

        Args:
            network: network of the run.
            trains_on: go back to the last epoch of the last finished stage.

        Returns:
            State of the run, and of the optimiser (None at the start of a stage); None if nothing
            is stored.

        Raises:
            TrainingError: the state cannot be read, or its weights do not match the network.
        """
        restored = load_last_epoch(self._folder) if trains_on else load_state(self._folder)
        if restored is None:
            return None
        state, weights, optimiser = restored
        _load_into(network, weights, self._folder / STATE_FILE)
        return state, optimiser

    def store_epoch(
        self,
        stage: StageConfig,
        state: RunState,
        network: nn.Module,
        optimiser: dict[str, Any],
        score: float | None,
    ) -> None:
        """Store a finished epoch.

        Args:
            stage: stage of the epoch.
            state: state after the epoch; its `best` is updated if the epoch is one of the best.
            network: network whose weights are stored.
            optimiser: state of the optimiser.
            score: score of the epoch, lower is better; None if it was not evaluated.

        Raises:
            TrainingError: a file cannot be written.
        """
        name = None if score is None else rank(state, score, stage.average_best)
        weights, folder = network.state_dict(), self._folder / stage.name

        def write() -> None:
            if name is not None:
                save_weights(weights, folder / name)
            save_state(self._folder, state, weights, optimiser)
            remove_unlisted(state, folder)

        self._processes.write(write)

    def store_updates(self, state: RunState, network: nn.Module, optimiser: dict[str, Any]) -> None:
        """Store the updates of an epoch so far, in place of what was stored last.

        Raises:
            TrainingError: a file cannot be written.
        """
        weights = network.state_dict()
        self._processes.write(lambda: save_state(self._folder, state, weights, optimiser))

    def average_best(self, stage: StageConfig, state: RunState) -> dict[str, Tensor]:
        """Average the weights of the best epochs of a stage.

        Raises:
            TrainingError: a file is missing or damaged, or not visible to every machine.
        """
        paths = [self._folder / stage.name / name for _, name in state.candidates]
        self._processes.check_shared(paths[0])
        return average_weights(paths)

    def load_best(self, stage: StageConfig, state: RunState, network: nn.Module) -> None:
        """Load the weights of the best epoch of a stage. Raises as `average_best`."""
        path = self._folder / stage.name / state.candidates[0][1]
        _load_into(network, load_weights(path), path)

    def finish_stage(
        self,
        stage: StageConfig,
        state: RunState,
        network: nn.Module,
        write_model: Callable[[Path], object],
        keep_last: bool,
    ) -> None:
        """Store the network, which has the averaged weights, and move on to the next stage.

        Args:
            stage: stage to finish.
            state: its state.
            network: network of the run.
            write_model: writes the model into the folder of the stage. The state comes after it,
                so that a run that is killed in between writes it again.
            keep_last: keep the last epoch until the next stage has one, to train on from there.

        Raises:
            TrainingError: a file cannot be written.
            ModelError: the model cannot be written.
        """
        weights, following = network.state_dict(), RunState(stage=state.stage + 1)

        def write() -> None:
            folder = self._folder / stage.name
            save_weights(weights, averaged_weights(folder))
            write_model(folder)
            last = load_state(self._folder) if keep_last else None
            save_state(self._folder, following, weights, None, last)

        self._processes.write(write)

    def load_average(self, stage: str, network: nn.Module) -> None:
        """Load the averaged weights of a finished stage.

        Raises:
            TrainingError: the weights cannot be read, or do not match the network.
        """
        path = averaged_weights(self._folder / stage)
        _load_into(network, load_weights(path), path)


def averaged_weights(folder: Path) -> Path:
    """Path of the averaged weights in the folder of a stage."""
    return folder / "averaged.safetensors"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary path)`, flush the file to disk, then rename it to `path`.

    Must be called by one process only.

    Raises:
        TrainingError: the file cannot be written, for example because the disk is full; the
            previous file at `path` is unchanged.
    """
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # of a run that was killed
        left.unlink(missing_ok=True)
    try:
        with replacing(path, NO_SPACE, TrainingError, flush=True) as temporary:
            write(temporary)
    except (RuntimeError, SafetensorError) as error:  # raised if the disk is full
        raise TrainingError(
            f"{path}: cannot be written ({_one_line(error)}); {NO_SPACE}"
        ) from error


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Store named tensors as safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Load named tensors from safetensors. Raises `TrainingError` if the file cannot be read."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path}: cannot be read as weights ({_one_line(error)}); copy the file again"
        ) from error


def save_state(
    folder: Path,
    state: RunState,
    weights: dict[str, Tensor],
    optimiser: dict[str, Any] | None,
    last: Stored | None = None,
) -> None:
    """Store everything needed to resume, in one file.

    Args:
        folder: folder of the run.
        state: state of the run.
        weights: weights of the network.
        optimiser: state of the optimiser; None at the start of a stage.
        last: the same after the last epoch of the stage before, to train on from there.
    """
    stored = _stored(state, weights, optimiser)
    if last is not None:
        stored["last_epoch"] = _stored(*last)
    write_atomically(folder / STATE_FILE, lambda temporary: torch.save(stored, temporary))


def load_state(folder: Path) -> Stored | None:
    """Load what `save_state` stored; None if nothing is stored.

    Raises:
        TrainingError: the file exists but cannot be read.
    """
    return _load(folder, lambda stored: stored)


def load_last_epoch(folder: Path) -> Stored | None:
    """Load the last epoch of the last finished stage; None if it is not stored. Raises as above."""
    return _load(folder, lambda stored: stored.get("last_epoch"))


def load_progress(folder: Path) -> Progress:
    """Load what a run has finished, without its weights. Raises as above."""
    state = _load(folder, lambda stored: stored, mmap=True)
    last = _load(folder, lambda stored: stored.get("last_epoch"), mmap=True)
    return Progress(state[0] if state else RunState(), last[0] if last else None)


def _stored(
    state: RunState, weights: dict[str, Tensor], optimiser: dict[str, Any] | None
) -> dict[str, Any]:
    return {"progress": asdict(state), "weights": weights, "optimiser": optimiser}


def _load(
    folder: Path,
    part: Callable[[dict[str, Any]], dict[str, Any] | None],
    *,
    mmap: bool = False,
) -> Stored | None:
    """Load a part of the file; with `mmap`, tensors are not read until they are used."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        stored = part(torch.load(path, map_location="cpu", weights_only=True, mmap=mmap))
        if stored is None:
            return None
        return _run_state(stored["progress"]), stored["weights"], stored["optimiser"]
    except Exception as error:
        raise TrainingError(
            f"{path}: cannot be read as a checkpoint ({_one_line(error)}); delete it to start "
            "the training again"
        ) from error


def _run_state(values: dict[str, Any]) -> RunState:
    values = dict(values)
    values["best"] = [(score, name) for score, name in values["best"]]
    if "bad" in values:  # its name in version 0.1
        values["collapsed_evaluations"] = values.pop("bad")
    return RunState(**values)


def rank(state: RunState, score: float, count: int) -> str | None:
    """Add the finished epoch to the `count` best if its score is low enough.

    Among equal scores, the latest epoch is the best: before CTC leaves its plateau, all errors are
    100 %. If the start counts, an epoch must be better than it.

    Returns:
        Name of the weights file, or None if the epoch is not among the best.
    """
    name = f"epoch-{state.epoch:04d}.safetensors"
    if state.epoch > 0 and state.start_score is not None and score >= state.start_score:
        return None
    state.best = sorted([(score, name), *state.best], key=lambda entry: entry[0])[:count]
    return name if any(entry[1] == name for entry in state.best) else None


def remove_unlisted(state: RunState, folder: Path) -> None:
    """Delete the weights of epochs no longer in `best`; call it after the state is stored."""
    listed = {name for _, name in state.best}
    for path in folder.glob("epoch-*.safetensors"):
        if path.name not in listed:
            path.unlink()


def average_weights(paths: list[Path]) -> dict[str, Tensor]:
    """Average stored weights; sums in float64, so that the order has little effect.

    Raises:
        TrainingError: a file is missing or damaged.
    """
    total: dict[str, Tensor] = {}
    kinds: dict[str, torch.dtype] = {}
    for path in paths:
        for name, tensor in load_weights(path).items():
            kinds[name] = tensor.dtype
            wide = tensor.double()
            total[name] = total[name] + wide if name in total else wide
    return {name: (tensor / len(paths)).to(kinds[name]) for name, tensor in total.items()}


def _load_into(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights that were read from `path` into the network."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(
            f"{path}: the weights do not match the model of the recipe ({_one_line(error)}); "
            "resume with the original recipe, or train in another folder"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
