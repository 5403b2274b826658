"""What a training says while it runs: a progress line, a JSON log and TensorBoard scalars."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from keyframe_asr.config import StageConfig
from keyframe_asr.data.dataset import Batch
from keyframe_asr.model.network import Encoded
from keyframe_asr.training import checkpoint
from keyframe_asr.training.validation import Validation


@dataclass
class EpochReport:
    """Sums over the batches of one epoch."""

    started: float
    expected_batches: int
    learning_rate: float = 0.0
    batches: int = 0
    utterances: int = 0
    loss: float = 0.0
    audio_seconds: float = 0.0
    frames: int = 0
    keyframes: int = 0
    tokens: int = 0
    parts: dict[str, float] = field(default_factory=dict)

    def add(
        self, batch: Batch, loss: float, parts: dict[str, Tensor], encoded: Encoded
    ) -> None:
        """Take one batch into account."""
        count = len(batch.ids)
        self.batches += 1
        self.utterances += count
        self.loss += loss * count
        self.audio_seconds += batch.audio_seconds
        self.tokens += int(batch.token_lengths.sum())
        self.frames += int(encoded.frame_lengths.sum())
        self.keyframes += int(encoded.keyframes.lengths.sum())
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + float(value.detach()) * count

    def numbers(self) -> dict[str, float]:
        """Means per utterance and ratios."""
        count = max(1, self.utterances)
        return {
            "loss": self.loss / count,
            **{f"loss_{name}": value / count for name, value in self.parts.items()},
            "learning_rate": self.learning_rate,
            "keyframes_per_token": self.keyframes / max(1, self.tokens),
            "frame_reduction": 1 - self.keyframes / max(1, self.frames),
            "seconds": time.monotonic() - self.started,
            "audio_seconds": self.audio_seconds,
        }


class TrainingReport:
    """Writes `log.jsonl` and TensorBoard files to a folder and progress to standard error."""

    def __init__(self, folder: Path, quiet: bool = False) -> None:
        self._folder = folder
        self._console = Console(file=sys.stderr, quiet=quiet)
        self._writer = SummaryWriter(str(folder / "tensorboard"))
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingReport:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop_progress()
        self._writer.close()

    def warn(self, message: str) -> None:
        """Say something the user should act on."""
        self._console.print(f"[yellow]warning:[/yellow] {message}", highlight=False)

    def begin_stage(self, stage: StageConfig, progress: checkpoint.Progress) -> None:
        """Start the progress bar of a stage."""
        self._stop_progress()
        self._console.print(
            f"stage [bold]{stage.name}[/bold]: {stage.epochs} epochs"
            + (f", resumed after {progress.epoch}" if progress.epoch else ""),
            highlight=False,
        )
        if self._console.is_terminal and not self._console.quiet:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[state]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._progress.start()
            self._task = self._progress.add_task(
                stage.name, total=stage.epochs, completed=progress.epoch, state=""
            )

    def batch(self, stage: StageConfig, progress: checkpoint.Progress, epoch: EpochReport) -> None:
        """Move the progress bar."""
        if self._progress is None or self._task is None:
            return
        numbers = epoch.numbers()
        done = progress.epoch + min(1.0, epoch.batches / epoch.expected_batches)
        state = (
            f"epoch {progress.epoch + 1}/{stage.epochs} loss {numbers['loss']:.3f} "
            f"rate {numbers['learning_rate']:.1e} "
            f"keyframes/token {numbers['keyframes_per_token']:.2f}"
        )
        self._progress.update(self._task, completed=done, state=state)

    def end_epoch(
        self,
        stage: StageConfig,
        progress: checkpoint.Progress,
        epoch: EpochReport,
        validation: Validation | None,
    ) -> None:
        """Log an epoch that is over."""
        numbers = epoch.numbers()
        measured = {f"dev_{k}": v for k, v in asdict(validation).items()} if validation else {}
        entry = {"stage": stage.name, "epoch": progress.epoch, "step": progress.step}
        checkpoint.append_log(self._folder / "log.jsonl", {**entry, **numbers, **measured})
        for name, value in {**numbers, **measured}.items():
            self._writer.add_scalar(f"{stage.name}/{name}", value, progress.epoch)
        if validation is not None and self._progress is None:
            left = numbers["seconds"] * (stage.epochs - progress.epoch)
            self._console.print(
                f"{stage.name} {progress.epoch}/{stage.epochs} loss {numbers['loss']:.3f} "
                f"rate {numbers['learning_rate']:.1e} "
                f"dev error {validation.error:.1%} (inter {validation.inter_error:.1%}) "
                f"keyframes/token {validation.keyframes_per_token:.2f} "
                f"{numbers['seconds']:.1f} s, {left / 60:.0f} min left",
                highlight=False,
            )

    def end_stage(self, stage: StageConfig, validation: Validation) -> None:
        """Say what the averaged weights of a stage reach."""
        self._stop_progress()
        self._console.print(
            f"stage [bold]{stage.name}[/bold] averaged: dev token error {validation.error:.1%}, "
            f"frames dropped {validation.frame_reduction:.1%}, "
            f"keyframes per token {validation.keyframes_per_token:.2f}",
            highlight=False,
        )
        entry = {"stage": stage.name, "averaged": True}
        measured = {f"dev_{name}": value for name, value in asdict(validation).items()}
        checkpoint.append_log(self._folder / "log.jsonl", {**entry, **measured})

    def _stop_progress(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
