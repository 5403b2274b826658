"""`keyframe evaluate`: error rate, dropped frames and speed of a model, and whose errors differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keyframe_asr.cli.measuring import measure
from keyframe_asr.cli.options import (
    COMPUTE_FLAGS,
    OUTPUT_PANEL,
    SEARCH_FLAGS,
    STREAMING_FLAGS,
    DecodeModes,
    JsonFile,
    Manifest,
    Model,
    decode_modes,
    grouped,
)
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions

if TYPE_CHECKING:
    from keyframe_asr.evaluation.scoring import Scoring


@dataclass(frozen=True)
class Outputs:
    """Files that an evaluation writes."""

    json_file: JsonFile = None
    details: Annotated[
        Path | None,
        typer.Option(
            help="Write references, texts, errors, times and confidences of each utterance to "
            "this file (.jsonl).",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None
    page: Annotated[
        Path | None,
        typer.Option(
            help="Write a page (.html) that shows the errors and plays the worst utterances.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None

    def write(self, scoring: Scoring, report: Mapping[str, Any]) -> None:
        """Write details and page. Raises `KeyframeError` if one cannot be written."""
        if self.details is None and self.page is None:
            return
        from keyframe_asr.evaluation.details import save_details
        from keyframe_asr.evaluation.error_page import write_error_page

        details = scoring.details
        if self.details is not None:
            save_details(details, self.details)
        if self.page is not None:
            write_error_page(report, details, self.page)


@grouped
def evaluate(
    model: Model = "",
    manifest: Manifest = "",
    decode: DecodeModes = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Instead of evaluating, compare two results on the same utterances: files of "
            "--json or --details, or FILE:MODE for one decode mode.",
        ),
    ] = None,
    *,
    compute: Annotated[ComputeOptions, COMPUTE_FLAGS],
    outputs: Outputs,
    options: Annotated[RecognitionOptions, {**SEARCH_FLAGS, **STREAMING_FLAGS}],
) -> None:
    """Measure a model's errors and speed on a test set, show them, or compare two results."""
    if compare is not None:
        others = (model, decode, outputs.details, outputs.page)
        if any(others) or (options, compute) != (RecognitionOptions(), ComputeOptions()):
            raise typer.BadParameter(
                "compares stored results; give nothing else but --json",
                param_hint="--compare",
            )
        _compare(*compare, outputs.json_file)
        return
    if not manifest:
        raise typer.BadParameter(
            "missing; give MODEL and MANIFEST, or --compare with two results",
            param_hint="MANIFEST" if model else "MODEL",
        )
    modes = decode_modes(decode)
    for mode in modes:
        replace(options, decode=mode)  # report wrong usage before the model is loaded
    from keyframe_asr.evaluation.report import render
    from keyframe_asr.evaluation.scoring import Scoring
    from keyframe_asr.inference.recognizer import load_for

    recognizer = load_for(model, compute)
    scoring = Scoring(recognizer, modes or [recognizer.search(options).mode], options)
    measure(scoring, manifest, render, outputs.json_file, partial(outputs.write, scoring))


def _compare(a: str, b: str, json_file: Path | None) -> None:
    from keyframe_asr.evaluation.report import save_report
    from keyframe_asr.evaluation.stored_results import compare_results, read_result

    results = read_result(a), read_result(b)
    found = compare_results(*results)
    if json_file is not None:
        report = {"a": a, "b": b, "compared": [one.report() for one in found]}
        save_report(report, json_file)
    left_out = sum(len(one.lengths) - found[0].utterances for one in results)
    typer.echo(f"A: {a}\nB: {b}\n{found[0].utterances} utterances, 95 % intervals")
    if left_out:
        typer.echo(f"{left_out} more are in one result only and do not count")
    for one in found:
        typer.echo(one.described())
