"""`keyframe evaluate`: error rates, frames dropped and speed of a model on a manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from keyframe_asr.cli.error_line import show_error
from keyframe_asr.cli.options import (
    SEARCH_FLAGS,
    DecodeModes,
    Device,
    JsonFile,
    Manifest,
    Model,
    decode_modes,
    grouped,
)
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.options import RecognitionOptions


@grouped
def evaluate(
    model: Model,
    manifest: Manifest,
    decode: DecodeModes = None,
    json_file: JsonFile = None,
    device: Device = None,
    *,
    options: Annotated[RecognitionOptions, SEARCH_FLAGS],
) -> None:
    """Measure a model's error rate, dropped frames and speed on a test set."""
    modes = decode_modes(decode)
    for mode in modes:
        replace(options, decode=mode)  # wrong usage is said before the model is loaded
    from rich.console import Console
    from rich.progress import Progress

    from keyframe_asr.evaluation.report import render, save_report
    from keyframe_asr.evaluation.scoring import Scoring
    from keyframe_asr.inference.recognizer import load

    recognizer = load(model, device)
    scoring = Scoring(recognizer, modes or recognizer.modes[:1], options)
    console = Console(stderr=True)
    try:
        # elsewhere than on a terminal it would write an empty line
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("recognising")
            report = scoring.run(
                manifest, lambda done, total: progress.update(task, completed=done, total=total)
            )
    finally:
        for error in scoring.failed:
            show_error(error)
    if json_file is not None:
        save_report(report, json_file)
    Console().print(render(report))
    if scoring.failed:
        raise KeyframeError(
            f"{manifest}: {len(scoring.failed)} of {len(scoring.failed) + report['utterances']} "
            "recordings could not be read and are not counted; see above"
        )
