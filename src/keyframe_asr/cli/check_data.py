"""`keyframe check-data`: find problems in manifests before training."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keyframe_asr.cli.measuring import progress_shown
from keyframe_asr.errors import KeyframeError
from keyframe_asr.io.atomic_write import write_whole

if TYPE_CHECKING:
    from keyframe_asr.config.model import NormalisationName
    from keyframe_asr.data.checks.report import DataReport


class Language(StrEnum):
    """Languages with a normal form in `keyframe_asr.text.forms`."""

    english = "english"
    mandarin = "mandarin"


def check_data(
    manifest: list[str] = typer.Argument(
        metavar="MANIFEST",
        help="One manifest per split: lhotse cuts (.jsonl.gz) or a table (FILE.tsv, or "
        "FILE.tsv:SPLIT for one split).",
    ),
    tokenizer: Path | None = typer.Option(
        None,
        help="Folder of a model or prepared corpus whose tokenizer splits the texts. Default: "
        "count characters.",
    ),
    language: Language | None = typer.Option(
        None,
        help="Language whose text normalisation is used. Default: mandarin if most letters are "
        "Han, else english.",
    ),
    json_file: str | None = typer.Option(
        None,
        "--json",
        help="Also write the report to this JSON file; - writes it to standard output instead of "
        "the table.",
    ),
    subsampling_factor: int = typer.Option(
        4, min=1, help="Feature frames (10 ms) per encoder frame of the model to be trained."
    ),
    workers: int = typer.Option(
        0, min=0, help="Number of extra processes that decode audio; 0 decodes in this process."
    ),
) -> None:
    """Find bad audio, bad text, outliers, duplicates and leaks between splits.

    Decodes every recording. The exit code is 1 if there are errors, and 0 if there are only
    warnings and information.
    """
    if twice := sorted({name for name in manifest if manifest.count(name) > 1}):
        raise typer.BadParameter(f"{twice[0]} is given twice; give each split once")
    from rich.console import Console

    from keyframe_asr.data.checks.finding import Severity
    from keyframe_asr.data.checks.report import render, verdict
    from keyframe_asr.data.checks.run import check_manifests
    from keyframe_asr.text.tokenizer import load_tokenizer

    with progress_shown("decoding") as progress:
        report = check_manifests(
            manifest,
            language=language.value if language else None,
            normalisation=_normalisation_of(tokenizer) if tokenizer and not language else None,
            tokenizer=load_tokenizer(tokenizer) if tokenizer else None,
            subsampling_factor=subsampling_factor,
            workers=workers,
            progress=progress,
        )
    if json_file is not None:
        _write(report, json_file)
    if json_file != "-":
        for part in render(report):
            Console().print(part)
    if errors := report.of(Severity.error):
        raise KeyframeError(verdict(errors))


def _normalisation_of(folder: Path) -> NormalisationName | None:
    """Return the normalisation of a prepared corpus or model, or None if the folder has none."""
    from keyframe_asr.config.model import load_model_folder_config
    from keyframe_asr.data.corpora.summary import read_summary
    from keyframe_asr.text.forms import NORMALISATIONS

    if summary := read_summary(folder):
        return next((name for name in NORMALISATIONS if name == summary.normalisation), None)
    if (folder / "config.yaml").is_file():
        return load_model_folder_config(folder / "config.yaml").normalisation
    return None


def _write(report: DataReport, target: str) -> None:
    """Write the report as JSON to a file, or to standard output if the target is "-"."""
    from keyframe_asr.data.checks.report import as_json

    content = json.dumps(as_json(report), ensure_ascii=False, indent=2)
    if target == "-":
        print(content)
        return
    write_whole(Path(target), content + "\n")
