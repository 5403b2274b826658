"""Listing of a corpus: its utterances before any audio is opened, and how readers make one.

Every reader finds the folder of its corpus, reads the lists in it, pairs texts with recordings and
compares the counts with the published ones.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from keyframe_asr.errors import ManifestError
from keyframe_asr.io import text_file

Split = Literal["train", "dev", "test"]

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
"""Order of the splits in every listing."""

PartName = TypeVar("PartName", bound=str)
"""Name of a part of a corpus."""

MAX_LISTED_NAMES = 8
"""Most names listed in a message."""


@dataclass(frozen=True)
class ListedUtterance:
    """An utterance as listed by the corpus.

    Attributes:
        id: name, unique in the corpus.
        speaker: "" if unknown.
        text: transcript of the corpus, not normalised.
        audio: path of the recording.
        start: start in the recording, in seconds.
        end: end in the recording, in seconds; None is the end of the recording.
        channel: channel of the recording, counted from 0; None is the mean of all.
        may_be_apart: the recording may also be this channel alone.
        language: what is spoken, as the corpus names it; "" if it does not.
    """

    id: str
    speaker: str
    text: str
    audio: Path
    start: float = 0.0
    end: float | None = None
    channel: int | None = None
    may_be_apart: bool = False
    language: str = ""


@dataclass(frozen=True)
class CorpusListing:
    """The utterances of a corpus.

    Attributes:
        corpus: name on the command line.
        language: its tag (BCP 47); determines the usual form of the texts, and the default tokens.
        splits: utterances of each split, in the order of the corpus; splits may be empty.
        notes: notes for users of the corpus.
        problems: utterances that lack a transcript or a recording, one line "ID: reason" each.
    """

    corpus: str
    language: str
    splits: dict[Split, list[ListedUtterance]]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PartSize:
    """Size of a part of a corpus; `speakers` is None if unknown."""

    utterances: int
    speakers: int | None = None


def find_root(source: Path, inner: str, inside: Iterable[str], corpus: str) -> Path:
    """Find the root folder of a corpus: `source`, or `inner` below it.

    The root contains at least one of the names in `inside`.

    Raises:
        ManifestError: neither is the root.
    """
    source = Path(os.path.abspath(source))
    if not os.path.isdir(source):
        raise ManifestError(f"{source}: no such folder; give the folder of {corpus} as --source")
    for root in (source / inner, source):
        if any(os.path.exists(root / name) for name in inside):
            return root
    raise ManifestError(
        f"{source}: contains no {corpus} (looked for {', '.join(inside)}, also in {inner}); give "
        f"the folder that contains {inner} as --source"
    )


def find_splits(
    source: Path, named: Sequence[str | None], usual: Sequence[str], what: str, hint: str = ""
) -> dict[Split, Path]:
    """Find the folder or file of each split.

    Args:
        source: folder of the corpus.
        named: names given for train, dev and test, relative to `source`; None if not given.
        usual: default names, with `{}` for train, dev or test.
        what: kind of file, for the error message.
        hint: further advice for the error message.

    Raises:
        ManifestError: the folder or a given name does not exist, or no split is found.
    """
    if not os.path.isdir(source):
        raise ManifestError(f"{source}: no such folder; give the folder of the {what}s as --source")
    found: dict[Split, Path] = {}
    for split, name in zip(SPLITS, named, strict=True):
        candidates = [source / one.format(split) for one in usual] if name is None else []
        places = [source / name] if name is not None else [*filter(os.path.exists, candidates)]
        if name is not None and not os.path.exists(places[0]):
            raise ManifestError(f"{places[0]}: no such {what}; check --{split}")
        if places:
            found[split] = places[0]
    if not found:
        expected = " or ".join(one.format("train") for one in usual)
        raise ManifestError(
            f"{source}: contains no {what}; expected {expected} (likewise dev and test), "
            f"or names given with --train, --dev and --test{hint}"
        )
    return found


COPY_AGAIN = "get the complete corpus again"
"""What to do if a file of a corpus is missing."""


def read_keyed_lines(path: Path, advice: str = COPY_AGAIN) -> dict[str, str]:
    """Read the lines "ID REST" of a file, by ID, in order; REST may be empty.

    Args:
        path: the file.
        advice: what to do if it is missing.

    Raises:
        ManifestError: the file is missing or not UTF-8, or has two different lines for an ID.
    """
    entries: dict[str, str] = {}
    for number, line in read_lines(path, advice):
        key, _, rest = line.replace("\t", " ").partition(" ")
        rest = rest.strip()
        if entries.get(key, rest) != rest:
            raise ManifestError(
                f"{path}:{number}: '{key}' has two different lines; delete the wrong one"
            )
        entries[key] = rest
    return entries


def read_lines(path: Path, advice: str = COPY_AGAIN) -> list[tuple[int, str]]:
    """Read number and content of each non-empty line of a file.

    Raises:
        ManifestError: the file is missing or not UTF-8.
    """
    lines = enumerate(text_file.read_lines(path, advice, ManifestError), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def files_below(folder: Path, suffix: str | tuple[str, ...]) -> list[str]:
    """List the names in a folder that end in `suffix`, sorted; empty if there is no such folder.

    Names that start with a dot are skipped: other systems leave such files behind.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return sorted(
        name for name in names if name.lower().endswith(suffix) and not name.startswith(".")
    )


