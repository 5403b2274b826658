"""`keyframe tune`: choose how a model is best decoded, and store it with the model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyframe_asr.cli.calibrate import Place, check_place
from keyframe_asr.cli.error_line import show_error
from keyframe_asr.cli.measuring import progress_shown
from keyframe_asr.cli.options import Device, Model, decode_modes, grouped, repeated_decode

if TYPE_CHECKING:
    from keyframe_asr.decoding.lm.scoring import Unit
    from keyframe_asr.evaluation.tuning import Row, Tuned
    from keyframe_asr.inference.recognizer import Recognizer


@grouped
def tune(
    model: Model,
    dev: Annotated[
        str,
        typer.Argument(
            metavar="DEV",
            help="Speech that MODEL was not trained on, and that no error is reported on: lhotse "
            "cuts (.jsonl.gz) or a table (.tsv).",
        ),
    ],
    text: Annotated[
        list[Path] | None,
        typer.Option(
            help="Text file, one sentence per line, for a language model that is tried and, if it "
            "helps, stored with the model; repeat for several. Default: the model's own language "
            "model is tried."
        ),
    ] = None,
    decode: Annotated[
        list[str] | None,
        repeated_decode("all of the model's; attention only if its decoder is pretrained"),
    ] = None,
    device: Device = None,
    *,
    place: Place,
) -> None:
    """Choose decode mode, beam and weights on development data, and store them with the model.

    Without --out and --in-place, only prints what it would choose.
    """
    if place.out is not None and place.in_place:
        raise typer.BadParameter("give either --out or --in-place", param_hint="--out")
    modes = decode_modes(decode)
    from keyframe_asr.evaluation.tuning import tune as choose
    from keyframe_asr.inference.recognizer import load

    check_place(place, model)
    recognizer = load(model, device)
    with tempfile.TemporaryDirectory() as folder:
        built = _language_model(recognizer, text, Path(folder)) if text else None
        with progress_shown("tuning") as progress:
            tuned = choose(recognizer, dev, language_model=built, modes=modes, progress=progress)
        for error in tuned.failed:
            show_error(error)
        _print(tuned, recognizer.config.name)
        if place.out is None and not place.in_place:
            typer.echo("not stored; give --out DIR or --in-place", err=True)
            return
        _store(model, recognizer, tuned, place)


def _language_model(recognizer: Recognizer, texts: list[Path], folder: Path) -> Path:
    """Build a language model from text files; returns its file."""
    from keyframe_asr.decoding.lm.building import build_language_model
    from keyframe_asr.decoding.lm.packed import write_packed
    from keyframe_asr.inference.scorer_files import separates_words
    from keyframe_asr.io.text_file import read_lines

    lines = [
        line for path in texts for line in read_lines(path, "give a text file, a sentence per line")
    ]
    form, tokenizer = recognizer.config.text_form, recognizer.tokenizer
    unit: Unit = "word" if separates_words(form, tokenizer) else "character"
    built = build_language_model(lines, tokenizer, form, unit=unit)
    path = folder / "text.ngram"
    write_packed(built, path)
    return path


def _store(model: str, recognizer: Recognizer, tuned: Tuned, place: Place) -> None:
    from keyframe_asr.io.model_copy import copy_model_folder, store_decoding
    from keyframe_asr.io.model_location import find_model

    folder = find_model(model)
    if place.out is not None:
        copy_model_folder(folder, place.out, recognizer.config)
        folder = place.out
    store_decoding(folder, tuned.decoding, tuned.language_model)
    typer.echo(f"stored in {folder}")
    if recognizer.config.confidences:
        typer.echo(
            "confidences were calibrated before; keyframe calibrate fits them to the new search",
            err=True,
        )


def _print(tuned: Tuned, name: str) -> None:
    """Print the settings that were decoded, and what is chosen."""
    from rich.console import Console

    from keyframe_asr.evaluation.report import empty_table

    table = empty_table(
        f"{name} on {tuned.recordings} recordings",
        ("decode", "search", f"{tuned.unit} %", "RTF", ""),
        texts=2,
    )
    for row in tuned.rows:
        stored = tuned.decoding.searches.get(row.mode) == row.search
        default = stored and row.mode == tuned.decoding.mode
        mark = "default" if default else "stored" if stored else ""
        table.add_row(row.mode, search_text(row), f"{100 * row.rate:.2f}", f"{row.rtf:.4f}", mark)
    Console().print(table)


def search_text(row: Row) -> str:
    """Describe the search of a row in a few words."""
    search = row.search
    if search.beam == 1:
        return "greedy"
    parts = [f"beam {search.beam}"]
    if row.mode == "joint":
        parts.append(f"CTC {search.ctc_weight:g}")
    if row.mode == "rescore":
        parts.append(f"decoder {search.decoder_weight:g}")
    if search.language_model:
        parts.append(f"LM {search.language_model_weight:g}, bonus {search.token_bonus:g}")
    return ", ".join(parts)
