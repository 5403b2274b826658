"""`keyframe prepare`: turn a corpus into what a training starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from keyframe_asr.cli.option_groups import grouped
from keyframe_asr.data.registry import CORPORA, ReadingOptions

if TYPE_CHECKING:
    from keyframe_asr.data.corpora.preparation import Prepared
    from keyframe_asr.data.corpora.summary import CorpusSummary

MADE: dict[str, tuple[Literal["mandarin", "english"], int]] = {
    "synthetic-mandarin": ("mandarin", 1500),
    "synthetic-english": ("english", 3000),
}
"""Corpora that are made here: language and training utterances."""

NAMES = (*CORPORA, *MADE)


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
    corpus: Annotated[str, typer.Argument(help=f"One of: {', '.join(NAMES)}.")],
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
    """Prepare a corpus: OUT/train, dev and test manifests, tokenizer, statistics and summary.

    The synthetic corpora are made on the spot with espeak-ng: digits and commands, or the sentences
    of a text file (--source), one a line (of 40, the last two are dev and test). Does nothing
    if OUT is complete.
    """
    if corpus not in NAMES:
        raise typer.BadParameter(
            f"there is no corpus '{corpus}'; choose one of {', '.join(NAMES)}", param_hint="CORPUS"
        )
    if corpus in MADE:
        if any(vars(reading).values()) or texts != TextOptions():
            raise typer.BadParameter(
                f"{corpus} is made here and takes --out and --source only", param_hint="CORPUS"
            )
        _make(*MADE[corpus], out, source)
        return
    reading.check(corpus)
    if source is None:
        raise typer.BadParameter(f"{corpus} needs the folder that holds it", param_hint="--source")
    if out.resolve() == source.resolve():
        raise typer.BadParameter(
            "is --source, whose files would be replaced; give another folder", param_hint="--out"
        )
    _prepare(corpus, source, out, reading, texts)


def _make(
    language: Literal["mandarin", "english"], train: int, out: Path, sentences: Path | None
) -> None:
    from keyframe_asr.data.corpora.summary import read_summary
    from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
    from keyframe_asr.data.corpora.synthetic.sentences import read_sentences

    corpus = SyntheticCorpus(language, train=train)
    if sentences is not None:
        lines = read_sentences(sentences, language)
        held_out = len(lines) // 40
        corpus = SyntheticCorpus(
            language, len(lines) - 2 * held_out, held_out, held_out, lines=lines
        )
    make_corpus(out, corpus)
    if summary := read_summary(out):
        _show(out, summary)


def _prepare(
    corpus: str, source: Path, out: Path, reading: ReadingOptions, texts: TextOptions
) -> None:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from keyframe_asr.data.corpora.preparation import PreparationOptions, prepare_corpus

    options = PreparationOptions(
        texts.units, texts.vocab_size, texts.digits, reading.allow_incomplete
    )
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    # elsewhere than on a terminal it would write an empty line
    quiet = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total)

        listing = reading.read(corpus, source, progress)
        prepared: Prepared = prepare_corpus(listing, out, options, progress)
    if prepared.was_there:
        typer.echo(f"{out}: is prepared already, nothing to do", err=True)
    _show(out, prepared.summary)


def _show(out: Path, summary: CorpusSummary) -> None:
    from rich.console import Console

    from keyframe_asr.data.corpora.summary import as_table

    console = Console()
    console.print(as_table(summary, out))
    for note in summary.notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
