"""`keyframe prepare`: prepare a corpus for training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyframe_asr.cli.error_line import advice_on_interrupt
from keyframe_asr.cli.measuring import progress_lines
from keyframe_asr.cli.options import grouped
from keyframe_asr.config.text_choices import TEXT_FORM_NAMES, Digits, Units
from keyframe_asr.data import registry
from keyframe_asr.errors import OptionError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from keyframe_asr.data.corpora.preparation import PreparationProgress
    from keyframe_asr.data.corpora.summary import CorpusSummary

INTERRUPTED = "run the same command again: downloads continue, everything else starts over"


@dataclass(frozen=True)
class ReadingOptions:
    """Which data of a corpus is read; each corpus takes some of these options."""

    download: Annotated[
        bool, typer.Option("--download", help="Download the corpus into --source first.")
    ] = False
    part: Annotated[
        list[str] | None,
        typer.Option(help="Part of the corpus, as the corpus names it; repeat for several."),
    ] = None
    hours: Annotated[
        float | None,
        typer.Option(
            min=registry.MIN_HOURS, help="Use this many hours of training speech, drawn at random."
        ),
    ] = None
    language: Annotated[
        str | None,
        typer.Option(help="Language of the transcripts as a tag, such as en, de, zh-TW or zh+en."),
    ] = None
    train: Annotated[
        str | None, typer.Option(help="Folder or file of the training set, relative to --source.")
    ] = None
    dev: Annotated[
        str | None,
        typer.Option(help="Folder or file of the development set, relative to --source."),
    ] = None
    test: Annotated[
        str | None, typer.Option(help="Folder or file of the test set, relative to --source.")
    ] = None
    dev_speakers: Annotated[
        str | None,
        typer.Option(help="Training speakers to move to the development set, as A,B,C."),
    ] = None
    dev_share: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=registry.MAX_DEV_SHARE,
            help="Part of the training set to move to the development set, such as 0.1: whole "
            "speakers, or recordings if speakers are unknown.",
        ),
    ] = None
    allow_incomplete: Annotated[
        bool,
        typer.Option("--allow-incomplete", help="Continue if many utterances cannot be used."),
    ] = False


@dataclass(frozen=True)
class TextOptions:
    """How transcripts become tokens."""

    text_form: Annotated[
        str | None,
        typer.Option(
            help=f"Form of the texts: {', '.join(TEXT_FORM_NAMES)}. Default: by language."
        ),
    ] = None
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Trained model whose tokenizer and text form are taken, to train it further.",
        ),
    ] = None
    units: Annotated[
        Units | None,
        typer.Option(
            help="Tokens of the model; mixed: Han characters, and subwords of other text. Default: "
            "by text form."
        ),
    ] = None
    vocab_size: Annotated[
        int | None,
        typer.Option(
            min=registry.MIN_VOCABULARY,
            help="Largest number of tokens. Default: 500 for subwords, all characters.",
        ),
    ] = None
    digits: Annotated[
        Digits,
        typer.Option(help="Leave out transcripts with digits, or keep them unchanged."),
    ] = "refuse"


@grouped
def prepare(
    corpus: Annotated[
        str,
        typer.Argument(metavar="CORPUS", help=f"One of: {', '.join(registry.NAMES)}."),
    ],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    source: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the original corpus, or a table; for auto any manifest, table, or "
            "folder of recordings and texts; for a synthetic corpus, a text file to be spoken."
        ),
    ] = None,
    *,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace another prepared corpus in the output folder."),
    ] = False,
    shar: Annotated[
        bool,
        typer.Option(
            "--shar", help="Also write the recordings, as FLAC in tar archives (lhotse Shar)."
        ),
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes that read recordings at the same time.")
    ] = 1,
    reading: ReadingOptions,
    texts: TextOptions,
) -> None:
    """Prepare a corpus for training: write manifests, tokenizer and statistics.

    espeak-ng speaks the synthetic corpora, in any language that it knows: sentences of its own (de,
    en, hi, ru, zh), or those of a text file (--source), one per line; after a tab, how espeak-ng is
    to read the line. Of every 40 lines, the last two are dev and test. Does nothing if the output
    folder has the result already; another corpus there is replaced only with --overwrite.
    """
    given = vars(reading) | vars(texts)
    parts, speakers = given.pop("part"), given.pop("dev_speakers")
    with advice_on_interrupt(INTERRUPTED), _progress_shown() as progress:
        try:
            options = registry.PrepareOptions(
                **given,
                overwrite=overwrite,
                shar=shar,
                jobs=jobs,
                parts=tuple(parts or ()),
                dev_speakers=tuple(filter(None, map(str.strip, (speakers or "").split(",")))),
            )
            prepared = registry.prepare(corpus, source, out, options, progress)
        except OptionError as error:
            raise typer.BadParameter(error.reason, param_hint=_flag(error.option)) from None
    if prepared.was_there:
        typer.echo(f"{out}: already prepared, nothing to do", err=True)
    _show(out, prepared.summary)


def _flag(option: str) -> str:
    """Return the flag or argument of an option of `registry.prepare`."""
    known = {"corpus": "CORPUS", "parts": "--part"}
    return known.get(option, f"--{option.replace('_', '-')}")


@contextmanager
def _progress_shown() -> Iterator[PreparationProgress]:
    """Show progress on standard error: a bar on a terminal, else a line from time to time."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield progress_lines()
        return
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    bar = Progress(*columns, console=console, transient=True)
    tasks: dict[str, TaskID] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in tasks:
            bar.start()  # not earlier: a download shows its own bar
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
