"""Log of a run: progress on standard error, a JSON line per epoch, and TensorBoard scalars."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from torch.utils.tensorboard import SummaryWriter

from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.errors import TrainingError
from keyframe_asr.timing import SECONDS_BETWEEN_LINES
from keyframe_asr.training.checkpoint import NO_SPACE, RunState
from keyframe_asr.training.epoch_statistics import EpochStatistics
from keyframe_asr.training.resuming import Resumed
from keyframe_asr.training.validation import Validation

LOG_FILE = "log.jsonl"

START_IS_KEPT = "start_is_kept"
"""Key of a finished stage in the log: True if no epoch was better than its start."""


class StageClock:
    """Estimates the remaining time of a stage from what this process has done of it.

    Evaluations are counted apart from training: otherwise the estimate would jump at each of them.

    Args:
        now: monotonic time in seconds.
        done: epochs done before this process started.
        total: epochs of the stage.
        every: epochs between evaluations.
    """

    def __init__(self, now: float, done: float, total: float, every: int = 1) -> None:
        self._began, self._before, self._total, self._every = now, done, total, every
        self._evaluating, self._evaluations = 0.0, 0

    def evaluated(self, seconds: float) -> None:
        """Count an evaluation that took so long, and was not training."""
        self._evaluating += seconds
        self._evaluations += 1

    def seconds_left(self, now: float, done: float) -> float | None:
        """Estimate the seconds left after `done` epochs; None if this process has done nothing."""
        new = done - self._before
        if new <= 0:
            return None
        training = (now - self._began - self._evaluating) / new * max(0.0, self._total - done)
        evaluations = -(-self._total // self._every) - done // self._every
        each = self._evaluating / max(1, self._evaluations)
        return training + each * max(0.0, evaluations)


def duration(seconds: float | None) -> str:
    """Format seconds as `3 h 05 min`, `12 min` or `40 s`; `?` for None."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class TrainingLog:
    """Writes `log.jsonl` and TensorBoard files to a folder, and progress to standard error.

    Args:
        folder: folder of the run.
        quiet: write nothing to standard error.
        writes: True in the process that writes; the others log nothing.
        now: monotonic clock, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        quiet: bool = False,
        writes: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._now = now
        self._console = Console(file=sys.stderr, quiet=quiet or not writes, emoji=False)
        self._writes = writes
        self._writer: SummaryWriter | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._clock = StageClock(0.0, 0.0, 0.0)
        self._last_line = self._trained_until = self._now()
        self._shown = ""

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop_bar()
        if self._writer is not None:
            with suppress(OSError):  # told when the scalars were written
                self._writer.close()

    def info(self, message: str) -> None:
        """Log a message."""
        self._print(escape(message))

    def warning(self, message: str) -> None:
        """Log a warning."""
        self._print(f"[yellow]warning:[/yellow] {escape(message)}")

    def begin_stage(
        self, stage: StageConfig, state: RunState, every: int = 1, updates: int = 1
    ) -> None:
        """Start the progress bar of a stage.

        Args:
            stage: the stage.
            state: where it goes on.
            every: epochs between evaluations.
            updates: updates of an epoch.
        """
        self._stop_bar()
        done = state.epoch + min(1.0, state.updates / updates)
        self._clock = StageClock(self._now(), done, stage.epochs, every)
        self._trained_until = self._now()
        self._shown = ""
        epochs = "1 epoch" if stage.epochs == 1 else f"{stage.epochs} epochs"
        resumed = f", resumed after {state.epoch}"
        if state.updates:
            resumed += f" and {state.updates} updates"
        self._print(
            f"stage [bold]{escape(stage.name)}[/bold]: {epochs}"
            + ("" if state.begins_stage else resumed)
        )
        if self._console.is_terminal and not self._console.quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[described]}"),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                escape(stage.name), total=stage.epochs, completed=state.epoch, described=""
            )

    def start(self, stage: StageConfig, validation: Validation) -> None:
        """Log the evaluation of the weights at the start of a stage."""
        self._count_evaluation()
        self._log({"stage": stage.name, "epoch": 0, **_measured(validation)})
        self._shown = f", {_error(validation)}"
        self._print(f"{escape(stage.name)} at the start: {_error(validation)}")

    def update(self, stage: StageConfig, state: RunState, epoch: EpochStatistics) -> None:
        """Update the progress bar; without a terminal, write a line from time to time."""
        now = self._trained_until = self._now()
        if self._bar is None and now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        done = state.epoch + min(1.0, epoch.batches / epoch.expected_batches)
        left = self._left(now, done)
        described = f"epoch {state.epoch + 1} of {stage.epochs}{self._shown}{left}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, described=described)
        else:
            self._print(f"{escape(stage.name)} {done / stage.epochs:.0%}: {described}")

    def end_epoch(
        self,
        stage: StageConfig,
        state: RunState,
        epoch: EpochStatistics,
        validation: Validation | None,
    ) -> None:
        """Log a finished epoch."""
        numbers = epoch.numbers()
        measured = _measured(validation) if validation else {}
        entry = {"stage": stage.name, "epoch": state.epoch, "step": state.step}
        values = {**numbers, **measured}
        self._log({**entry, **values})
        self._draw({f"{stage.name}/{name}": value for name, value in values.items()}, state.epoch)
        if validation is None:
            return
        self._count_evaluation()
        self._shown = f", {_error(validation)}"
        if self._bar is None:
            left = self._left(self._now(), state.epoch)
            self._print(
                f"{escape(stage.name)} {state.epoch} of {stage.epochs}: {_error(validation)}{left}"
            )

    def resume(self, stage: str, epochs: int, resumed: Resumed, updates: int = 0) -> None:
        """Log how the recipe of a resumed run differs from the run so far.

        Args:
            stage: name of the stage that goes on.
            epochs: epochs of it that are done.
            resumed: the differences.
            updates: updates of the next epoch that are done.
        """
        for change in resumed.changes:
            self.info(f"resumed with another recipe: {change}")
        for change in resumed.without_effect:
            self.warning(f"without effect on a finished stage: {change}")
        changed = {
            one.key: [one.before, one.now]
            for one in resumed.changes
            if epochs
            or updates
            or not one.key.startswith("stages.")  # not of stages that have not begun
        }
        if changed:
            self._log({"stage": stage, "resumed_after": epochs, "changed": changed})

    def end_stage(self, stage: StageConfig, validation: Validation, is_start: bool = False) -> None:
        """Log the evaluation of the final weights of a stage.

        Args:
            stage: the stage.
            validation: evaluation of the average of its best epochs.
            is_start: True if no epoch was better than the start, which is kept.
        """
        self._stop_bar()
        end = "no epoch was better, the start is kept" if is_start else "the best epochs averaged"
        self._print(
            f"stage [bold]{escape(stage.name)}[/bold] is done ({end}): {_error(validation)}, "
            f"{validation.frame_reduction:.0%} of the frames dropped"
        )
        entry = {"stage": stage.name, "averaged": True, START_IS_KEPT: is_start}
        self._log({**entry, **_measured(validation)})

    def _count_evaluation(self) -> None:
        """Count the time since the last update of the weights as an evaluation."""
        self._clock.evaluated(self._now() - self._trained_until)

    def _left(self, now: float, done: float) -> str:
        seconds = self._clock.seconds_left(now, done)
        return "" if seconds is None else f", {duration(seconds)} left"

    def _print(self, markup: str) -> None:
        self._last_line = self._now()
        self._console.print(markup, highlight=False, soft_wrap=True)

    def _log(self, entry: dict[str, Any]) -> None:
        if self._writes:
            append_line(self._folder / LOG_FILE, entry)

    def _draw(self, values: dict[str, float], epoch: int) -> None:
        """Write scalars for TensorBoard."""
        if not self._writes:
            return
        folder = self._folder / "tensorboard"
        try:
            if self._writer is None:
                self._writer = SummaryWriter(str(folder))
            for name, value in values.items():
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
        except OSError as error:
            raise TrainingError(
                f"{folder}: cannot be written ({error.strerror or error}); {NO_SPACE}"
            ) from error

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Append a JSON line to a file.

    Raises:
        TrainingError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line that was cut off, by a kill or a full disk
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written ({error.strerror}); {NO_SPACE}") from error


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of the log in a run's folder, without lines that a kill cut off."""
    path = folder / LOG_FILE
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                yield json.loads(line)


def _measured(validation: Validation) -> dict[str, float]:
    values = asdict(validation).items()
    return {f"dev_{name}": value for name, value in values if value is not None}


def _error(validation: Validation) -> str:
    return f"{validation.error:.1%} of the tokens wrong on the development set"
