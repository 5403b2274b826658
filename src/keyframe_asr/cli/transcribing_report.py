"""Progress and final summary of `keyframe transcribe`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from keyframe_asr.cli.error_line import show_error, show_note
from keyframe_asr.cli.recordings import Recordings
from keyframe_asr.errors import KeyframeError
from keyframe_asr.io.file_size import file_size
from keyframe_asr.timing import SECONDS_BETWEEN_LINES

BAR_AFTER_SECONDS = 2.0
"""The progress bar appears after this time."""

FAILURES_SHOWN = LEFT_OUT_SHOWN = 20


class TranscribingReport:
    """Counts recordings, shows progress, and prints a summary at the end.

    Progress is a bar on a terminal, else a line from time to time. The summary is printed if
    recordings were searched for, if some are skipped, or if there are several and standard error is
    a terminal. A script that names its files else sees progress and failures only.
    """

    def __init__(
        self,
        found: Recordings,
        todo: Sequence[Path],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._found = found
        self._sizes = [file_size(path) for path in todo]
        self._fractions = [0.0] * len(todo)
        self._work_done = 0.0
        self._skipped = len(found.named) - len(todo)
        self._on_terminal = sys.stderr.isatty()
        several_watched = self._on_terminal and len(found.named) > 1
        self._sums_up = found.searched or self._skipped > 0 or several_watched
        self._now = now
        self._began = self._last_line = now()
        self._bar: _Bar | None = None
        self.failures: list[str] = []
        self._seconds = 0.0
        self._done = 0

    @property
    def failed(self) -> int:
        """Number of recordings without a result."""
        return len(self.failures)

    def __enter__(self) -> Self:
        left_out = self._found.skipped
        for one in left_out[:LEFT_OUT_SHOWN]:
            show_note(f"left out: {one.path}: {one.reason}")
        if len(left_out) > LEFT_OUT_SHOWN:
            show_note(f"left out: {len(left_out) - LEFT_OUT_SHOWN} more")
        for error in self._found.failed:
            self.failures.append(str(error))
            show_error(error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._sums_up and kind is None:
            print(self.summary(), file=sys.stderr)

    def progress(self, index: int, fraction: float) -> None:
        """Record that this fraction of a recording is done."""
        self._work_done += self._sizes[index] * (fraction - self._fractions[index])
        self._fractions[index] = fraction
        moment = self._now()
        if not self._on_terminal:
            if moment - self._last_line >= SECONDS_BETWEEN_LINES:
                self._last_line = moment
                show_note(f"{self._work_done / max(1, sum(self._sizes)):.0%}, {self._counts()}")
            return
        if moment - self._began < BAR_AFTER_SECONDS:
            return
        if self._bar is None:
            self._bar = _Bar(sum(self._sizes))
        self._bar.show(self._work_done, self._counts())

    def success(self, index: int, seconds: float) -> None:
        """Count a recording of this duration as done."""
        self._done += 1
        self._seconds += seconds
        self.progress(index, 1.0)

    def failure(self, index: int, path: Path, error: KeyframeError) -> None:
        """Count a recording as failed, and print the error at once."""
        reason = str(error)
        self.failures.append(reason if reason.startswith(str(path)) else f"{path}: {reason}")
        show_error(error)
        self.progress(index, 1.0)

    def summary(self) -> str:
        """Return the number of recordings, their duration, the speed and the failures."""
        took = self._now() - self._began
        speed = f", {self._seconds / took:.3g} times real time" if self._seconds else ""
        lines = [
            f"{self._counts()}; {_readable(self._seconds)} of audio in {_readable(took)}{speed}"
        ]
        for named in self.failures[:FAILURES_SHOWN]:
            lines.append(f"  failed: {' '.join(named.splitlines())}")
        if self.failed > FAILURES_SHOWN:
            lines.append(f"  and {self.failed - FAILURES_SHOWN} more; see above")
        return "\n".join(lines)

    def _counts(self) -> str:
        whole = len(self._found.named) + len(self._found.failed)
        parts = [f"{self._done} of {whole} recordings done"]
        if self._skipped:
            parts.append(f"{self._skipped} skipped: output exists (--overwrite repeats them)")
        if self._found.skipped:
            parts.append(f"{len(self._found.skipped)} left out")
        return ", ".join([*parts, *([f"{self.failed} failed"] if self.failed else [])])


class _Bar:
    """A progress bar on standard error with the time left, measured in bytes of recordings."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # keeps results out of the bar
        )
        self._task = self._progress.add_task("", total=max(1, total))
        self._progress.start()

    def show(self, done: float, counts: str) -> None:
        self._progress.update(self._task, completed=done, description=counts)

    def close(self) -> None:
        self._progress.stop()


def _readable(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"
