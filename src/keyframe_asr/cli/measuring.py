"""Run a measurement on a manifest: progress, failures, table and report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import typer

from keyframe_asr.cli.error_line import show_error
from keyframe_asr.errors import KeyframeError
from keyframe_asr.timing import SECONDS_BETWEEN_LINES

if TYPE_CHECKING:
    from rich.table import Table

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, total)."""


class ManifestMeasurement(Protocol):
    """A measurement on a manifest. `failed` has one error per recording that is not counted."""

    failed: list[KeyframeError]

    def run(self, manifest: str, progress: Progress) -> dict[str, Any]:
        """Return the report, whose `utterances` is the number of recordings counted."""


def measure(
    measurement: ManifestMeasurement,
    manifest: str,
    render: Callable[[Mapping[str, Any]], Table],
    json_file: Path | None,
    write: Callable[[Mapping[str, Any]], None] = lambda report: None,
) -> None:
    """Run a measurement, print its report as a table, and write it as JSON if a file is given.

    `write` is called with the report before the table is printed.

    Raises:
        KeyframeError: some or all recordings could not be counted.
    """
    from rich.console import Console

    from keyframe_asr.evaluation.report import save_report

    try:
        with progress_shown("recognising") as progress:
            report = measurement.run(manifest, progress)
    finally:
        for error in measurement.failed:
            show_error(error)
    if json_file is not None:
        save_report(report, json_file)
    write(report)
    Console().print(render(report))
    if failed := len(measurement.failed):
        raise KeyframeError(
            f"{manifest}: {failed} of {failed + report['utterances']} recordings were not counted; "
            "see the errors above"
        )


def progress_lines(
    now: Callable[[], float] = time.monotonic,
) -> Callable[[str, int, int], None]:
    """Return a function of (step, done, total) that prints a line to standard error at times."""
    last_line = now()

    def line(doing: str, done: int, total: int) -> None:
        nonlocal last_line
        moment = now()
        if moment - last_line >= SECONDS_BETWEEN_LINES:
            last_line = moment
            typer.echo(f"{doing}: {done} of {total}", err=True)

    return line


@contextmanager
def progress_shown(doing: str, now: Callable[[], float] = time.monotonic) -> Iterator[Progress]:
    """Show progress on standard error: a bar on a terminal, else a line from time to time."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        line = progress_lines(now)
        yield lambda done, total: line(doing, done, total)
        return
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task(doing)
        yield lambda done, total: bar.update(task, completed=done, total=total)
