"""Prepare a corpus for training.

Writes into one folder: `train`, `dev` and `test` manifests with normalised texts, the tokenizer and
the feature statistics of the training split, `problems.txt` with every utterance that is left out
and the reason, and last `summary.json`, which marks the folder as complete. If asked for, the
recordings are written as well, as `shar/train` and so on.

Utterances are left out if their recording cannot be read or their transcript cannot be trusted
(`data.fitting_texts`).

A form that loses more than `MAX_LOST` of the words is the wrong form: the preparation stops.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import astuple, dataclass, field, replace
from os.path import abspath
from pathlib import Path

from lhotse.cut import Cut

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.corpora.learned_files import learn_files, note_on_model, notes_on_tokens
from keyframe_asr.data.corpora.listed_cut import cut_of
from keyframe_asr.data.corpora.listing import (
    SPLITS,
    CorpusListing,
    ListedUtterance,
    advice_on_missing_dev,
)
from keyframe_asr.data.corpora.preparation_options import DEFAULT_OPTIONS, PreparationOptions
from keyframe_asr.data.corpora.summary import (
    PROBLEMS,
    CorpusSummary,
    begin,
    fingerprint,
    finished,
    manifest_paths,
    publish,
    shar_folder,
    stored_form,
    summarise,
    write_lines,
)
from keyframe_asr.data.fitting_texts import TextRules
from keyframe_asr.data.holding_out import describe_division, hold_out
from keyframe_asr.data.recording_lengths import read_lengths
from keyframe_asr.data.shar import check_complete
from keyframe_asr.data.shar_writing import write_shar
from keyframe_asr.errors import AudioError, KeyframeError, ManifestError
from keyframe_asr.text.forms import (
    MAX_LOST,
    Losses,
    Normaliser,
    keeping_form,
    losses_of,
    normaliser,
)
from keyframe_asr.text.numbers import has_digits
from keyframe_asr.text.tokenizer import Tokenizer

PreparationProgress = Callable[[str, int, int], None]
"""Called with the name of the current step, the number of items done and the total."""

VERSION = "2"
"""Raise this when the same corpus gives another result than before."""

MAX_PROBLEMS = 0.01
"""Fraction of unusable utterances above which the preparation fails."""

_NAMED_PROBLEMS = 3


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus.

    Attributes:
        manifests: paths by split: train, dev and test.
        tokenizer: folder of the tokenizer and the feature statistics; None without a training
            split.
        summary: sizes of the splits and notes.
        was_there: True if the result existed before.
    """

    manifests: dict[str, Path]
    tokenizer: Path | None
    summary: CorpusSummary
    was_there: bool

    @classmethod
    def of(cls, out: Path, summary: CorpusSummary, was_there: bool) -> Prepared:
        """Describe the corpus that has been prepared in folder `out`."""
        tokenizer = out if summary.tokenizer is not None else None
        return cls(manifest_paths(out), tokenizer, summary, was_there)


def prepare_corpus(
    listing: CorpusListing,
    out: Path,
    options: PreparationOptions = DEFAULT_OPTIONS,
    progress: PreparationProgress | None = None,
    overwrite: bool = False,
) -> Prepared:
    """Write manifests, tokenizer, statistics and summary of a corpus into `out`.

    Does nothing if `out` already contains the result; restarts if it is incomplete. Another corpus
    in `out` is replaced only with `overwrite`.

    Raises:
        ManifestError: the listing is empty or repeats a name, more than `MAX_PROBLEMS` of the
            utterances cannot be used, or `out` cannot be written or contains another corpus.
        RecipeError: the tokenizer cannot be trained on the texts.
        ModelError: the model whose tokenizer is given cannot be read.
    """
    listing = _checked(listing)
    mark = _fingerprint(listing, options)
    if done := finished(out, mark):
        try:
            for split in done.splits if options.shar else ():
                check_complete(str(shar_folder(out, split)))
            return Prepared.of(out, done, was_there=True)
        except ManifestError:
            if not overwrite:
                raise
    try:
        replaced = begin(out, overwrite)
        preparation = _Preparation(
            listing, out, options, progress or _no_progress, [*listing.problems]
        )
        summary = preparation.run(mark, replaced)
    except OSError as error:
        raise ManifestError(
            f"{out}: cannot be written ({error.strerror or error}); choose another --out"
        ) from None
    return Prepared.of(out, summary, was_there=False)


