"""`keyframe align`: forced alignment of a known text with a recording."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import typer

from keyframe_asr.cli.options import Channel, Device, Model, Recording
from keyframe_asr.cli.output_files import Format, printed
from keyframe_asr.errors import TextError
from keyframe_asr.formats import Source, render
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.text_file import read_text
from keyframe_asr.results import Transcript

TEXT_SUFFIXES = {".txt", ".text", ".trn", ".lab", ".srt", ".vtt", ".tsv", ".csv", ".json", ".md"}
"""A text that ends like this is the path of a file."""

UNLIKELY = 0.01
"""A text whose median token confidence is below this is probably not what was said.

On 75 recordings of Mandarin, English and AN4, the right text was always above it, and the text of
another recording always below.
"""


def align(
    model: Model,
    audio: Recording,
    text: str = typer.Argument(
        metavar="TEXT", help="What is said in the recording, or the path of a text file."
    ),
    output: Format = typer.Option(Format.json, "--format", help="Output format."),
    out: Path | None = typer.Option(None, help="Output file. Default: standard output."),
    channel: Channel = None,
    device: Device = None,
) -> None:
    """Find when each word of a known text is spoken (forced alignment)."""
    said = _text(text)
    from keyframe_asr.inference.alignment import align as force_align
    from keyframe_asr.inference.recognizer import load
    from keyframe_asr.inference.settings import model_settings

    transcript = force_align(load(model, device), audio, said, channel)
    _doubt(transcript, audio)
    source = Source(str(audio), channel=1 + (channel or 0), settings=model_settings(model))
    if out is None:
        print(printed(transcript, output, source), end="")
    else:
        write_whole(out, render(transcript, output, source))


def _doubt(transcript: Transcript, audio: Path) -> None:
    """Warn if the text does not seem to be what was said."""
    if statistics.median(token.confidence for token in transcript.tokens) < UNLIKELY:
        typer.echo(
            f"warning: {audio}: half of the tokens have a confidence below {UNLIKELY:.0%}; "
            "check that the text is what is said in the recording",
            err=True,
        )


def _text(text: str) -> str:
    """Return the content of the file of that name, or the text itself if there is none.

    Raises:
        TextError: the file cannot be read, or the text is the path of a file that is not there.
    """
    if os.path.exists(text) and not os.path.isdir(text):
        return read_text(Path(text), "give a text file, or the text itself", TextError)
    if _looks_like_path(text):
        raise TextError(f"{text}: no such file; give a text file, or the text itself")
    return text


def _looks_like_path(text: str) -> bool:
    folder, _ = os.path.split(text)
    return (
        os.path.splitext(text)[1].lower() in TEXT_SUFFIXES
        or text.startswith(("/", "./", "../", "~"))
        or (folder != "" and os.path.isdir(folder))
    )
