"""The corpora that `keyframe prepare` knows, and which options each of them takes."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from keyframe_asr.data.corpora.listing import CorpusListing


@dataclass(frozen=True)
class Corpus:
    """Where a corpus is read.

    Attributes:
        module: file in `keyframe_asr.data.corpora` with `read(source, ...) -> CorpusListing`.
        options: keyword parameters of `read` that the command line may set by the same name.
        required: those of them without which there is nothing to read.
        download: keyword parameters of `download(source, ...)` in the same file; None if the
            corpus has to be obtained by hand.
    """

    module: str
    options: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    download: tuple[str, ...] | None = None


_PARTS = ("language", "train", "dev", "test")

CORPORA: dict[str, Corpus] = {
    "an4": Corpus("an4"),
    "kaldi": Corpus("kaldi", _PARTS, required=("language",)),
    "tsv": Corpus("tables", _PARTS, required=("language",)),
    "csv": Corpus("tables", _PARTS, required=("language",)),
    "lhotse": Corpus("cuts", _PARTS, required=("language",)),
}


@dataclass(frozen=True)
class ReadingOptions:
    """What of a corpus is read; a corpus takes some of these."""

    download: Annotated[
        bool, typer.Option("--download", help="Download the corpus into --source first.")
    ] = False
    hours: Annotated[int | None, typer.Option(help="Which size of the corpus, in hours.")] = None
    language: Annotated[
        Literal["english", "mandarin"] | None, typer.Option(help="Language of the transcripts.")
    ] = None
    train: Annotated[
        str | None, typer.Option(help="Folder or file of the training part, in --source.")
    ] = None
    dev: Annotated[str | None, typer.Option(help="The same of the development part.")] = None
    test: Annotated[str | None, typer.Option(help="The same of the test part.")] = None
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Go on although much cannot be used.")
    ] = False

    def check(self, name: str) -> None:
        """Refuse what the corpus of that name does not take, and ask for what it needs."""
        corpus = CORPORA[name]
        taken = {*corpus.options, *(corpus.download or ()), "allow_incomplete"}
        if corpus.download is not None:
            taken.add("download")
        for option in (field.name for field in fields(self)):
            given = getattr(self, option) not in (None, False)
            flag = f"--{option.replace('_', '-')}"
            if given and option not in taken:
                raise typer.BadParameter(f"{name} does not take it", param_hint=flag)
            if not given and option in corpus.required:
                raise typer.BadParameter(f"{name} needs it", param_hint=flag)

    def read(self, name: str, source: Path) -> CorpusListing:
        """Download the corpus of that name if asked to, then list it.

        Raises:
            ManifestError: it cannot be read, or is not what it should be.
        """
        corpus = CORPORA[name]
        module = importlib.import_module(f"keyframe_asr.data.corpora.{corpus.module}")
        if self.download:
            module.download(source, **self._given(corpus.download or ()))
        listing: CorpusListing = module.read(source, **self._given(corpus.options))
        return listing

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value not in (None, False)}
