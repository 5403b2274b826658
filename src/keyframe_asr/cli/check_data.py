"""`keyframe check-data`: find problems in manifests before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keyframe_asr.cli.measuring import progress_shown
from keyframe_asr.config.text_choices import TEXT_FORM_NAMES, language_tag
from keyframe_asr.errors import KeyframeError
from keyframe_asr.io.atomic_write import write_whole

if TYPE_CHECKING:
    from keyframe_asr.config.text_form import TextForm
    from keyframe_asr.data.checks.report import DataReport
    from keyframe_asr.text.tokenizer import Tokenizer


def check_data(
    manifest: list[str] = typer.Argument(
        metavar="MANIFEST",
        help="One manifest per split: lhotse cuts (.jsonl.gz), a table (FILE.tsv, FILE.csv, or "
        "FILE.tsv:SPLIT for one split), a Kaldi folder, a folder of recordings and texts, "
        "or a folder of lhotse Shar, also at a URI.",
    ),
    tokenizer: str | None = typer.Option(
        None,
        help="Model, or folder of a prepared corpus, whose tokenizer splits the texts; also says "
        "what fine-tuning of the model would leave out. Default: count characters.",
    ),
    language: str | None = typer.Option(
        None, help="Language of the texts as a tag, such as en. Default: guessed from the scripts."
    ),
    text_form: str | None = typer.Option(
        None, help=f"Form of the texts: {', '.join(TEXT_FORM_NAMES)}. Default: by language."
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
    jobs: int = typer.Option(1, min=1, help="Processes that decode recordings at the same time."),
) -> None:
    """Find bad audio, bad text, outliers, duplicates and leaks between splits.

    Decodes every recording. The exit code is 1 if there are errors, and 0 if there are only
    warnings and information.
    """
    _check_once(manifest)
    from rich.console import Console

    from keyframe_asr.data.checks.finding import Severity
    from keyframe_asr.data.checks.report import render, verdict
    from keyframe_asr.data.checks.run import check_manifests

    folder, loaded, model = _tokenizer_of(tokenizer)
    with progress_shown("decoding") as progress:
        report = check_manifests(
            manifest,
            text_form=_text_form(language, text_form, folder),
            tokenizer=loaded,
            model=model,
            subsampling_factor=subsampling_factor,
            jobs=jobs,
            progress=progress,
        )
    if json_file is not None:
        _write(report, json_file)
    if json_file != "-":
        for part in render(report):
            Console().print(part)
    if errors := report.of(Severity.error):
        raise KeyframeError(verdict(errors))


def _check_once(manifests: list[str]) -> None:
    if twice := sorted({name for name in manifests if manifests.count(name) > 1}):
        raise typer.BadParameter(f"{twice[0]} is given twice; give each split once")


def _tokenizer_of(given: str | None) -> tuple[Path | None, Tokenizer | None, str]:
    """Folder of a tokenizer, the tokenizer, and its model; "" if it is that of a corpus."""
    from keyframe_asr.data.corpora.summary import read_summary
    from keyframe_asr.io.model_folder import CONFIG_FILE, find_model
    from keyframe_asr.text.tokenizer import load_tokenizer

    if given is None:
        return None, None, ""
    if summary := read_summary(Path(given)):
        return Path(given), load_tokenizer(Path(given)), summary.model
    folder = Path(given) if Path(given).is_dir() else find_model(given)
    return folder, load_tokenizer(folder), given if (folder / CONFIG_FILE).is_file() else ""


def _text_form(language: str | None, name: str | None, folder: Path | None) -> TextForm | None:
    """Return the form that the options choose; None if it is to be guessed."""
    from keyframe_asr.config.text_form import TEXT_FORMS, default_form

    if name is not None:
        if name not in TEXT_FORM_NAMES:
            raise typer.BadParameter(
                f"'{name}' is not a text form; give one of {', '.join(TEXT_FORM_NAMES)}",
                param_hint="--text-form",
            )
        return TEXT_FORMS[name]
    if language is not None:
        try:
            return default_form(language_tag(language))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--language") from None
    return _form_of(folder) if folder else None


def _form_of(folder: Path) -> TextForm | None:
    """Return the form of a prepared corpus or model, or None if the folder has none."""
    from keyframe_asr.config.model import load_model_folder_config
    from keyframe_asr.data.corpora.summary import read_summary

    if summary := read_summary(folder):
        return summary.form if summary.text_form else None
    if (folder / "config.yaml").is_file():
        return load_model_folder_config(folder / "config.yaml").text_form
    return None


def _write(report: DataReport, target: str) -> None:
    """Write the report as JSON to a file, or to standard output if the target is "-"."""
    from keyframe_asr.data.checks.report import as_json

    content = json.dumps(as_json(report), ensure_ascii=False, indent=2)
    if target == "-":
        print(content)
        return
    write_whole(Path(target), content + "\n")
