"""`keyframe evaluate`: error rates, frames dropped and speed of a model on a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keyframe_asr.cli.decode_mode import DecodeMode
from keyframe_asr.cli.error_line import show_error
from keyframe_asr.cli.option_groups import grouped
from keyframe_asr.cli.search_options import SearchOptions
from keyframe_asr.errors import KeyframeError

if TYPE_CHECKING:
    from keyframe_asr.inference.modes import Mode


@grouped
def evaluate(
    model: str = typer.Argument(help="Model folder, or the name of a shipped model."),
    manifest: str = typer.Argument(help="lhotse cuts (.jsonl.gz) or table (.tsv, FILE.tsv:SPLIT)."),
    decode: list[DecodeMode] = typer.Option(
        [], "--decode", help="Decode mode; may be repeated. Default: the model's greedy mode."
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write the report here as well."),
    device: str | None = typer.Option(None, help="cpu or cuda. Default: a GPU if there is one."),
    *,
    search: SearchOptions,
) -> None:
    """Measure error rates, frames dropped and speed of MODEL on MANIFEST."""
    from rich.console import Console
    from rich.progress import Progress

    from keyframe_asr.evaluation.report import render, save_report
    from keyframe_asr.evaluation.scoring import Scoring
    from keyframe_asr.inference.loading import load

    recognizer = load(model, device)
    modes: list[Mode] = [mode.value for mode in decode] or [recognizer.modes[0]]
    options = search.for_modes(recognizer, modes)
    scoring = Scoring(recognizer, list(dict.fromkeys(modes)), options)
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
