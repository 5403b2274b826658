"""`keyframe measure-times`: compare a model's word times with reference times."""

from __future__ import annotations

from typing import Annotated

import typer

from keyframe_asr.cli.measuring import measure
from keyframe_asr.cli.options import (
    AllDecodeModes,
    Device,
    JsonFile,
    Manifest,
    Model,
    decode_modes,
)


def measure_times(
    model: Model,
    manifest: Manifest,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Model whose forced alignments are the reference. Default: the alignments in the "
            "manifest."
        ),
    ] = None,
    onsets: Annotated[
        bool,
        typer.Option(
            "--onsets", help="Compare word starts with the onsets of sound after pauses instead."
        ),
    ] = False,
    decode: AllDecodeModes = None,
    json_file: JsonFile = None,
    device: Device = None,
) -> None:
    """Measure the accuracy of a model's word times."""
    if onsets and reference is not None:
        raise typer.BadParameter("give either --reference or --onsets", param_hint="--onsets")
    modes = decode_modes(decode)
    from keyframe_asr.evaluation.times import TimeMeasurement, render_times
    from keyframe_asr.inference.recognizer import load

    recognizer = load(model, device)
    judge = load(reference, device) if reference else None
    measurement = TimeMeasurement(recognizer, modes or recognizer.modes, judge, onsets)
    measure(measurement, manifest, render_times, json_file)