def list_pairs(
    texts: Mapping[str, str], recordings: Mapping[str, Path], speakers: Mapping[str, str]
) -> tuple[list[ListedUtterance], list[str]]:
    """Pair texts and recordings by name.

    Args:
        texts: transcripts.
        recordings: paths of existing files.
        speakers: names of the speakers.

    Returns:
        Utterances with a recording and a transcript, and the problems of all others.
    """
    utterances, problems = [], []
    for name in sorted({*texts, *recordings}):
        if name not in recordings:
            problems.append(f"{name}: no recording")
        elif not texts.get(name):
            problems.append(f"{name}: no transcript")
        else:
            speaker = speakers.get(name, "")
            utterances.append(ListedUtterance(name, speaker, texts[name], recordings[name]))
    return utterances, problems


def hold_out_speakers(listing: CorpusListing, speakers: Collection[str]) -> CorpusListing:
    """Move the utterances of these speakers from the training set to a new development set.

    Raises:
        ManifestError: there already is a development set, or a speaker is not in the training set.
    """
    train = listing.splits.get("train", [])
    known = {one.speaker for one in train}
    if listing.splits.get("dev"):
        raise ManifestError(
            f"{listing.corpus}: already has a development set; leave out --dev-speakers"
        )
    if unknown := sorted(set(speakers) - known):
        raise ManifestError(
            f"{listing.corpus}: speaker '{unknown[0]}' is not in the training set; "
            f"its speakers are {some_of(sorted(known - {''})) or 'unknown'}"
        )
    splits: dict[Split, list[ListedUtterance]] = {
        "train": [one for one in train if one.speaker not in speakers],
        "dev": [one for one in train if one.speaker in speakers],
        "test": listing.splits.get("test", []),
    }
    note = f"dev: speakers {' '.join(sorted(speakers))} of the training set"
    return replace(listing, splits=splits, notes=[*listing.notes, note])


def advice_on_missing_dev(listing: CorpusListing) -> str:
    """Say how own data gets a development set; "" for other corpora, or if it has one."""
    ways = {
        "tsv": "dev.tsv or rows of the split dev",
        "csv": "dev.csv or rows of the split dev",
        "lhotse": "dev.jsonl.gz",
        "kaldi": "a folder dev",
        "auto": "a part for dev",
    }
    if listing.corpus not in ways or listing.splits.get("dev"):
        return ""
    speakers = sorted({one.speaker for one in listing.splits.get("train", ())} - {""})
    if len(speakers) > 1:
        return f"; take some from train with --dev-share 0.1 or --dev-speakers {speakers[0]}"
    return f"; take some from train with --dev-share 0.1, or add {ways[listing.corpus]}"


def check_complete(
    where: Path,
    found: Mapping[PartName, Sequence[ListedUtterance]],
    expected: Mapping[PartName, PartSize],
    allow_incomplete: bool,
    details: Sequence[str] = (),
) -> list[str]:
    """Compare the utterances found with the published size of each part.

    Args:
        where: folder of the corpus.
        found: usable utterances of each part.
        expected: parts to compare.
        allow_incomplete: accept an incomplete corpus.
        details: more about what is missing, for the message.

    Returns:
        Notes: empty for a complete corpus, one if it is incomplete.

    Raises:
        ManifestError: the corpus is incomplete and `allow_incomplete` is False.
    """
    short = [
        line for part, size in expected.items() if (line := _shortage(part, found[part], size))
    ]
    if not short:
        return []
    missing = "; ".join([*short, *details])
    if allow_incomplete:
        return [f"incomplete copy: {missing}"]
    raise ManifestError(
        f"{where}: incomplete: {missing}; get the missing files, or accept this with "
        "--allow-incomplete"
    )


def some_of(names: Sequence[str]) -> str:
    """List the first few names and the number of the remaining ones."""
    rest = len(names) - MAX_LISTED_NAMES
    return " ".join(names[:MAX_LISTED_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _shortage(part: str, utterances: Sequence[ListedUtterance], size: PartSize) -> str:
    """Describe what a part lacks; "" if nothing."""
    speakers = len({utterance.speaker for utterance in utterances})
    lacks_speakers = size.speakers is not None and speakers < size.speakers
    if len(utterances) >= size.utterances and not lacks_speakers:
        return ""
    line = f"{part} has {len(utterances)} of {size.utterances} utterances"
    return f"{line} and {speakers} of {size.speakers} speakers" if lacks_speakers else line
