"""`keyframe align`: forced alignment of a known text with a recording."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyframe_asr.cli.aligned_files import LIST, AlignFormat, write_format, write_list
from keyframe_asr.cli.error_line import show_error
from keyframe_asr.cli.options import COMPUTE_FLAGS, Channel, Model, grouped
from keyframe_asr.cli.output_files import Format, printed
from keyframe_asr.errors import KeyframeError, TextError
from keyframe_asr.formats import Source, render
from keyframe_asr.inference.options import ComputeOptions
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.text_file import read_text
from keyframe_asr.results import Transcript

if TYPE_CHECKING:
    from lhotse.cut import Cut

TEXT_SUFFIXES = {".txt", ".text", ".trn", ".lab", ".srt", ".vtt", ".tsv", ".csv", ".json", ".md"}
"""A text that ends like this is the path of a file."""


@dataclass(frozen=True)
class Judging:
    """Which texts are doubtful, and how long utterances may be."""

    largest_loss: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1000.0,
            help="A text that loses more log-probability per token against what the model hears "
            "is doubtful.",
        ),
    ] = 4.0
    drop_doubtful: Annotated[
        bool, typer.Option("--drop-doubtful", help="Leave doubtful texts out of all formats.")
    ] = False
    longest: Annotated[
        float,
        typer.Option(
            min=1.0,
            max=3600.0,
            help="Longer utterances of a manifest are cut at pauses; in seconds.",
        ),
    ] = 30.0


@grouped
def align(
    model: Model,
    audio: Annotated[
        str,
        typer.Argument(
            metavar="AUDIO|MANIFEST",
            help="A recording of any length; without TEXT a manifest: lhotse cuts (.jsonl.gz) or a "
            "table.",
        ),
    ],
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT",
            help="What is said in the recording, or the path of a text file. A manifest has texts.",
        ),
    ] = None,
    output: Annotated[
        list[AlignFormat] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"{', '.join(AlignFormat)}; repeat for several. Default: json, "
            "cuts of a manifest.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output file, default: standard output. A folder for a manifest, for several "
            "formats, and for kaldi and cuts."
        ),
    ] = None,
    channel: Channel = None,
    *,
    compute: Annotated[ComputeOptions, COMPUTE_FLAGS],
    judging: Judging,
) -> None:
    """Find when each word of a known text is spoken (forced alignment), and texts that do not fit.

    For a manifest, utterances.tsv lists which texts fit their recordings. A recording that cannot
    be aligned is reported; the others still are.
    """
    if text is None:
        if channel is not None:
            raise typer.BadParameter("a manifest names channels itself", param_hint="--channel")
        formats = output or [AlignFormat.cuts]
        _align_corpus(model, audio, None, formats, _folder(out), compute, judging)
        return
    said = _text(text)
    formats = output or [AlignFormat.json]
    if len(formats) > 1 or {AlignFormat.kaldi, AlignFormat.cuts}.intersection(formats):
        one = _one_cut(Path(audio), said, channel)
        _align_corpus(model, audio, one, formats, _folder(out), compute, judging)
        return
    transcript, source = _align_one(model, audio, said, channel, compute, judging.largest_loss)
    if out is None:
        print(printed(transcript, Format(formats[0]), source), end="")
    else:
        write_whole(out, render(transcript, formats[0], source))


def _align_one(
    model: str,
    audio: str,
    text: str,
    channel: int | None,
    compute: ComputeOptions,
    largest_loss: float,
) -> tuple[Transcript, Source]:
    """Align one recording, and warn if the text does not seem to be what is said."""
    from keyframe_asr.inference.alignment import align_recording, tokens_of
    from keyframe_asr.inference.recognizer import load_for
    from keyframe_asr.inference.settings import model_settings

    recognizer = load_for(model, compute)
    tokens = tokens_of(recognizer, text)
    found = align_recording(recognizer, audio, tokens, channel)
    misfit = found.misfit(len(tokens))
    if misfit.lost > largest_loss:
        typer.echo(
            f"warning: {audio}: the text loses {misfit.lost:.1f} nats per token against what the "
            f"model hears, most at {misfit.worst:.2f} s; check that it is what is said",
            err=True,
        )
    source = Source(audio, channel=1 + (channel or 0), settings=model_settings(model, compute))
    return found.transcript, source


def _folder(out: Path | None) -> Path:
    if out is None:
        raise typer.BadParameter("give the folder to write to", param_hint="--out")
    if out.is_file():
        raise typer.BadParameter(f"{out} is a file; give a folder", param_hint="--out")
    return out


def _one_cut(audio: Path, text: str, channel: int | None) -> Cut:
    """Return a recording and its text as a cut. Raises `AudioError` if it cannot be read."""
    from keyframe_asr.audio.reading import read_length
    from keyframe_asr.data.manifest import make_cut

    length = read_length(audio)
    place = None if channel is None else (channel, max(2, length.channels))
    return make_cut(
        audio.stem, "", text, audio.absolute(), length.samples, length.sample_rate, channel=place
    )


def _align_corpus(
    model: str,
    name: str,
    one: Cut | None,
    formats: Sequence[AlignFormat],
    out: Path,
    compute: ComputeOptions,
    judging: Judging,
) -> None:
    """Align a manifest, or the one cut given, and write the results to a folder.

    Raises:
        KeyframeError: some recordings could not be aligned.
    """
    from keyframe_asr.cli.measuring import progress_shown
    from keyframe_asr.data.manifest import load_manifest
    from keyframe_asr.inference.corpus_alignment import align_cuts
    from keyframe_asr.inference.recognizer import load_for
    from keyframe_asr.inference.settings import model_settings

    cuts = list(load_manifest(name)) if one is None else [one]
    recognizer = load_for(model, compute)
    found = []
    with progress_shown("aligning") as progress:
        for aligned in align_cuts(
            recognizer,
            cuts,
            longest=judging.longest,
            largest_loss=judging.largest_loss,
            progress=progress,
        ):
            found.append(aligned)
            if aligned.error is not None:
                show_error(aligned.error)
    found.sort(key=lambda aligned: aligned.place)
    kinds = write_list(found, out)
    for output in dict.fromkeys(formats):
        source = Source(name, settings=model_settings(model, compute))
        write_format(output, found, out, source, judging.drop_doubtful)
    print(
        f"{kinds['fits']} fit, {kinds['doubtful']} doubtful, {kinds['failed']} failed: {out}/{LIST}"
    )
    if kinds["failed"]:
        raise KeyframeError(
            f"{name}: {kinds['failed']} of {len(cuts)} recordings were not aligned; see the errors "
            "above"
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
