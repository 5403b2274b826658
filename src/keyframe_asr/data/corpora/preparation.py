"""From what a corpus lists to what a training starts from.

Into one folder: `train`, `dev` and `test` manifests with texts in their normal form, the tokenizer
and the feature statistics of the training split, `problems.txt` with every utterance that is left
out and why, and last `summary.json`, without which the folder is no complete preparation.

Left out are utterances whose recording cannot be read and those whose transcript cannot be
trusted: empty ones, and those with letters or digits that the normal form would drop although they
are spoken. Numbers in digits are refused by default: "42" may be read as "forty two" or "four two",
and the usual corpora spell out what was said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field, replace
from os.path import abspath
from pathlib import Path
from typing import Literal

from lhotse.cut import Cut, MonoCut

from keyframe_asr.audio.features import Fbank
from keyframe_asr.audio.reading import AudioLength, read_length
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.data.corpora.listing import SPLITS, CorpusListing, ListedUtterance
from keyframe_asr.data.corpora.summary import (
    PROBLEMS,
    CorpusSummary,
    begin,
    fingerprint,
    finished,
    manifest_paths,
    publish,
    summarise,
    write_lines,
)
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import make_cut, text
from keyframe_asr.data.statistics import STATISTICS_FILE, measure_statistics
from keyframe_asr.errors import AudioError, KeyframeError, ManifestError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.text.forms import Digits, Language, Normalisation, has_digits, normalisation_for
from keyframe_asr.text.tokenizer import Tokenizer, train_tokenizer

Units = Literal["characters", "unigram", "bpe"]
PreparationProgress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

VERSION = "1"
"""To be raised whenever the same corpus gives another preparation than before."""

MOST_PROBLEMS = 0.01
"""Share of a corpus beyond which something is wrong with all of it."""

VOCAB_SIZE = 500
"""Sentencepiece pieces, unless another number is asked for."""

OVERHANG = 0.5
"""Seconds by which a part of a recording may end after it: times of segments are rounded."""

THREADS = 8
"""Most of the time is spent waiting for the disk, or in libsndfile, which lets others run."""

_NAMED_PROBLEMS = 3


@dataclass(frozen=True)
class PreparationOptions:
    """What a user may decide.

    Attributes:
        units: of text; None is characters for Mandarin and unigram pieces for the rest.
        vocab_size: an upper bound; None is every character, or `VOCAB_SIZE` pieces.
        digits: of transcripts that hold some, `refuse` leaves out, `keep` takes as they are.
        allow_incomplete: go on however many utterances are left out.
    """

    units: Units | None = None
    vocab_size: int | None = None
    digits: Digits = "refuse"
    allow_incomplete: bool = False

    def tokenizer(self, language: Language) -> TokenizerConfig:
        """What a recipe would say of the tokenizer."""
        units = self.units or ("characters" if language == "mandarin" else "unigram")
        if units == "characters":
            return TokenizerConfig(kind="characters", vocab_size=self.vocab_size)
        size = self.vocab_size or VOCAB_SIZE
        return TokenizerConfig(kind="sentencepiece", vocab_size=size, model_type=units)


DEFAULT_OPTIONS = PreparationOptions()


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus.

    Attributes:
        manifests: one for each split: train, dev and test.
        tokenizer: folder that holds the tokenizer and the feature statistics; None without them.
        summary: what the corpus holds.
        was_there: whether all of it was there before.
    """

    manifests: dict[str, Path]
    tokenizer: Path | None
    summary: CorpusSummary
    was_there: bool

    @classmethod
    def of(cls, out: Path, summary: CorpusSummary, was_there: bool) -> Prepared:
        """The corpus that has been prepared in a folder."""
        tokenizer = out if summary.tokenizer is not None else None
        return cls(manifest_paths(out), tokenizer, summary, was_there)


def prepare_corpus(
    listing: CorpusListing,
    out: Path,
    options: PreparationOptions = DEFAULT_OPTIONS,
    progress: PreparationProgress | None = None,
) -> Prepared:
    """Write manifests, tokenizer, statistics and summary of a corpus into `out`.

    Does nothing if `out` already holds the result; an interrupted result is made anew.

    Raises:
        ManifestError: the corpus lists nothing or a name twice, more than `MOST_PROBLEMS` of it
            cannot be used, or `out` cannot be written.
        RecipeError: there can be no such tokenizer of its texts.
    """
    listing = _checked(listing)
    mark = _fingerprint(listing, options)
    if done := finished(out, mark):
        return Prepared.of(out, done, was_there=True)
    try:
        begin(out)
        summary = _Preparation(listing, out, options, progress or _untold, [*listing.problems]).run(
            mark
        )
    except OSError as error:
        raise ManifestError(
            f"{out}: cannot be written ({error.strerror or error}); choose another --out"
        ) from None
    return Prepared.of(out, summary, was_there=False)