def _no_progress(what: str, done: int, total: int) -> None:
    pass


@dataclass
class _Preparation:
    listing: CorpusListing
    out: Path
    options: PreparationOptions
    progress: PreparationProgress
    problems: list[str]
    form: TextForm = field(init=False)
    normalise: Normaliser = field(init=False)
    trained: Tokenizer | None = field(init=False)
    losses: Losses = field(default_factory=Losses)
    divided: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.form = self.options.form(self.listing.language)
        self.normalise = normaliser(self.form)
        self.trained = self.options.trained_tokenizer()

    def run(self, mark: str, replaced: set[Path]) -> CorpusSummary:
        self._check_form()
        splits = self._held_out(self._measured(self._normalised()))
        self._check_problems()
        if self.options.shar:
            splits = self._archived(splits)
        tokenizer = self._learn(splits)
        self._check_problems()
        config = self.options.tokenizer_config(self.form)
        notes = notes_on_tokens(tokenizer, config)
        described = config.model_dump(exclude={"of_model"})
        if self.trained:
            notes, described = (
                note_on_model(str(self.options.tokenizer)),
                {"kind": self.trained.kind},
            )
        summary = CorpusSummary(
            corpus=self.listing.corpus,
            fingerprint=mark,
            splits={split: summarise(cuts, tokenizer) for split, cuts in splits.items()},
            notes=[*self.listing.notes, *self._more_notes(splits), *notes],
            language=self.listing.language,
            text_form=stored_form(self.form),
            tokenizer=described if tokenizer else None,
            problems=len(self.problems),
            model=str(self.options.tokenizer or ""),
            statistics=self.options.features() is not None,
        )
        publish(self.out, summary, splits, replaced)
        return summary

    def _check_form(self) -> None:
        """Count what the form drops. Raises `ManifestError` if that is too much."""
        keep = self.options.digits == "keep"
        texts = [
            one.text
            for split in self.listing.splits.values()
            for one in split
            if keep or not has_digits(one.text)
        ]
        self.losses.add(losses_of(texts, self.form))
        if self.options.allow_incomplete or self.losses.fraction <= MAX_LOST:
            return
        advice = "take the tokenizer of another model"
        if self.trained is None:
            suited = keeping_form(texts).name
            advice = f"choose another form, such as --text-form {suited}"
            if self.options.text_form is None and suited != self.form.name:
                advice = f"check --language, or {advice}"
        raise ManifestError(
            f"{self.listing.corpus}: the text form {self.form.name} of language "
            f"{self.listing.language} loses {self.losses.fraction:.1%} of the words "
            f"({self.losses.named()}); {advice}, or accept the loss with --allow-incomplete"
        )

    def _normalised(self) -> dict[str, list[ListedUtterance]]:
        """Return the utterances with a usable transcript, normalised."""
        rules = TextRules(self.form, self.options.digits, self.trained, str(self.options.tokenizer))
        splits: dict[str, list[ListedUtterance]] = {split: [] for split in SPLITS}
        for split, utterances in self.listing.splits.items():
            for one in utterances:
                if reason := rules.unusable(one.text):
                    self._leave_out(one.id, reason)
                else:
                    splits[split].append(replace(one, text=self.normalise(one.text)))
        return splits

    def _measured(self, splits: dict[str, list[ListedUtterance]]) -> dict[str, list[Cut]]:
        """Make cuts of exact length; each recording is opened once, even if it has many parts."""
        utterances = [one for split in splits.values() for one in split]
        lengths = read_lengths(
            (one.audio for one in utterances),
            lambda done, total: self.progress("opening recordings", done, total),
            self.options.jobs,
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

    def _held_out(self, splits: dict[str, list[Cut]]) -> dict[str, list[Cut]]:
        """Move part of the training split to the development split, if that is asked for."""
        share, name = self.options.dev_share, self.listing.corpus
        if not share:
            return splits
        train, dev = hold_out(splits["train"], share, name=name)
        self.divided = [describe_division(train, dev)]
        return splits | {"train": list(train), "dev": list(dev)}

    def _archived(self, splits: dict[str, list[Cut]]) -> dict[str, list[Cut]]:
        """Write the recordings of each split; returns the cuts that could be read."""
        written = {}
        for split, cuts in splits.items():
            progress = functools.partial(self.progress, f"writing shar/{split}")
            folder, jobs = shar_folder(self.out, split), self.options.jobs
            damaged = write_shar(cuts, folder, jobs=jobs, progress=progress)
            for name, reason in damaged.items():
                self._leave_out(name, reason)
            written[split] = [cut for cut in cuts if cut.id not in damaged]
        return written

    def _learn(self, splits: dict[str, list[Cut]]) -> Tokenizer | None:
        """Write tokenizer and statistics of the training split, if there is one."""
        if not splits["train"]:
            return None
        damaged: dict[str, str] = {}

        def leave_out(cut: Cut, error: KeyframeError) -> None:
            damaged[cut.id] = str(error)

        tokens = self.trained or self.options.tokenizer_config(self.form)
        tokenizer = learn_files(
            splits["train"],
            tokens,
            self.out,
            self.progress,
            leave_out,
            self.options.features(),
            self.options.jobs,
        )
        for name, reason in damaged.items():
            self._leave_out(name, reason)
        splits["train"] = [cut for cut in splits["train"] if cut.id not in damaged]
        return tokenizer

    def _leave_out(self, name: str, reason: str) -> None:
        self.problems.append(" ".join(f"{name}: {reason}".split()))

    def _check_problems(self) -> None:
        """Write `problems.txt`; raise `ManifestError` if there are too many problems."""
        if not self.problems:
            return
        write_lines(self.out / PROBLEMS, self.problems)
        total = len(self.listing.problems) + sum(map(len, self.listing.splits.values()))
        if self.options.allow_incomplete or len(self.problems) <= MAX_PROBLEMS * total:
            return
        some = "; ".join(self.problems[:_NAMED_PROBLEMS])
        more = "; ..." if len(self.problems) > _NAMED_PROBLEMS else ""
        keep = ", or keep digits with --digits keep" if " has digits, " in some else ""
        raise ManifestError(
            f"{self.out / PROBLEMS}: {len(self.problems)} of {total} utterances cannot be used "
            f"({some}{more}); fix the corpus{keep}, or leave them out with --allow-incomplete"
        )

    def _more_notes(self, splits: dict[str, list[Cut]]) -> list[str]:
        notes = []
        listed = {str(split): len(ones) for split, ones in self.listing.splits.items()}
        for split, cuts in splits.items():
            total = listed.get(split, 0)
            if not cuts:
                how = advice_on_missing_dev(self.listing) if split == "dev" else ""
                notes.append(f"{split}: no utterances{how}")
            elif len(cuts) < total and not (split == "train" and self.divided):
                whole = "; error rates are not those of the whole set" if split == "test" else ""
                notes.append(
                    f"{split}: {total - len(cuts)} of {total} utterances are left out; reasons in "
                    f"{PROBLEMS}{whole}"
                )
        notes += self.divided
        if lost := self.losses.named():
            notes.append(f"text form {self.form.name} loses {lost}")
        if self.listing.problems:
            notes.append(
                f"{len(self.listing.problems)} utterances lack a transcript or a recording; "
                f"details in {PROBLEMS}"
            )
        return notes


def _checked(listing: CorpusListing) -> CorpusListing:
    """Check that names are unique and the listing is not empty; make its paths absolute."""
    seen: set[str] = set()
    for utterances in listing.splits.values():
        for one in utterances:
            if one.id in seen:
                raise ManifestError(
                    f"{listing.corpus}: utterance '{one.id}' is listed twice; make names unique"
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
    parts += [f"dev_share {options.dev_share}"] if options.dev_share else []
    parts += ["shar"] if options.shar else []
    if (trained := options.trained_tokenizer()) is not None:
        parts.append(repr((options.form(listing.language), trained.content())))
    stamps: dict[Path, tuple[int, int]] = {}
    for split, utterances in listing.splits.items():
        parts.append(split)
        for one in utterances:
            if one.audio not in stamps:
                stamps[one.audio] = _stamp(one.audio)
            parts.append(repr((*astuple(one), stamps[one.audio])))
    return fingerprint(*parts)


def _stamp(path: Path) -> tuple[int, int]:
    """Size and modification time of a file, to detect changes."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)
