"""`keyframe transcribe`: recordings in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyframe_asr.cli.decode_mode import DecodeMode
from keyframe_asr.cli.option_groups import grouped
from keyframe_asr.cli.output_format import Format, printed
from keyframe_asr.cli.recordings_named import Recordings, recordings_named, targets
from keyframe_asr.cli.search_options import SearchOptions
from keyframe_asr.cli.transcribing_report import TranscribingReport
from keyframe_asr.errors import KeyframeError
from keyframe_asr.formats import FORMATS, render
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.results import Transcript

if TYPE_CHECKING:
    from keyframe_asr.inference.many import Found, Work
    from keyframe_asr.inference.modes import Mode


class Vad(StrEnum):
    """As `VoiceActivity` in `keyframe_asr.audio.voice_activity`, which needs torch."""

    auto = "auto"
    silero = "silero"
    loudness = "loudness"


@dataclass(frozen=True)
class Destination:
    """Where results go."""

    out: Annotated[
        Path | None,
        typer.Option(help="Folder for one file a recording; a folder's structure is kept in it."),
    ] = None
    beside: Annotated[
        bool, typer.Option("--beside", help="Write one file beside each recording.")
    ] = False
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Also do recordings whose file is there already."),
    ] = False


@dataclass(frozen=True)
class Computing:
    """What computes, and how much at once."""

    device: Annotated[
        str | None, typer.Option(help="cpu or cuda. Default: a GPU if there is one.")
    ] = None
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that recognise at the same time.")
    ] = 1
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each process. Default: all, shared.")
    ] = None
    batch_seconds: Annotated[
        float, typer.Option(min=1.0, help="Seconds of audio recognised at once; less saves memory.")
    ] = 30.0
    vad: Annotated[
        Vad,
        typer.Option(help="What cuts recordings over 30 s. Default: silero-vad where installed."),
    ] = Vad.auto


@grouped
def transcribe(
    model: Annotated[str, typer.Argument(help="Model folder, or the name of a shipped model.")],
    audio: Annotated[
        list[Path],
        typer.Argument(help="Recordings, folders, quoted patterns; - reads a list of paths."),
    ],
    output: Annotated[
        Format,
        typer.Option("--format", help="All but text have times; json, ctm have confidences too."),
    ] = Format.text,
    decode: Annotated[
        DecodeMode | None,
        typer.Option("--decode", help="Decode mode. Default: the model's greedy mode."),
    ] = None,
    *,
    search: SearchOptions,
    destination: Destination,
    computing: Computing,
) -> None:
    """Write the text of each AUDIO of any length; a bad one is named and the others go on."""
    if destination.beside and destination.out is not None:
        raise typer.BadParameter("say --out or --beside, not both", param_hint="--beside")
    recordings = recordings_named(audio)
    to_files = destination.beside or destination.out is not None
    if _several(recordings) and output.value in ("srt", "vtt", "textgrid") and not to_files:
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
            work = _work(model, decode, search, computing)
            _run(todo, work, computing.workers, report, Writer(output, _several(recordings)))
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


def _run(
    todo: list[tuple[Path, Path | None]],
    work: Work,
    workers: int,
    report: TranscribingReport,
    writer: Writer,
) -> None:
    from keyframe_asr.inference.many import recognise_files

    found = recognise_files([path for path, _ in todo], work, workers, report.progress)
    if any(file is None for _, file in todo):
        found = in_order(found)
    for place, result in found:
        path, file = todo[place]
        if isinstance(result, KeyframeError):
            report.failure(place, path, result)
            continue
        try:
            writer.write(path, file, result)
        except KeyframeError as error:
            report.failure(place, path, error)
        else:
            report.success(place, result.duration)


def in_order(found: Iterable[Found]) -> Iterator[Found]:
    """Results by their place, each given as soon as all before it are there."""
    early = {}
    expected = 0
    for place, result in found:
        early[place] = result
        while expected in early:
            yield expected, early.pop(expected)
            expected += 1


def _work(
    model: str, decode: DecodeMode | None, search: SearchOptions, computing: Computing
) -> Work:
    from keyframe_asr.inference.longform import LongForm
    from keyframe_asr.inference.many import Work

    mode: Mode | None = decode.value if decode else None
    return Work(
        model=model,
        device=computing.device,
        mode=mode,
        options=search.options([mode] if mode else []),
        fusion=search.files,
        long_form=LongForm(computing.vad.value, batch_seconds=computing.batch_seconds),
        threads=computing.threads,
    )


def _is_there(file: Path | None) -> bool:
    return file is not None and file.exists()


def _several(recordings: Recordings) -> bool:
    return recordings.searched or len(recordings.named) > 1
