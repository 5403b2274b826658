"""`keyframe transcribe`: recognise recordings and write text, subtitles or JSON."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from keyframe_asr import __version__
from keyframe_asr.cli.archive import ClusterFlags, Engine, transcribe_on_ray
from keyframe_asr.cli.error_line import STARTS_AGAIN, advice_on_interrupt
from keyframe_asr.cli.options import (
    COMPUTE_FLAGS,
    COMPUTE_PANEL,
    OUTPUT_PANEL,
    SEARCH_FLAGS,
    STREAMING_FLAGS,
    Flags,
    Model,
    grouped,
)
from keyframe_asr.cli.output_files import Format, ids, printed, targets
from keyframe_asr.cli.output_record import OutputRecord, Recording
from keyframe_asr.cli.recordings import Recordings, recordings_named
from keyframe_asr.cli.transcribing_report import TranscribingReport
from keyframe_asr.errors import KeyframeError
from keyframe_asr.formats import FORMATS, Source, render
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.pipes import copied_pipe
from keyframe_asr.results import RecognitionResult, Transcript

RECOGNITION_FLAGS: Flags = {
    "decode": typer.Option(help="Decode mode. Default: the model's best."),
    **SEARCH_FLAGS,
    **STREAMING_FLAGS,
    "voice_activity": typer.Option(
        "--vad",
        help="Voice activity detector that segments recordings over 30 s; auto is loudness.",
    ),
    "channel": typer.Option(
        help="Channel to transcribe, counted from 0. Default: the mean of all."
    ),
    "batch_seconds": typer.Option(
        help="Seconds of audio per batch; less saves memory.",
        rich_help_panel=COMPUTE_PANEL,
    ),
}

PROCESS_FLAGS: Flags = {
    "workers": typer.Option(help="Number of processes that recognise in parallel."),
    **COMPUTE_FLAGS,
}

GOES_ON = "run the same command again to go on"


@dataclass(frozen=True)
class Destination:
    """Where results go."""

    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Write one file per recording into this folder; subfolders are kept. Default: "
            "standard output. With --engine ray: the folder or URI of the results.",
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
            help="Also transcribe recordings whose output file exists, whatever made it.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False

    @property
    def folder(self) -> Path | None:
        """The folder of the outputs."""
        return None if self.out is None else Path(self.out)

    def check(self) -> None:
        """Raise `typer.BadParameter` if results cannot go there."""
        if self.out is None:
            return
        if self.beside:
            raise typer.BadParameter("give either --out or --beside", param_hint="--beside")
        if os.path.isfile(self.out):
            raise typer.BadParameter(
                f"{self.out} is a file; --out names a folder", param_hint="--out"
            )


@grouped
def transcribe(
    model: Model,
    audio: Annotated[
        list[str],
        typer.Argument(
            metavar="AUDIO",
            help="Audio files, folders or quoted patterns; - reads a list of paths from standard "
            "input. With --engine ray: one manifest.",
        ),
    ],
    output: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Output format. All but text have times; json, jsonl and ctm also have "
            "confidences. jsonl is JSON on one line per recording.",
        ),
    ] = Format.text,
    *,
    destination: Destination,
    options: Annotated[RecognitionOptions, RECOGNITION_FLAGS],
    compute: Annotated[ComputeOptions, PROCESS_FLAGS],
    cluster: ClusterFlags,
) -> None:
    """Transcribe recordings of any length to text, subtitles or JSON.

    A recording that cannot be read is reported; the others are still transcribed.

    keyframe transcribe an4 manifest.jsonl --engine ray --out texts
    """
    if cluster.engine == Engine.ray:
        transcribe_on_ray(model, audio, destination, options, compute, cluster, output)
        return
    cluster.check_unused()
    destination.check()
    found = recordings_named(audio)
    several = found.searched or len(found.named) > 1
    _check_format(output, several, destination)
    jobs = _jobs(found, destination, output)
    kept = [] if destination.overwrite else [job for job in jobs if job.has_output()]
    done = set(kept)
    todo = [job for job in jobs if job not in done]
    to_files = destination.beside or destination.out is not None
    advice = GOES_ON if to_files and not destination.overwrite else STARTS_AGAIN
    with (
        advice_on_interrupt(advice),
        _read_once(options) as options,
        TranscribingReport(found, [job.path for job in todo]) as report,
    ):
        if jobs:
            writer = _writer(model, options, compute, destination, output, several)
            writer.record.check({job.file: job.made_of for job in kept if job.file is not None})
        if todo:
            from keyframe_asr.inference.many import recognise_files

            paths = [job.path for job in todo]
            results = recognise_files(model, paths, options, compute, report.progress)
            _write(results, todo, report, writer)
    if report.failed:
        raise typer.Exit(1)


def _check_format(output: Format, several: bool, destination: Destination) -> None:
    to_files = destination.beside or destination.out is not None
    if several and output.value in ("srt", "vtt", "textgrid") and not to_files:
        raise typer.BadParameter(
            f"{output.value} holds one recording per file; give --out DIR or --beside",
            param_hint="--format",
        )


@dataclass(frozen=True)
class Job:
    """A recording to transcribe.

    Attributes:
        path: the recording.
        id: its id.
        file: its output file; None is standard output.
        made_of: the recording as it is before it is read; None for a pipe, or without a file.
    """

    path: Path
    id: str
    file: Path | None
    made_of: Recording | None

    def has_output(self) -> bool:
        """True if the output is there; False if the recording is not, which reading it tells."""
        return self.file is not None and os.path.exists(self.file) and os.path.exists(self.path)


def _jobs(found: Recordings, destination: Destination, output: Format) -> list[Job]:
    named, suffix = found.named, FORMATS[output].suffix
    files = targets(named, destination.folder, destination.beside, suffix)
    together = zip(named, ids(named), files, strict=True)
    return [
        Job(recording.path, id, file, None if file is None else Recording.at(recording.path))
        for recording, id, file in together
    ]


def _writer(
    model: str,
    options: RecognitionOptions,
    compute: ComputeOptions,
    destination: Destination,
    output: Format,
    several: bool,
) -> Writer:
    from keyframe_asr.inference.settings import fingerprint, recognition_settings

    settings = recognition_settings(model, options, compute)
    record = OutputRecord(destination.folder, settings, fingerprint(settings))
    channel = 1 if options.channel is None else options.channel + 1
    return Writer(output, several, channel, settings | {"version": __version__}, record)


@contextmanager
def _read_once(options: RecognitionOptions) -> Iterator[RecognitionOptions]:
    """Yield options whose files can be read again: they are described, then read by each process.

    Pipes are copied to temporary files.
    """
    with tempfile.TemporaryDirectory() as folder:
        hotwords, model = options.hotwords, options.language_model
        yield replace(
            options,
            hotwords=copied_pipe(hotwords, Path(folder, "hotwords"))
            if isinstance(hotwords, Path)
            else hotwords,
            language_model=model and copied_pipe(model, Path(folder, "language_model")),
        )


@dataclass(frozen=True)
class Writer:
    """Writes transcripts to files or standard output; `several` adds the name to a line of text."""

    output: Format
    several: bool
    channel: int
    settings: Mapping[str, object]
    record: OutputRecord

    def write(self, job: Job, transcript: Transcript) -> None:
        """Write one transcript. Raises `KeyframeError` if the file cannot be written."""
        source = Source(str(job.path), job.id, self.channel, self.settings)
        if job.file is None:
            print(printed(transcript, self.output, source, self.several), end="", flush=True)
        else:
            self.record.add(job.file, job.made_of)
            write_whole(job.file, render(transcript, self.output, source))


def _write(
    found: Iterable[RecognitionResult],
    jobs: Sequence[Job],
    report: TranscribingReport,
    writer: Writer,
) -> None:
    """Write each result to its file, or in order to standard output, and update the report."""
    for result in in_order(found) if any(job.file is None for job in jobs) else found:
        job = jobs[result.index]
        try:
            transcript = result.unwrap()
            writer.write(job, transcript)
        except KeyframeError as error:
            report.failure(result.index, job.path, error)
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
