"""`keyframe calibrate`: fit a model's confidences, speech check and token starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keyframe_asr.cli.error_line import show_error
from keyframe_asr.cli.measuring import progress_shown
from keyframe_asr.cli.options import AllDecodeModes, Device, JsonFile, Model, decode_modes, grouped
from keyframe_asr.errors import ManifestError, ModelError

if TYPE_CHECKING:
    from keyframe_asr.config.model import ModelFolderConfig
    from keyframe_asr.evaluation.calibration import Calibration
    from keyframe_asr.inference.options import DecodeMode
    from keyframe_asr.inference.recognizer import Recognizer

COSTLY = 0.02
"""Warn if the speech check adds more token errors per token than this."""


@dataclass(frozen=True)
class Place:
    """Where the calibrated model is written."""

    out: Annotated[
        Path | None, typer.Option(help="Write the changed model to this new folder.")
    ] = None
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Change the config.yaml of MODEL instead.")
    ] = False


@dataclass(frozen=True)
class Reports:
    """Files that describe the calibration."""

    picture: Annotated[
        Path | None, typer.Option(help="Also write a reliability diagram to this PNG file.")
    ] = None
    json_file: JsonFile = None


@dataclass(frozen=True)
class Fitting:
    """What is fitted in addition to confidences, and how."""

    non_speech: Annotated[
        Path | None,
        typer.Option(
            help="Folder of non-speech recordings to fit the speech check to, in addition to "
            "synthetic noise."
        ),
    ] = None
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Token errors per token that the speech check may add."
        ),
    ] = 0.002
    starts: Annotated[
        bool,
        typer.Option("--starts", help="Also fit token starts to the onsets of sound after pauses."),
    ] = False


@grouped
def calibrate(
    model: Model,
    manifest: Annotated[
        str,
        typer.Argument(
            metavar="MANIFEST",
            help="Speech that MODEL was not trained on: lhotse cuts (.jsonl.gz) or a table (.tsv).",
        ),
    ],
    decode: AllDecodeModes = None,
    device: Device = None,
    *,
    place: Place,
    fitting: Fitting,
    reports: Reports,
) -> None:
    """Calibrate a model's confidences, and fit a check that suppresses non-speech."""
    if (place.out is None) == (not place.in_place):
        raise typer.BadParameter("give either --out FOLDER or --in-place", param_hint="--out")
    modes = decode_modes(decode)
    from keyframe_asr.audio.synthetic_noise import make_synthetic_noise, read_non_speech
    from keyframe_asr.evaluation.calibration import Calibrator
    from keyframe_asr.evaluation.inspection_picture import require_matplotlib
    from keyframe_asr.evaluation.reliability import draw_reliability
    from keyframe_asr.evaluation.report import save_report
    from keyframe_asr.inference.recognizer import load
    from keyframe_asr.io.model_location import find_model

    check_place(place, model)
    if reports.picture is not None:
        require_matplotlib()
    sounds = list(make_synthetic_noise())
    if fitting.non_speech is not None:
        sounds += read_non_speech(fitting.non_speech, "--non-speech")
    recognizer = load(model, device)
    calibrator = Calibrator(recognizer, modes or _modes(recognizer))
    with progress_shown("recognising") as progress:
        calibrator.add_speech(manifest, progress)
    if fitting.starts and calibrator.emission_delay_seconds is None:
        raise ManifestError(
            f"{manifest}: too few pauses to fit token starts; give more recordings, or leave out "
            "--starts"
        )
    calibrator.add_non_speech(sounds)
    for error in calibrator.failed:
        show_error(error)
    found = calibrator.fit(fitting.tolerance)
    changes: dict[str, Any] = {
        "confidences": found.confidences,
        "speech_check": found.speech_check,
    }
    if fitting.starts:
        changes["emission_delay_seconds"] = calibrator.emission_delay_seconds
    _store(model, recognizer.config.model_copy(update=changes), place)
    if reports.picture is not None:
        draw_reliability(found.panels, reports.picture)
    if reports.json_file is not None:
        save_report({"manifest": manifest} | found.report, reports.json_file)
    _print(found)
    typer.echo(f"stored in {place.out or find_model(model)}")


def _modes(recognizer: Recognizer) -> list[DecodeMode]:
    """Return all modes, the default first, to which the speech check is fitted."""
    return list(dict.fromkeys((recognizer.default_mode, *recognizer.modes)))


def check_place(place: Place, model: str) -> None:
    """Raise `ModelError` before the work if the model cannot be written after it."""
    from keyframe_asr.io.model_location import find_model

    if place.out is not None and place.out.exists():
        raise ModelError(f"{place.out}: already exists; choose another folder")
    if place.in_place and find_model(model) != Path(model):
        raise ModelError(f"{model}: not a folder of yours; write a new one with --out")


def _store(model: str, config: ModelFolderConfig, place: Place) -> None:
    from keyframe_asr.io.model_copy import copy_model_folder, save_model_config
    from keyframe_asr.io.model_location import find_model

    if place.out is not None:
        copy_model_folder(find_model(model), place.out, config)
    else:
        save_model_config(find_model(model), config)


def _print(found: Calibration) -> None:
    """Print the calibration as two tables."""
    from rich.console import Console

    from keyframe_asr.evaluation.report import empty_table

    report: dict[str, Any] = found.report
    table = empty_table(
        f"confidences of {report['model']} (two-fold cross-validation)",
        ("decode", "unit", "count", "correct", "ECE before", "ECE after", "temperature", "offset"),
        texts=2,
    )
    for mode, one in report["decode"].items():
        for unit in ("tokens", "words"):
            if row := one.get(unit):
                rates = (f"{100 * row[key]:.1f} %" for key in ("right", "ece_before", "ece_after"))
                table.add_row(
                    mode,
                    unit,
                    str(row["count"]),
                    *rates,
                    f"{one['temperature']:g}",
                    f"{one['offset']:g}",
                )
    console = Console()
    console.print(table)
    if onsets := report["onsets"]["count"]:
        delay = 1000 * report["onsets"]["median"]
        console.print(
            f"CTC spikes are {abs(delay):.0f} ms {'before' if delay < 0 else 'after'} the onset of "
            f"sound (median of {onsets} onsets after pauses)"
        )
    if (check := report["speech_check"]) is None:
        console.print("no speech check is stored: non-speech got no text without one")
        return
    warning = ""
    table = empty_table(
        f"speech check, {check['mode']} (two-fold cross-validation)",
        ("tolerance", "token errors", "hallucinated tokens per hour"),
    )
    for tolerance, row in {"no check": check["without"], **check["on_the_other_half"]}.items():
        errors = f"{100 * row['token_errors']:.1f} %"
        hallucinated = f"{row['hallucinated_tokens_per_hour']:.0f}"
        stored = tolerance == f"{check['tolerance']:g}"
        table.add_row(f"{tolerance} (stored)" if stored else tolerance, errors, hallucinated)
        if stored and row["token_errors"] > check["without"]["token_errors"] + COSTLY:
            costs = 100 * (row["token_errors"] - check["without"]["token_errors"])
            warning = (
                f"the speech check adds {costs:.1f} percentage points of token errors on speech "
                "that it was not fitted to; give more recordings and non-speech"
            )
    console.print(table)
    if warning:
        typer.echo(f"warning: {warning}", err=True)
