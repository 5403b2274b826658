"""`keyframe transcribe`: recordings in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keyframe_asr.cli.options import (
    COMPUTING_PANEL,
    OUTPUT_PANEL,
    SEARCH_FLAGS,
    Flags,
    Model,
    grouped,
)
from keyframe_asr.cli.recordings import Format, printed, recordings_named, targets
from keyframe_asr.cli.transcribing_report import TranscribingReport
from keyframe_asr.errors import KeyframeError
from keyframe_asr.formats import FORMATS, render
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.results import RecognitionResult, Transcript

RECOGNITION_FLAGS: Flags = {
    "decode": typer.Option(help="Decode mode. Default: the model's greedy mode."),
    **SEARCH_FLAGS,
    "voice_activity": typer.Option(
        "--vad", help="What cuts recordings over 30 s; auto is silero-vad where installed."
    ),
    "batch_seconds": typer.Option(
        help="Seconds of audio recognised at once; less saves memory.",
        rich_help_panel=COMPUTING_PANEL,
    ),
}

COMPUTE_FLAGS: Flags = {
    "device": typer.Option(help="cpu or cuda. Default: a GPU if there is one."),
    "workers": typer.Option(help="Processes that recognise at the same time."),
    "threads": typer.Option(
        help="CPU threads of each process. Default: all, shared.", rich_help_panel=COMPUTING_PANEL
    ),
}


@dataclass(frozen=True)
class Destination:
    """Where results go."""

    out: Annotated[
        Path | None,
        typer.Option(help="Folder for one file a recording; a folder's structure is kept in it."),
    ] = None
    beside: Annotated[
        bool,
        typer.Option(
            "--beside",
            help="Write one file beside each recording.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Also do recordings whose file is there already.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False


@grouped
def transcribe(
    model: Model,
    audio: Annotated[
        list[Path],
        typer.Argument(help="Recordings, folders, quoted patterns; - reads a list of paths."),
    ],
    output: Annotated[
        Format,
        typer.Option("--format", help="All but text have times; json, ctm have confidences too."),
    ] = Format.text,
    *,
    destination: Destination,
    options: Annotated[RecognitionOptions, RECOGNITION_FLAGS],
    compute: Annotated[ComputeOptions, COMPUTE_FLAGS],
) -> None:
    """Write down what is said in recordings, as text, subtitles or JSON.

    Each AUDIO may be of any length; a bad one is named and the others go on.
    """
    if destination.beside and destination.out is not None:
        raise typer.BadParameter("say --out or --beside, not both", param_hint="--beside")
    recordings = recordings_named(audio)
    several = recordings.searched or len(recordings.named) > 1
    to_files = destination.beside or destination.out is not None
    if several and output.value in ("srt", "vtt", "textgrid") and not to_files:
        raise typer.BadParameter(
            f"a file of {output.value} holds one recording; give --out DIR or --beside",
            param_hint="--format",
        )
    files = targets(recordings.named, destination.out, destination.beside, FORMATS[output].suffix)
    skipped = 0 if destination.overwrite else sum(_is_there(file) for file in files)
    todo = [
        (named.path, file)
        for named, file in zip(recordings.named, files, strict=True)
        if destination.overwrite or not _is_there(file)
    ]
    with TranscribingReport([path for path, _ in todo], skipped, recordings.searched) as report:
        if todo:
            from keyframe_asr.inference.many import recognise_files

            paths = [path for path, _ in todo]
            found = recognise_files(model, paths, options, compute, report.progress)
            _write(found, [file for _, file in todo], report, Writer(output, several))
    if report.failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Writer:
    """Puts transcripts into files, or on standard output as `several` recordings or one."""

    output: Format
    several: bool

    def write(self, path: Path, file: Path | None, transcript: Transcript) -> None:
        """Raises `KeyframeError` if the file cannot be written."""
        if file is None:
            content = printed(transcript, self.output, str(path), self.several)
            print(content, end="", flush=True)
        else:
            write_whole(file, render(transcript, self.output, str(path)))


def _write(
    found: Iterable[RecognitionResult],
    files: list[Path | None],
    report: TranscribingReport,
    writer: Writer,
) -> None:
    """Write each result to its file, or in order on standard output, and tell the report."""
    for result in in_order(found) if None in files else found:
        assert result.path is not None
        try:
            transcript = result.unwrap()
            writer.write(result.path, files[result.index], transcript)
        except KeyframeError as error:
            report.failure(result.index, result.path, error)
        else:
            report.success(result.index, transcript.duration)


def in_order(found: Iterable[RecognitionResult]) -> Iterator[RecognitionResult]:
    """Results by their index, each given as soon as all before it are there."""
    early: dict[int, RecognitionResult] = {}
    expected = 0
    for result in found:
        early[result.index] = result
        while expected in early:
            yield early.pop(expected)
            expected += 1


def _is_there(file: Path | None) -> bool:
    return file is not None and file.exists()
