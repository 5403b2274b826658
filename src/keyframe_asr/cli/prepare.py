"""`keyframe prepare`: turn a corpus into what a training starts from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keyframe_asr.cli.options import grouped
from keyframe_asr.data import registry
from keyframe_asr.errors import OptionError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from keyframe_asr.data.corpora.preparation import PreparationProgress
    from keyframe_asr.data.corpora.summary import CorpusSummary


@dataclass(frozen=True)
class ReadingOptions:
    """What of a corpus is read; a corpus takes some of these."""

    download: Annotated[
        bool, typer.Option("--download", help="Download the corpus into --source first.")
    ] = False
    part: Annotated[
        list[str] | None,
        typer.Option(help="A part of the corpus, by its name there; may be repeated."),
    ] = None
    hours: Annotated[
        float | None,
        typer.Option(min=0.01, help="Train on that many hours only, drawn at random."),
    ] = None
    language: Annotated[
        str | None, typer.Option(help="english or mandarin, or as the corpus calls it.")
    ] = None
    train: Annotated[
        str | None, typer.Option(help="Folder or file of the training part, in --source.")
    ] = None
    dev: Annotated[str | None, typer.Option(help="The same of the development part.")] = None
    test: Annotated[str | None, typer.Option(help="The same of the test part.")] = None
    dev_speakers: Annotated[
        str | None,
        typer.Option(help="Speakers of the training part to make the development part, as A,B,C."),
    ] = None
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Go on although much cannot be used.")
    ] = False


@dataclass(frozen=True)
class TextOptions:
    """What becomes of the transcripts."""

    units: Annotated[
        Literal["characters", "unigram", "bpe"] | None,
        typer.Option(help="Units of text. Default: characters for Mandarin, else unigram."),
    ] = None
    vocab_size: Annotated[
        int | None, typer.Option(min=8, help="Most units. Default: 500 pieces, all characters.")
    ] = None
    digits: Annotated[
        Literal["refuse", "keep"],
        typer.Option(help="Transcripts with digits: leave them out, or take them as they are."),
    ] = "refuse"


@grouped
def prepare(
    corpus: Annotated[str, typer.Argument(help=f"One of: {', '.join(registry.NAMES)}.")],
    out: Annotated[Path, typer.Option(help="Folder for all that is written.")],
    source: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the corpus as it was obtained; for a synthetic one a text to be said."
        ),
    ] = None,
    *,
    reading: ReadingOptions,
    texts: TextOptions,
) -> None:
    """Prepare a corpus for training: manifests, tokenizer and statistics.

    The synthetic corpora are made on the spot with espeak-ng: digits and commands, or the sentences
    of a text file (--source), one a line (of 40, the last two are dev and test). Does nothing
    if OUT is complete.
    """
    given = vars(reading) | vars(texts)
    parts, speakers = given.pop("part"), given.pop("dev_speakers")
    options = registry.PrepareOptions(
        **given,
        parts=tuple(parts or ()),
        dev_speakers=tuple(filter(None, map(str.strip, (speakers or "").split(",")))),
    )
    with _progress_bar() as progress:
        try:
            prepared = registry.prepare(corpus, source, out, options, progress)
        except OptionError as error:
            raise typer.BadParameter(error.reason, param_hint=_flag(error.option)) from None
    if prepared.was_there:
        typer.echo(f"{out}: is prepared already, nothing to do", err=True)
    _show(out, prepared.summary)


def _flag(option: str) -> str:
    """How an option of `registry.prepare` is given here."""
    known = {"corpus": "CORPUS", "parts": "--part"}
    return known.get(option, f"--{option.replace('_', '-')}")


@contextmanager
def _progress_bar() -> Iterator[PreparationProgress]:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    # elsewhere than on a terminal it would write an empty line
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    tasks: dict[str, TaskID] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in tasks:
            bar.start()  # not before: a download shows its own
            tasks[what] = bar.add_task(what)
        bar.update(tasks[what], completed=done, total=total)

    try:
        yield progress
    finally:
        bar.stop()


def _show(out: Path, summary: CorpusSummary) -> None:
    from rich.console import Console

    from keyframe_asr.data.corpora.summary import as_table

    console = Console()
    console.print(as_table(summary, out))
    for note in summary.notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
