"""`keyframe times`: how far a model's word times are from those of a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keyframe_asr.cli.decode_mode import DecodeMode
from keyframe_asr.cli.error_line import show_error
from keyframe_asr.errors import KeyframeError

if TYPE_CHECKING:
    from keyframe_asr.inference.modes import Mode


def times(
    model: str = typer.Argument(help="Model folder, or the name of a shipped model."),
    manifest: str = typer.Argument(help="lhotse cuts (.jsonl.gz) or table (.tsv, FILE.tsv:SPLIT)."),
    reference: str | None = typer.Option(
        None, help="Model that aligns the texts. Default: the alignments of the manifest."
    ),
    onsets: bool = typer.Option(
        False, "--onsets", help="Compare starts with the onsets of sound after pauses instead."
    ),
    decode: list[DecodeMode] = typer.Option(
        [], "--decode", help="Decode mode; may be repeated. Default: all that the model has."
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write the report here as well."),
    device: str | None = typer.Option(None, help="cpu or cuda. Default: a GPU if there is one."),
) -> None:
    """Measure how far the times of MODEL's words on MANIFEST are from those of a reference."""
    if onsets and reference is not None:
        raise typer.BadParameter("give either --reference or --onsets", param_hint="--onsets")
    from rich.console import Console
    from rich.progress import Progress

    from keyframe_asr.evaluation.report import save_report
    from keyframe_asr.evaluation.times import TimeMeasurement, render_times
    from keyframe_asr.inference.loading import load

    recognizer = load(model, device)
    modes: list[Mode] = [mode.value for mode in decode] or list(recognizer.modes)
    judge = load(reference, device) if reference else None
    measurement = TimeMeasurement(recognizer, list(dict.fromkeys(modes)), judge, onsets)
    console = Console(stderr=True)
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("measuring")
            report = measurement.run(
                manifest, lambda done, total: progress.update(task, completed=done, total=total)
            )
    finally:
        for error in measurement.failed:
            show_error(error)
    if json_file is not None:
        save_report(report, json_file)
    Console().print(render_times(report))
    if measurement.failed:
        raise KeyframeError(
            f"{manifest}: {len(measurement.failed)} recordings could not be read or aligned and "
            "are not counted; see above"
        )
