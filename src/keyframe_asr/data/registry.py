"""The corpora that `keyframe prepare` knows, and which options each of them takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keyframe_asr.data.corpora.listing import CorpusListing


LANGUAGES = ("english", "mandarin")


@dataclass(frozen=True)
class Corpus:
    """Where a corpus is read.

    Attributes:
        module: file in `keyframe_asr.data.corpora` with `read(source, ...) -> CorpusListing`.
        options: keyword parameters of `read` that the command line sets by the same name.
        required: those of them without which there is nothing to read.
        languages: what `language` may be; empty if the corpus has its own names for them.
        archives: the corpus's name for `download`; None if it has to be obtained by hand.
        parts: those of a larger corpus that this one is; empty for all.
    """

    module: str
    options: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    archives: str | None = None
    parts: tuple[str, ...] = ()


_OWN = ("language", "train", "dev", "test")
_COMPLETE = ("allow_incomplete",)

CORPORA: dict[str, Corpus] = {
    "an4": Corpus("an4"),
    "aishell1": Corpus("aishell1", _COMPLETE, archives="aishell1"),
    "aishell2": Corpus("aishell2", ("hours", *_COMPLETE)),
    "thchs30": Corpus("thchs30", _COMPLETE, archives="thchs30"),
    "librispeech": Corpus("librispeech", ("parts", *_COMPLETE), archives="librispeech"),
    "mini_librispeech": Corpus(
        "librispeech",
        _COMPLETE,
        archives="mini_librispeech",
        parts=("train-clean-5", "dev-clean-2"),
    ),
    "speechocean762": Corpus("speechocean762", _COMPLETE, archives="speechocean762"),
    "commonvoice": Corpus("commonvoice", ("language",)),
    "aishell_sample": Corpus("aishell_sample"),
    "audio_cmn": Corpus("audio_cmn"),
    "kaldi": Corpus("kaldi", _OWN, ("language",), LANGUAGES),
    "tsv": Corpus("tables", _OWN, ("language",), LANGUAGES),
    "csv": Corpus("tables", _OWN, ("language",), LANGUAGES),
    "lhotse": Corpus("cuts", _OWN, ("language",), LANGUAGES),
}


@dataclass(frozen=True)
class ReadingOptions:
    """What of a corpus is read; a corpus takes some of these."""

    download: Annotated[
        bool, typer.Option("--download", help="Download the corpus into --source first.")
    ] = False
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", help="A part of the corpus, by its name there; may be repeated."),
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
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Go on although much cannot be used.")
    ] = False

    def check(self, name: str) -> None:
        """Refuse what the corpus of that name does not take, and ask for what it needs."""
        corpus = CORPORA[name]
        taken = {*corpus.options, "allow_incomplete"}
        if corpus.archives is not None:
            taken |= {"download"}
        for option, value in vars(self).items():
            flag = "--part" if option == "parts" else f"--{option.replace('_', '-')}"
            if value and option not in taken:
                raise typer.BadParameter(f"{name} does not take it", param_hint=flag)
            if not value and option in corpus.required:
                raise typer.BadParameter(f"{name} needs it", param_hint=flag)
        if corpus.languages and self.language and self.language not in corpus.languages:
            raise typer.BadParameter(
                f"is '{self.language}'; choose one of {', '.join(corpus.languages)}",
                param_hint="--language",
            )

    def read(
        self, name: str, source: Path, progress: Callable[[str, int, int | None], None]
    ) -> CorpusListing:
        """Download the corpus of that name if asked to, then list it.

        Raises:
            ManifestError: it cannot be read, or is not what it should be.
        """
        corpus = CORPORA[name]
        if self.download:
            downloading = importlib.import_module("keyframe_asr.data.corpora.download")
            source = downloading.download(
                corpus.archives, source, progress, parts=self.parts or None
            )
        module = importlib.import_module(f"keyframe_asr.data.corpora.{corpus.module}")
        given = {option: getattr(self, option) for option in corpus.options}
        chosen = {option: value for option, value in given.items() if value}
        if corpus.parts:
            chosen["parts"] = corpus.parts
        listing: CorpusListing = module.read(source, **chosen)
        return listing
