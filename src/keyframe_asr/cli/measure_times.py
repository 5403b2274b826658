"""`keyframe measure-times`: how far a model's word times are from those of a reference."""

from __future__ import annotations

from typing import Annotated

import typer

from keyframe_asr.cli.error_line import show_error
from keyframe_asr.cli.options import (
    AllDecodeModes,
    Device,
    JsonFile,
    Manifest,
    Model,
    decode_modes,
)
from keyframe_asr.errors import KeyframeError


def measure_times(
    model: Model,
    manifest: Manifest,
    reference: Annotated[
        str | None,
        typer.Option(help="Model that aligns the texts. Default: the alignments of the manifest."),
    ] = None,
    onsets: Annotated[
        bool,
        typer.Option(
            "--onsets", help="Compare starts with the onsets of sound after pauses instead."
        ),
    ] = False,
    decode: AllDecodeModes = None,
    json_file: JsonFile = None,
    device: Device = None,
) -> None:
    """Measure how accurate a model's word times are."""
    if onsets and reference is not None:
        raise typer.BadParameter("give either --reference or --onsets", param_hint="--onsets")
    modes = decode_modes(decode)
    from rich.console import Console
    from rich.progress import Progress

    from keyframe_asr.evaluation.report import save_report
    from keyframe_asr.evaluation.times import TimeMeasurement, render_times
    from keyframe_asr.inference.recognizer import load

    recognizer = load(model, device)
    judge = load(reference, device) if reference else None
    measurement = TimeMeasurement(recognizer, modes or recognizer.modes, judge, onsets)
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
