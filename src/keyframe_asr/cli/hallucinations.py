"""`keyframe hallucinations`: count the words that a model recognises in non-speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from keyframe_asr.cli.options import DecodeModes, Device, JsonFile, Model, decode_modes


def hallucinations(
    model: Model,
    recordings: list[Path] | None = typer.Argument(
        None,
        metavar="RECORDINGS",
        help="Folders of non-speech recordings. Default: synthetic noise only.",
    ),
    synthetic: bool = typer.Option(
        True, help="Include synthetic silence, hums, tones, melodies, noises and clicks."
    ),
    seconds: float = typer.Option(
        5.0, min=0.1, max=300.0, help="Duration of each synthetic sound, in seconds."
    ),
    decode: DecodeModes = None,
    json_file: JsonFile = None,
    device: Device = None,
) -> None:
    """Count the words that a model hallucinates per hour of non-speech."""
    if not synthetic and not recordings:
        raise typer.BadParameter(
            "give recordings, or leave out --no-synthetic", param_hint="RECORDINGS"
        )
    modes = decode_modes(decode)
    from keyframe_asr.audio.synthetic_noise import make_synthetic_noise, read_non_speech
    from keyframe_asr.evaluation.hallucinations import count_hallucinations
    from keyframe_asr.evaluation.report import save_report
    from keyframe_asr.inference.recognizer import load

    recognizer = load(model, device)
    sounds = [
        sound for folder in recordings or () for sound in read_non_speech(folder, "recordings")
    ]
    if synthetic:
        # not the sounds that `keyframe calibrate` fits to
        sounds += make_synthetic_noise(seconds, seed=1)
    report = count_hallucinations(recognizer, sounds, modes or [recognizer.default_mode])
    if json_file is not None:
        save_report(report, json_file)
    _print(report)


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console

    from keyframe_asr.evaluation.report import empty_table

    console = Console()
    for mode, row in report["decode"].items():
        table = empty_table(
            f"hallucinated {report['unit']} of {report['model']}, {mode}",
            ("sound", "minutes", "with text", "per hour", "without check"),
        )
        without = row.get("without_check", row)
        kinds = zip(row["kinds"].items(), without["kinds"].values(), strict=True)
        pairs = [(name, one, other) for (name, one), other in kinds]
        for name, one, other in [*pairs, ("all", row, without)]:
            table.add_row(
                name,
                f"{one['seconds'] / 60:.1f}",
                f"{one['with_text']}/{one['sounds']}",
                f"{one['per_hour']:.0f}",
                f"{other['per_hour']:.0f}",
            )
        console.print(table)