def _untold(what: str, done: int, total: int) -> None:
    pass


@dataclass
class _Preparation:
    listing: CorpusListing
    out: Path
    options: PreparationOptions
    progress: PreparationProgress
    problems: list[str]
    normalisation: Normalisation = field(init=False)

    def __post_init__(self) -> None:
        self.normalisation = normalisation_for(self.listing.language, self.options.digits)

    def run(self, mark: str) -> CorpusSummary:
        splits = self._measured(self._normalised())
        self._check_problems()
        tokenizer = self._learn(splits)
        self._check_problems()
        config = self.options.tokenizer(self.listing.language) if tokenizer else None
        summary = CorpusSummary(
            corpus=self.listing.corpus,
            fingerprint=mark,
            splits={split: summarise(cuts, tokenizer) for split, cuts in splits.items()},
            notes=[*self.listing.notes, *self._more_notes(splits)],
            language=self.listing.language,
            normalisation=self.normalisation.name,
            tokenizer=config.model_dump() if config else None,
            problems=len(self.problems),
        )
        publish(self.out, summary, splits)
        return summary

    def _normalised(self) -> dict[str, list[ListedUtterance]]:
        """Utterances with a usable transcript, that in its normal form."""
        splits: dict[str, list[ListedUtterance]] = {split: [] for split in SPLITS}
        for split, utterances in self.listing.splits.items():
            for one in utterances:
                if reason := self._unusable(one.text):
                    self._leave_out(one.id, reason)
                else:
                    splits[split].append(replace(one, text=self.normalisation(one.text)))
        return splits

    def _unusable(self, transcript: str) -> str | None:
        if self.options.digits == "refuse" and has_digits(transcript):
            return f"its transcript has digits, which say not how they are read: {transcript}"
        if lost := self.normalisation.lost(transcript):
            return f"its transcript has {lost}, foreign to {self.listing.language}: {transcript}"
        if not self.normalisation(transcript):
            return f"its transcript says nothing: '{transcript}'"
        return None

    def _measured(self, splits: dict[str, list[ListedUtterance]]) -> dict[str, list[Cut]]:
        """Cuts of exact length; each recording is opened once, however many parts it has."""
        utterances = [one for split in splits.values() for one in split]
        paths = list(dict.fromkeys(one.audio for one in utterances))
        lengths = _read_lengths(
            paths, lambda done, total: self.progress("opening recordings", done, total)
        )
        measured: dict[str, list[Cut]] = {split: [] for split in splits}
        for split, listed in splits.items():
            for one in listed:
                length = lengths[one.audio]
                cut = str(length) if isinstance(length, AudioError) else cut_of(one, length)
                if isinstance(cut, str):
                    self._leave_out(one.id, cut)
                else:
                    measured[split].append(cut)
        return measured

    def _learn(self, splits: dict[str, list[Cut]]) -> Tokenizer | None:
        """Tokenizer and statistics of the training split, if there is one."""
        if not splits["train"]:
            return None
        damaged: dict[str, str] = {}

        def leave_out(cut: Cut, error: KeyframeError) -> None:
            damaged[cut.id] = str(error)

        statistics = measure_statistics(
            splits["train"],
            FeatureStore(Fbank(FeaturesConfig()), keep=False),
            unreadable=leave_out,
            progress=lambda done, total: self.progress("measuring features", done, total),
        )
        for name, reason in damaged.items():
            self._leave_out(name, reason)
        splits["train"] = [cut for cut in splits["train"] if cut.id not in damaged]
        config = self.options.tokenizer(self.listing.language)
        tokenizer = train_tokenizer((text(cut) for cut in splits["train"]), config)
        write_whole(
            self.out / tokenizer.file_name,
            tokenizer.content(),
            "choose another --out",
            ManifestError,
        )
        write_lines(self.out / STATISTICS_FILE, [json.dumps(statistics)])
        return tokenizer

    def _leave_out(self, name: str, reason: str) -> None:
        self.problems.append(" ".join(f"{name}: {reason}".split()))

    def _check_problems(self) -> None:
        """Write them down; too many are no accident."""
        if not self.problems:
            return
        write_lines(self.out / PROBLEMS, self.problems)
        total = len(self.listing.problems) + sum(map(len, self.listing.splits.values()))
        if self.options.allow_incomplete or len(self.problems) <= MOST_PROBLEMS * total:
            return
        some = "; ".join(self.problems[:_NAMED_PROBLEMS])
        more = "; ..." if len(self.problems) > _NAMED_PROBLEMS else ""
        keep = ", or keep digits with --digits keep" if " has digits, " in some else ""
        raise ManifestError(
            f"{self.out / PROBLEMS}: {len(self.problems)} of {total} utterances cannot be used "
            f"({some}{more}); mend the corpus{keep}, or leave them out with --allow-incomplete"
        )

    def _more_notes(self, splits: dict[str, list[Cut]]) -> list[str]:
        notes = []
        listed = {str(split): len(ones) for split, ones in self.listing.splits.items()}
        for split, cuts in splits.items():
            total = listed.get(split, 0)
            if not cuts:
                notes.append(f"{split}: no utterances")
            elif len(cuts) < total:
                whole = "; error rates are not those of the whole set" if split == "test" else ""
                notes.append(
                    f"{split}: {total - len(cuts)} of {total} utterances are left out, for the "
                    f"reasons in {PROBLEMS}{whole}"
                )
        if self.listing.problems:
            notes.append(
                f"{len(self.listing.problems)} utterances of the corpus are of no use, for the "
                f"reasons in {PROBLEMS}"
            )
        return notes


