"""Registry of the corpora, and `prepare`, which prepares one of them for training."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from keyframe_asr.config.text_choices import TEXT_FORM_NAMES, Digits, Units, language_tag
from keyframe_asr.errors import ManifestError, OptionError

if TYPE_CHECKING:
    from keyframe_asr.config.text_form import TextForm
    from keyframe_asr.data.corpora.listing import CorpusListing
    from keyframe_asr.data.corpora.preparation import PreparationProgress, Prepared

MIN_HOURS, MIN_VOCABULARY = 0.01, 8
"""Smallest values of `hours` and `vocab_size`."""

MAX_DEV_SHARE = 0.33
"""Largest value of `dev_share`."""


@dataclass(frozen=True)
class Corpus:
    """How a corpus is read.

    Attributes:
        module: module in `keyframe_asr.data.corpora`.
        options: fields of `PrepareOptions` that it accepts, in addition to those of every corpus.
        required: the options that must be given.
        archives: name of the corpus in `download`; None if it cannot be downloaded.
        parts: the parts of a larger corpus that make up this one; empty for all.
        reader: function of the module that lists the corpus in a `CorpusListing`.
    """

    module: str
    options: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    archives: str | None = None
    parts: tuple[str, ...] = ()
    reader: str = "read"


_OWN = ("language", "train", "dev", "test", "dev_speakers", "dev_share")
_COMPLETE = ("allow_incomplete",)

CORPORA: dict[str, Corpus] = {
    "an4": Corpus("an4", _COMPLETE),
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
    "kaldi": Corpus("kaldi", _OWN, ("language",)),
    "tsv": Corpus("tables", _OWN, ("language",), reader="read_table"),
    "csv": Corpus("tables", _OWN, ("language",), reader="read_table"),
    "lhotse": Corpus("tables", _OWN, ("language",), reader="read_cuts"),
    "auto": Corpus("any_source", ("language", "dev_speakers", "dev_share"), ("language",)),
}

SYNTHETIC: dict[str, tuple[str | None, int]] = {
    "synthetic": (None, 1500),
    "synthetic-mandarin": ("zh", 1500),
    "synthetic-english": ("en", 3000),
}
"""Corpora generated with espeak-ng: language, None if to be given, and training utterances."""

_SPOKEN_HERE = Corpus("synthetic.corpus", ("text_form", "tokenizer", "units", "vocab_size"))

NAMES = (*CORPORA, *SYNTHETIC)

TABLES: dict[str, str] = {"aishell_sample": "zh", "audio_cmn": "zh"}
"""Names that older versions had for corpora now read as a table, and their language."""

_ALSO_AS_TABLES = {"an4": "en", "speechocean762": "en"}
"""Corpora that older versions also read as a table."""


@dataclass(frozen=True)
class PrepareOptions:
    """Options of `prepare`; each corpus accepts some of them.

    Attributes:
        language: tag of the language (BCP 47), such as `de`, `zh-TW` or `zh+en`; for Common Voice
            the name of the part, which is its tag. `english` and `mandarin` stand for `en` and
            `zh`.
        train, dev, test: folder or file of each split, relative to the source.
        dev_speakers: speakers to move from the training split to the development split.
        dev_share: part of the training split to move to the development split, drawn by speaker if
            speakers are known.
        parts: parts of the corpus to use; empty for the usual parts.
        hours: use only this many hours of the training split, drawn at random.
        download: download the corpus into the source first.
        units: tokens; None is what suits the text form.
        vocab_size: maximum number of tokens; None is 500 pieces, or all characters.
        digits: leave out transcripts with digits, or keep them unchanged.
        allow_incomplete: continue even if many utterances cannot be used.
        text_form: name of the form of the texts, or a form; None is that of the language.
        tokenizer: trained model (folder or name) whose tokenizer and text form are taken, instead
            of `units`, `vocab_size` and `text_form`.
        overwrite: replace another prepared corpus in the output folder.
        shar: also write the recordings of each split, in lhotse's Shar format.
        jobs: processes that read recordings at the same time; changes no result.

    Raises:
        OptionError: a value is not one of the choices, or out of range.
    """

    language: str | None = None
    train: str | None = None
    dev: str | None = None
    test: str | None = None
    dev_speakers: tuple[str, ...] = ()
    dev_share: float | None = None
    parts: tuple[str, ...] = ()
    hours: float | None = None
    download: bool = False
    units: Units | None = None
    vocab_size: int | None = None
    digits: Digits = "refuse"
    allow_incomplete: bool = False
    text_form: str | TextForm | None = None
    tokenizer: Path | str | None = None
    overwrite: bool = False
    shar: bool = False
    jobs: int = 1

    def __post_init__(self) -> None:
        for name, allowed in (("units", (None, *get_args(Units))), ("digits", get_args(Digits))):
            value = getattr(self, name)
            if value not in allowed:
                names = ", ".join(filter(None, allowed))
                raise OptionError(name, f"'{value}' is not a choice; use one of {names}")
        if isinstance(self.text_form, str) and self.text_form not in TEXT_FORM_NAMES:
            raise OptionError(
                "text_form",
                f"'{self.text_form}' is not a text form; use one of {', '.join(TEXT_FORM_NAMES)}",
            )
        for name in ("text_form", "units", "vocab_size"):
            if self.tokenizer is not None and getattr(self, name) is not None:
                raise OptionError(name, "is that of the model given as tokenizer; leave it out")
        for name in ("parts", "dev_speakers"):
            if isinstance(getattr(self, name), str):  # would be read letter by letter
                raise OptionError(name, f"'{getattr(self, name)}' is a string; give a tuple")
        if self.dev_share is not None and not 0 < self.dev_share <= MAX_DEV_SHARE:
            raise OptionError("dev_share", f"{self.dev_share} is not between 0 and {MAX_DEV_SHARE}")
        if self.dev_share is not None and self.dev_speakers:
            raise OptionError(
                "dev_share", "names the development set, as does dev_speakers; give one"
            )
        for name, least in (("hours", MIN_HOURS), ("vocab_size", MIN_VOCABULARY), ("jobs", 1)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise OptionError(name, f"{value} is too small; give at least {least}")


_DEFAULTS = PrepareOptions()

_EVERY = (
    "text_form",
    "tokenizer",
    "units",
    "vocab_size",
    "digits",
    "allow_incomplete",
    "shar",
    "jobs",
)
"""Options that every corpus accepts."""


def prepare(
    corpus: str,
    source: Path | str | None,
    out: Path | str,
    options: PrepareOptions | None = None,
    progress: PreparationProgress | None = None,
) -> Prepared:
    """Write manifests, tokenizer, feature statistics and a summary of a corpus into a folder.

    Does nothing if the folder already contains the result. Another prepared corpus there is
    replaced only with the option `overwrite`.

    Args:
        corpus: one of `NAMES`.
        source: folder of the corpus as published, or a table; for `auto` anything that
            `data.sources` reads; for a synthetic corpus a text file with one sentence per line to
            speak, or None.
        out: folder to write.
        options: which part of the corpus to prepare, and how.
        progress: called with the name of the current step, the number of items done and the total.

    Returns:
        Paths of the files, and a summary of the corpus.

    Raises:
        OptionError: the corpus is unknown, or does not accept an option, or lacks a required one.
        ManifestError: the corpus cannot be read or is incomplete, or `out` cannot be written or
            contains another prepared corpus.
        RecipeError: the tokenizer cannot be trained on the texts.
        ModelError: the model whose tokenizer is given cannot be read.
    """
    source, out = None if source is None else Path(source), Path(out)
    options = options or _DEFAULTS
    _check(corpus, source, out, options)
    if corpus in SYNTHETIC:
        return _prepare_synthetic(corpus, source, out, options, progress)
    if source is None:
        raise OptionError("source", f"{corpus} needs the folder that contains it")
    from keyframe_asr.data.corpora.preparation import prepare_corpus
    from keyframe_asr.data.corpora.preparation_options import PreparationOptions

    chosen = {name: getattr(options, name) for name in _EVERY}
    texts = PreparationOptions(**chosen, dev_share=options.dev_share or 0.0)
    listing = _listing(corpus, source, options)
    if options.dev_share and listing.splits.get("dev"):
        raise ManifestError(f"{source}: already has a development set; leave out --dev-share")
    return prepare_corpus(listing, out, texts, progress, options.overwrite)


def _check(corpus: str, source: Path | None, out: Path, options: PrepareOptions) -> None:
    """Raise an error for options that the corpus does not accept, and for missing ones."""
    language = TABLES.get(corpus)
    if source is not None and os.path.isfile(source / "manifest.tsv"):
        language = language or _ALSO_AS_TABLES.get(corpus)
    if language is not None:
        raise ManifestError(
            f"{corpus}: now read as a table; use: keyframe prepare tsv "
            f"--source {source or 'FOLDER'} --out {out} --language {language}"
        )
    if corpus not in NAMES:
        raise OptionError("corpus", f"unknown corpus '{corpus}'; choose one of {', '.join(NAMES)}")
    known = CORPORA.get(corpus) or _SPOKEN_HERE
    taken = {"overwrite", *known.options, *(_EVERY if corpus in CORPORA else ())}
    required = known.required
    if SYNTHETIC.get(corpus, ("", 0))[0] is None:
        taken, required = {*taken, "language"}, ("language",)
    if known.archives is not None:
        taken |= {"download"}
    for option in (field.name for field in fields(options)):
        value = getattr(options, option)
        if value != getattr(_DEFAULTS, option) and option not in taken:
            raise OptionError(option, f"{corpus} does not accept it{_accepting(option)}")
        if not value and option in required:
            advice = "; give a tag such as en, de or zh" if option == "language" else ""
            raise OptionError(option, f"{corpus} needs it{advice}")
    if options.language is not None:
        try:
            language_tag(options.language)
        except ValueError as error:
            raise OptionError("language", str(error)) from None
    if source is not None and out.resolve() == source.resolve():
        raise OptionError("out", "is also the source, which would be overwritten; give another")


def _accepting(option: str) -> str:
    """Name the corpora that accept an option."""
    known = [
        name
        for name, one in CORPORA.items()
        if option in (*one.options, *one.required, *_EVERY)
        or (option == "download" and one.archives)
    ]
    if option == "language":
        known += [name for name, (language, _) in SYNTHETIC.items() if language is None]
    return f"; {', '.join(known)} {'do' if len(known) > 1 else 'does'}" if known else ""


def _listing(corpus: str, source: Path, options: PrepareOptions) -> CorpusListing:
    """Download the corpus if requested, then list it."""
    known = CORPORA[corpus]
    if options.download and known.archives is not None:
        from keyframe_asr.data.corpora.download import download

        source = download(known.archives, source, parts=options.parts or None)
    module = importlib.import_module(f"keyframe_asr.data.corpora.{known.module}")
    given = {option: getattr(options, option) for option in known.options}
    if options.language is not None:
        given["language"] = language_tag(options.language)
    given["parts"] = known.parts or options.parts
    speakers, _ = given.pop("dev_speakers", ()), given.pop("dev_share", None)
    read = getattr(module, known.reader)
    listing: CorpusListing = read(source, **{name: value for name, value in given.items() if value})
    if speakers:
        from keyframe_asr.data.corpora.listing import hold_out_speakers

        listing = hold_out_speakers(listing, speakers)
    return listing


def _prepare_synthetic(
    corpus: str,
    source: Path | None,
    out: Path,
    options: PrepareOptions,
    progress: PreparationProgress | None,
) -> Prepared:
    from keyframe_asr.data.corpora.preparation import Prepared
    from keyframe_asr.data.corpora.preparation_options import PreparationOptions
    from keyframe_asr.data.corpora.summary import read_summary
    from keyframe_asr.data.corpora.synthetic import sentences
    from keyframe_asr.data.corpora.synthetic.corpus import (
        LINES_PER_HELD_OUT,
        SyntheticCorpus,
        make_corpus,
    )

    usual, train = SYNTHETIC[corpus]
    language = usual or options.language or ""
    texts = PreparationOptions(**{name: getattr(options, name) for name in _SPOKEN_HERE.options})
    if source is None:
        known = sentences.languages()
        if sentences.primary(language) not in known:
            raise OptionError(
                "source",
                f"there are no built-in sentences in {language}, only in {', '.join(known)}; give "
                "a text file with one sentence per line",
            )
        recipe = SyntheticCorpus(language, train=train)
    else:
        lines = sentences.read_sentences(source, language, texts.form(language))
        held_out = len(lines) // LINES_PER_HELD_OUT
        recipe = SyntheticCorpus(
            language, len(lines) - 2 * held_out, held_out, held_out, lines=lines
        )
    before = read_summary(out)
    make_corpus(out, recipe, texts, progress, options.overwrite)
    summary = read_summary(out)
    if summary is None:
        raise ManifestError(f"{out}: the result cannot be read back; check the disk")
    return Prepared.of(out, summary, was_there=summary == before)
