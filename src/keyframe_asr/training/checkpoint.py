"""Checkpoints: what a run stores to be resumed from, and when; averages of the best epochs."""

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

NO_ROOM = "make room or choose another folder, then go on with --resume"
"""What to do if a file of a run cannot be written."""


@dataclass
class RunState:
    """Where a run stands.

    Attributes:
        stage: number of the stage, from 0.
        epoch: of that stage, the next to train.
        step: updates of that stage so far.
        best: (score, weights file) of the stage's best epochs, the best first.
        collapsed_evaluations: in a row, those whose error was that of a collapse.
        ready: whether the stage is over before its last epoch.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    best: list[tuple[float, str]] = field(default_factory=list)
    collapsed_evaluations: int = 0
    ready: bool = False


class Checkpoints:
    """The state and weights of a run, in its folder.

    A run that is killed between two writes loses no more than the epoch that it was about to
    store: weights are written first, then the state that lists them.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._folder, self._processes = folder, processes

    def restore(self, network: nn.Module) -> tuple[RunState, dict[str, Any] | None] | None:
        """Load the weights last stored; returns state and optimiser, None where nothing is stored.

        The optimiser is None at the beginning of a stage.

        Raises:
            TrainingError: the state cannot be read, or its weights do not fit the network.
        """
        restored = load_state(self._folder)
        if restored is None:
            return None
        state, weights, optimiser = restored
        _load(weights, network, self._folder / STATE_FILE)
        return state, optimiser

    def store_epoch(
        self,
        stage: StageConfig,
        state: RunState,
        network: nn.Module,
        optimiser: dict[str, Any],
        score: float | None,
    ) -> None:
        """Store an epoch that is over.

        Args:
            stage: the stage it is of.
            state: after the epoch; the epoch is entered into its `best` if it is one of them.
            network: its weights are stored.
            optimiser: its state.
            score: what epochs are compared by, the lower the better; None if it was not measured.

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

    def average_best(self, stage: StageConfig, state: RunState) -> dict[str, Tensor]:
        """The mean of the weights of the stage's best epochs.

        Raises:
            TrainingError: a file is missing or damaged, or other machines do not see it.
        """
        paths = [self._folder / stage.name / name for _, name in state.best]
        self._processes.check_shared(paths[0])
        return average_weights(paths)

    def finish_stage(self, stage: StageConfig, state: RunState, network: nn.Module) -> None:
        """Store the network, which is the average, and that the next stage comes next.

        Raises:
            TrainingError: a file cannot be written.
        """
        weights, following = network.state_dict(), RunState(stage=state.stage + 1)

        def write() -> None:
            save_weights(weights, averaged_weights(self._folder / stage.name))
            save_state(self._folder, following, weights, None)

        self._processes.write(write)

    def load_average(self, stage: str, network: nn.Module) -> None:
        """Load the averaged weights of a stage that is over.

        Raises:
            TrainingError: they cannot be read, or do not fit the network.
        """
        path = averaged_weights(self._folder / stage)
        _load(load_weights(path), network, path)


def averaged_weights(folder: Path) -> Path:
    """The file of the averaged weights of the stage that has this folder."""
    return folder / "averaged.safetensors"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary path)`, flush it to disk, then rename it to `path`.

    Only one process writes there.

    Raises:
        TrainingError: it cannot be written, for instance because the disk is full; what was at
            `path` before is still there.
    """
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # by a run that was killed meanwhile
        left.unlink(missing_ok=True)
    try:
        with replacing(path, NO_ROOM, TrainingError, flush=True) as temporary:
            write(temporary)
    except (RuntimeError, SafetensorError) as error:  # what torch makes of a full disk
        raise TrainingError(f"{path}: cannot be written ({_one_line(error)}); {NO_ROOM}") from error


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Store named tensors as safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file. Raises `TrainingError` if it cannot be read."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{path}: cannot be read as weights ({_one_line(error)}); copy the file again"
        ) from error


def save_state(
    folder: Path, state: RunState, weights: dict[str, Tensor], optimiser: dict[str, Any] | None
) -> None:
    """Store all that is needed to go on from here, in one file."""
    stored = {"progress": asdict(state), "weights": weights, "optimiser": optimiser}
    write_atomically(folder / STATE_FILE, lambda temporary: torch.save(stored, temporary))


def load_state(
    folder: Path,
) -> tuple[RunState, dict[str, Tensor], dict[str, Any] | None] | None:
    """What `save_state` stored, or None where nothing is stored yet.

    Raises:
        TrainingError: the file exists but cannot be read.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        return _run_state(stored["progress"]), stored["weights"], stored["optimiser"]
    except Exception as error:
        raise TrainingError(
            f"{path}: cannot be read as a checkpoint ({_one_line(error)}); delete it to train "
            "from the start"
        ) from error


def _run_state(values: dict[str, Any]) -> RunState:
    values = dict(values)
    values["best"] = [(score, name) for score, name in values["best"]]
    if "bad" in values:  # its name in version 0.1
        values["collapsed_evaluations"] = values.pop("bad")
    return RunState(**values)


def rank(state: RunState, score: float, count: int) -> str | None:
    """Enter the epoch that is over into the `count` best, if it is one; returns its weights file.

    Lower scores are better. Of equal scores the latest is the best: before CTC leaves its plateau
    all of them are 100 %.
    """
    name = f"epoch-{state.epoch:04d}.safetensors"
    state.best = sorted([(score, name), *state.best], key=lambda entry: entry[0])[:count]
    return name if any(entry[1] == name for entry in state.best) else None


def remove_unlisted(state: RunState, folder: Path) -> None:
    """Delete weights that fell out of the best, once the state that lists the others is stored."""
    listed = {name for _, name in state.best}
    for path in folder.glob("epoch-*.safetensors"):
        if path.name not in listed:
            path.unlink()


def average_weights(paths: list[Path]) -> dict[str, Tensor]:
    """The mean of stored weights, summed in float64 so that their order does not matter much.

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


def _load(weights: dict[str, Tensor], network: nn.Module, path: Path) -> None:
    """Put weights, which were read from the file, into the network."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(
            f"{path}: its weights do not fit the recipe's model ({_one_line(error)}); go on with "
            "the recipe it was made with, or train in another folder"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
