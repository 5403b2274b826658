"""`keyframe align`: when each word of a known text was said."""

from __future__ import annotations

import statistics
from pathlib import Path

import typer

from keyframe_asr.cli.options import Device, Model, Recording
from keyframe_asr.cli.recordings import Format, printed
from keyframe_asr.errors import TextError
from keyframe_asr.formats import render
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.results import Transcript

UNLIKELY = 0.01
"""Confidence that half of the tokens of a text stay below if it is not what was said.

Of 75 recordings of Mandarin, English and AN4 no other's text reached it, and no own one missed it.
"""


def align(
    model: Model,
    audio: Recording,
    text: str = typer.Argument(help="What is said in it, or a file of it, FILE.txt."),
    output: Format = typer.Option(Format.json, "--format", help="What the times are written as."),
    out: Path | None = typer.Option(None, help="File to write. Default: standard output."),
    device: Device = None,
) -> None:
    """Find when each word of a known text is said in a recording (forced alignment)."""
    said = _text(text)
    from keyframe_asr.inference.alignment import align as force_align
    from keyframe_asr.inference.recognizer import load

    transcript = force_align(load(model, device), audio, said)
    _doubt(transcript, audio)
    if out is None:
        print(printed(transcript, output, str(audio)), end="")
    else:
        write_whole(out, render(transcript, output, str(audio)))


def _doubt(transcript: Transcript, audio: Path) -> None:
    """Warn if the text seems not to be what was said."""
    if statistics.median(token.confidence for token in transcript.tokens) < UNLIKELY:
        typer.echo(
            f"warning: {audio}: half of the tokens have a confidence below {UNLIKELY:.0%}; "
            "check that this is what is said in it",
            err=True,
        )


def _text(text: str) -> str:
    """The text itself, or what the file of that name holds."""
    if not text.endswith(".txt"):
        return text
    try:
        return Path(text).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"{text}: cannot be read as UTF-8 text: {error}") from None
