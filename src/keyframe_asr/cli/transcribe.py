"""`keyframe transcribe`: recordings in, text out."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keyframe_asr.cli.decode_mode import DecodeMode
from keyframe_asr.cli.error_line import show_error
from keyframe_asr.cli.option_groups import grouped
from keyframe_asr.cli.search_options import SearchOptions
from keyframe_asr.errors import AudioError, KeyframeError
from keyframe_asr.results import Transcript

if TYPE_CHECKING:
    from keyframe_asr.inference.modes import Mode


class Format(StrEnum):
    """What is written for each recording."""

    text = "text"
    json = "json"


@grouped
def transcribe(
    model: str = typer.Argument(help="Model folder, or the name of a shipped model."),
    audio: list[Path] = typer.Argument(help="Recordings: wav, flac, mp3, ogg, opus."),
    output: Format = typer.Option(
        Format.text, "--format", help="text, or json with token times and confidences."
    ),
    out: Path | None = typer.Option(None, help="Folder for one file a recording."),
    decode: DecodeMode | None = typer.Option(
        None, "--decode", help="Decode mode. Default: the model's greedy mode."
    ),
    device: str | None = typer.Option(None, help="cpu or cuda. Default: a GPU if there is one."),
    *,
    search: SearchOptions,
) -> None:
    """Write the text of each AUDIO file; a bad one is named and the others go on."""
    if out is not None:
        _check_names(audio)
    from keyframe_asr.inference.loading import load

    recognizer = load(model, device)
    mode: Mode | None = decode.value if decode else None
    options = search.for_modes(recognizer, [mode or recognizer.modes[0]])
    results = recognizer.transcribe_each(audio, mode, options)
    failed = 0
    for path, result in zip(audio, results, strict=True):
        if isinstance(result, KeyframeError):
            failed += 1
            show_error(result)
        elif out is None:
            print(_line(path, result, output, len(audio) > 1), flush=True)
        else:
            _write(out, path, result, output)
    if failed:
        raise typer.Exit(1)


def _line(path: Path, transcript: Transcript, output: Format, several: bool) -> str:
    """One line on standard output; with several recordings each names its own."""
    if output is Format.json:
        return json.dumps({"audio": str(path), **asdict(transcript)}, ensure_ascii=False)
    return f"{path}\t{transcript.text}" if several else transcript.text


def _write(out: Path, path: Path, transcript: Transcript, output: Format) -> None:
    """`OUT/NAME.txt` or `OUT/NAME.json`, whole or not at all."""
    content = transcript.text
    if output is Format.json:
        described = {"audio": str(path), **asdict(transcript)}
        content = json.dumps(described, ensure_ascii=False, indent=2)
    target = out / f"{path.stem}.{'txt' if output is Format.text else 'json'}"
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        out.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content + "\n", encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, target)
    except OSError as error:
        raise KeyframeError(f"{target}: cannot be written: {error.strerror}") from None


def _check_names(audio: list[Path]) -> None:
    stem, count = Counter(path.stem for path in audio).most_common(1)[0]
    if count > 1:
        raise AudioError(
            f"{count} recordings are named '{stem}' and would be written to one file; "
            "transcribe them one at a time into different folders"
        )
