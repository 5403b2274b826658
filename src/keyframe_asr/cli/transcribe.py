"""`keyframe transcribe`: recognise recordings and write text, subtitles or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keyframe_asr.cli.options import (
    COMPUTE_PANEL,
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
        "--vad",
        help="Voice activity detector that segments recordings over 30 s; auto is silero if "
        "silero-vad is installed, else loudness.",
    ),
    "batch_seconds": typer.Option(
        help="Seconds of audio per batch; less saves memory.",
        rich_help_panel=COMPUTE_PANEL,
    ),
}

COMPUTE_FLAGS: Flags = {
    "device": typer.Option(help="cpu or cuda. Default: a GPU if there is one."),
    "workers": typer.Option(help="Number of processes that recognise in parallel."),
    "threads": typer.Option(
        help="CPU threads per process. Default: the cores that other programs leave free, divided "
        "among the processes.",
        rich_help_panel=COMPUTE_PANEL,
    ),
}


@dataclass(frozen=True)
class Destination:
    """Where results go."""

    out: Annotated[
        Path | None,
        typer.Option(
            help="Write one file per recording into this folder; subfolders are kept. Default: "
            "standard output."
        ),
    ] = None
    beside: Annotated[
        bool,
        typer.Option(
            "--beside",
            help="Write one file next to each recording.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Also transcribe recordings whose output file exists.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False


@grouped
def transcribe(
    model: Model,
    audio: Annotated[
        list[Path],
        typer.Argument(
            metavar="AUDIO",
            help="Audio files, folders or quoted patterns; - reads a list of paths from standard "
            "input.",
        ),
    ],
    output: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Output format. All but text have times; json and ctm also have confidences.",
        ),
    ] = Format.text,
    *,
    destination: Destination,
    options: Annotated[RecognitionOptions, RECOGNITION_FLAGS],
    compute: Annotated[ComputeOptions, COMPUTE_FLAGS],
) -> None:
    """Transcribe recordings of any length to text, subtitles or JSON.

    A recording that cannot be read is reported; the others are still transcribed.
    """
    if destination.beside and destination.out is not None:
        raise typer.BadParameter("give either --out or --beside", param_hint="--beside")
    recordings = recordings_named(audio)
    several = recordings.searched or len(recordings.named) > 1
    to_files = destination.beside or destination.out is not None
    if several and output.value in ("srt", "vtt", "textgrid") and not to_files:
        raise typer.BadParameter(
            f"{output.value} holds one recording per file; give --out DIR or --beside",
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
    """Writes transcripts to files or standard output; `several` adds the name to a line of text."""

    output: Format
    several: bool

    def write(self, path: Path, file: Path | None, transcript: Transcript) -> None:
        """Write one transcript. Raises `KeyframeError` if the file cannot be written."""
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
    """Write each result to its file, or in order to standard output, and update the report."""
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
    """Yield results in order of their index, each as soon as all earlier ones have arrived."""
    early: dict[int, RecognitionResult] = {}
    expected = 0
    for result in found:
        early[result.index] = result
        while expected in early:
            yield early.pop(expected)
            expected += 1


def _is_there(file: Path | None) -> bool:
    return file is not None and file.exists()
