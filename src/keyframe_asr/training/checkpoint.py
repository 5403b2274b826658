"""Checkpoints: written whole or not at all, averaged at the end of a stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from keyframe_asr.errors import TrainingError
from keyframe_asr.io.atomic_write import replacing

STATE_FILE = "state.pt"

NO_ROOM = "make room or choose another folder, then go on with --resume"
"""What to do if a file of a run cannot be written."""


@dataclass
class Progress:
    """Where a run stands: the next epoch to train of the given stage.

    `best` lists (score, weights file) of the stage's best checkpoints, the best first; `bad` counts
    evaluations in a row whose error was that of a collapse; `ready` says that the stage is over
    before its last epoch.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    best: list[tuple[float, str]] = field(default_factory=list)
    bad: int = 0
    ready: bool = False


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
    folder: Path, progress: Progress, weights: dict[str, Tensor], optimiser: dict[str, Any] | None
) -> None:
    """Store all that is needed to go on from here, in one file."""
    state = {"progress": asdict(progress), "weights": weights, "optimiser": optimiser}
    write_atomically(folder / STATE_FILE, lambda temporary: torch.save(state, temporary))


def load_state(
    folder: Path,
) -> tuple[Progress, dict[str, Tensor], dict[str, Any] | None] | None:
    """What `save_state` stored, or None where nothing is stored yet.

    Raises:
        TrainingError: the file exists but cannot be read.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        values = state["progress"]
        values["best"] = [(score, name) for score, name in values["best"]]
        return Progress(**values), state["weights"], state["optimiser"]
    except Exception as error:
        raise TrainingError(
            f"{path}: cannot be read as a checkpoint ({_one_line(error)}); delete it to train "
            "from the start"
        ) from error


def rank(progress: Progress, score: float, count: int) -> str | None:
    """Enter the epoch that is over into the `count` best, if it is one; returns its weights file.

    Lower scores are better. Of equal scores the latest is the best: before CTC leaves its plateau
    all of them are 100 %.
    """
    name = f"epoch-{progress.epoch:04d}.safetensors"
    progress.best = sorted([(score, name), *progress.best], key=lambda entry: entry[0])[:count]
    return name if any(entry[1] == name for entry in progress.best) else None


def remove_unlisted(progress: Progress, folder: Path) -> None:
    """Delete weights that fell out of the best, after the state that forgot them is stored."""
    listed = {name for _, name in progress.best}
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


def append_log(path: Path, entry: dict[str, Any]) -> None:
    """Add one JSON line to a log.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror}); make room, then go on with --resume"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
