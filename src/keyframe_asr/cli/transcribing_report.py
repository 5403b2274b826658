"""How far `keyframe transcribe` is, and in the end what became of all recordings."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from keyframe_asr.cli.error_line import show_error
from keyframe_asr.errors import KeyframeError

PATIENCE_SECONDS = 2.0
"""What is done sooner needs no progress bar."""

FAILURES_SHOWN = 20


class TranscribingReport:
    """Counts recordings; on a terminal it shows a bar, and in the end it sums up.

    The sum is told where recordings were searched for, or several are done before somebody's
    eyes; who names his files one by one in a script hears of failures only.
    """

    def __init__(self, paths: Sequence[Path], skipped: int, searched: bool) -> None:
        self._sizes = [_bytes(path) for path in paths]
        self._shares = [0.0] * len(paths)
        self._work_done = 0.0
        self._skipped = skipped
        self._on_terminal = sys.stderr.isatty()
        self._sums_up = searched or (self._on_terminal and len(paths) + skipped > 1)
        self._began = time.monotonic()
        self._bar: _Bar | None = None
        self.failures: list[tuple[Path, str]] = []
        self._seconds = 0.0
        self._done = 0

    @property
    def failed(self) -> int:
        """Recordings that gave no result."""
        return len(self.failures)

    def __enter__(self) -> Self:
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

    def progress(self, place: int, share: float) -> None:
        """A recording is done to that share."""
        self._work_done += self._sizes[place] * (share - self._shares[place])
        self._shares[place] = share
        if not self._on_terminal or time.monotonic() - self._began < PATIENCE_SECONDS:
            return
        if self._bar is None:
            self._bar = _Bar(sum(self._sizes))
        self._bar.show(self._work_done, self._counts())

    def success(self, place: int, seconds: float) -> None:
        """A recording of so many seconds has its result."""
        self._done += 1
        self._seconds += seconds
        self.progress(place, 1.0)

    def failure(self, place: int, path: Path, error: KeyframeError) -> None:
        """A recording has none; it is told why at once."""
        self.failures.append((path, str(error)))
        show_error(error)
        self.progress(place, 1.0)

    def summary(self) -> str:
        """Recordings, hours, speed and failures."""
        took = time.monotonic() - self._began
        speed = f", {self._seconds / took:.3g} times real time" if self._seconds else ""
        lines = [f"{self._counts()}; {_spoken(self._seconds)} of audio in {_spoken(took)}{speed}"]
        for path, reason in self.failures[:FAILURES_SHOWN]:
            named = reason if reason.startswith(str(path)) else f"{path}: {reason}"
            lines.append(f"  failed: {' '.join(named.splitlines())}")
        if self.failed > FAILURES_SHOWN:
            lines.append(f"  and {self.failed - FAILURES_SHOWN} more; see above")
        return "\n".join(lines)

    def _counts(self) -> str:
        parts = [f"{self._done} of {len(self._sizes) + self._skipped} recordings done"]
        if self._skipped:
            parts.append(f"{self._skipped} were there already (--overwrite does them again)")
        return ", ".join([*parts, *([f"{self.failed} failed"] if self.failed else [])])


class _Bar:
    """A bar on standard error with the time left, by bytes of the recordings."""

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
            redirect_stdout=sys.stdout.isatty(),  # else results would go where the bar is
        )
        self._task = self._progress.add_task("", total=max(1, total))
        self._progress.start()

    def show(self, done: float, counts: str) -> None:
        self._progress.update(self._task, completed=done, description=counts)

    def close(self) -> None:
        self._progress.stop()


def _spoken(seconds: float) -> str:
    """A length of time in its natural unit."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