def cut_of(utterance: ListedUtterance, length: AudioLength) -> MonoCut | str:
    """The cut of an utterance in a recording of that length, or why there can be none."""
    first = round(utterance.start * length.sample_rate)
    last = length.samples
    if utterance.end is not None:
        last = round(utterance.end * length.sample_rate)
    seconds = length.samples / length.sample_rate
    if last > length.samples + OVERHANG * length.sample_rate:
        return f"{utterance.audio}: ends at {seconds:.2f} s, the utterance at {utterance.end:.2f} s"
    last = min(last, length.samples)
    if not 0 <= first < last:
        return f"{utterance.audio}: has {seconds:.2f} s; from {utterance.start:.2f} s is nothing"
    whole = utterance.start == 0 and utterance.end is None
    return make_cut(
        utterance.id,
        utterance.speaker,
        utterance.text,
        utterance.audio,
        length.samples,
        length.sample_rate,
        None if whole else (first, last),
    )


def _checked(listing: CorpusListing) -> CorpusListing:
    """The listing with absolute paths, once it holds something and every name only once."""
    seen: set[str] = set()
    for utterances in listing.splits.values():
        for one in utterances:
            if one.id in seen:
                raise ManifestError(
                    f"{listing.corpus}: utterance '{one.id}' is listed twice; give each its name"
                )
            seen.add(one.id)
    if not seen:
        raise ManifestError(f"{listing.corpus}: lists no utterances; check the folder of --source")
    splits = {
        split: [replace(one, audio=Path(abspath(one.audio))) for one in utterances]
        for split, utterances in listing.splits.items()
    }
    return replace(listing, splits=splits)


def _fingerprint(listing: CorpusListing, options: PreparationOptions) -> str:
    parts = [f"preparation {VERSION}", listing.corpus, listing.language]
    parts += [repr(replace(options, allow_incomplete=False)), *listing.notes, *listing.problems]
    stamps: dict[Path, tuple[int, int]] = {}
    for split, utterances in listing.splits.items():
        parts.append(split)
        for one in utterances:
            if one.audio not in stamps:
                stamps[one.audio] = _stamp(one.audio)
            parts.append(repr((*astuple(one), stamps[one.audio])))
    return fingerprint(*parts)


def _read_lengths(
    paths: Sequence[Path], progress: Callable[[int, int], None]
) -> dict[Path, AudioLength | AudioError]:
    """The length of each recording, or why there is none; `progress` is told (done, total)."""
    found = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for path, length in zip(paths, pool.map(_length_or_error, paths), strict=True):
            found[path] = length
            progress(len(found), len(paths))
    return found


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last change of a file, which tell whether it is still the same."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


def _length_or_error(path: Path) -> AudioLength | AudioError:
    try:
        return read_length(path)
    except AudioError as error:
        return error
