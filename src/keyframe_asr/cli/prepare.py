"""`keyframe prepare`: turn a corpus into train, dev and test manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

CORPORA = ("an4", "synthetic-mandarin", "synthetic-english")


def prepare(
    corpus: Annotated[str, typer.Argument(help=f"One of: {', '.join(CORPORA)}.")],
    out: Annotated[Path, typer.Option(help="Folder for the manifests, and for what is made.")],
    source: Annotated[
        Path | None, typer.Option(help="Folder of the corpus as it was obtained; none if made.")
    ] = None,
) -> None:
    """Write the manifests of a corpus: OUT/train.jsonl.gz, OUT/dev.jsonl.gz, OUT/test.jsonl.gz.

    The synthetic corpora are made on the spot with espeak-ng. Does nothing if OUT is complete.
    """
    if corpus == "an4":
        _prepare_an4(source, out)
    elif corpus == "synthetic-mandarin":
        _make("mandarin", 1500, source, out)
    elif corpus == "synthetic-english":
        _make("english", 3000, source, out)
    else:
        raise typer.BadParameter(
            f"there is no corpus '{corpus}'; choose one of {', '.join(CORPORA)}",
            param_hint="CORPUS",
        )
    _print_summary(out)


def _prepare_an4(source: Path | None, out: Path) -> None:
    if source is None:
        raise typer.BadParameter("an4 needs the folder that holds it", param_hint="--source")
    from keyframe_asr.data.corpora import an4

    an4.prepare(source, out)


def _make(
    language: Literal["mandarin", "english"], train: int, source: Path | None, out: Path
) -> None:
    if source is not None:
        raise typer.BadParameter(
            f"synthetic-{language} is made here and takes no source", param_hint="--source"
        )
    from keyframe_asr.data.corpora.synthetic import SyntheticCorpus, make_corpus

    make_corpus(out, SyntheticCorpus(language, train=train))


def _print_summary(out: Path) -> None:
    from keyframe_asr.data.corpora.summary import manifest_paths, read_summary

    summary = read_summary(out)
    if summary is None:
        return
    for split, path in manifest_paths(out).items():
        counts = summary.splits[split]
        typer.echo(
            f"{path}: {counts.utterances} utterances, {counts.speakers} speakers, "
            f"{counts.hours:.2f} h, {counts.words} words, {counts.characters} characters"
        )
    for note in summary.notes:
        typer.echo(note)
