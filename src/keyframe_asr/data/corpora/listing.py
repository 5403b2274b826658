"""What a corpus says it holds, before any of its audio is opened, and how that is read and checked.

Every reader of a corpus finds its folder, reads its lists, pairs texts with recordings and compares
the counts with those that were published.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from keyframe_asr.errors import ManifestError

Split = Literal["train", "dev", "test"]

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
"""In the order of every listing."""

PartName = TypeVar("PartName", bound=str)
"""What a corpus calls one of its parts."""

NAMED_AT_MOST = 8
"""Names in a message."""


@dataclass(frozen=True)
class ListedUtterance:
    """One utterance as the corpus lists it.

    Attributes:
        id: its name, unique in the corpus.
        speaker: "" if not known.
        text: the transcript as it stands in the corpus, not normalised.
        audio: the recording.
        start: seconds from the start of the recording, for a part of it.
        end: seconds from the start of the recording; None is its end.
    """

    id: str
    speaker: str
    text: str
    audio: Path
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class CorpusListing:
    """All that a corpus lists.

    Attributes:
        corpus: its name on the command line.
        language: decides how its texts are normalised, and its units.
        splits: utterances of each split, in the order of the corpus; empty splits are allowed.
        notes: what whoever uses it should know.
        problems: utterances that the corpus itself makes unusable (no transcript, no recording),
            each as one line "ID: reason".
    """

    corpus: str
    language: Literal["english", "mandarin"]
    splits: dict[Split, list[ListedUtterance]]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PartSize:
    """How much a part of a corpus holds; None if it is not known."""

    utterances: int
    speakers: int | None = None


def find_root(source: Path, inner: str, inside: Iterable[str], corpus: str) -> Path:
    """The corpus's own folder: `source`, or `inner` below it.

    `inside` names what lies in it, of which one thing has to be there.

    Raises:
        ManifestError: it is neither.
    """
    source = Path(os.path.abspath(source))
    if not source.is_dir():
        raise ManifestError(f"{source}: no such folder; give the folder of {corpus} as --source")
    for root in (source / inner, source):
        if any((root / name).exists() for name in inside):
            return root
    raise ManifestError(
        f"{source}: holds no {corpus} (looked for {', '.join(inside)}, also in {inner}); give the "
        f"folder that holds {inner} as --source"
    )


def find_splits(
    source: Path, named: Sequence[str | None], usual: Sequence[str], what: str, hint: str = ""
) -> dict[Split, Path]:
    """The folder or file of each split that there is.

    Args:
        source: folder of the corpus.
        named: what the user calls train, dev and test, relative to `source`; None if unsaid.
        usual: what they may be called otherwise, with `{}` for train, dev or test.
        what: is looked for, for the error.
        hint: what else the error should offer.

    Raises:
        ManifestError: there is nothing of a given name, or no split at all.
    """
    found: dict[Split, Path] = {}
    for split, name in zip(SPLITS, named, strict=True):
        candidates = [source / one.format(split) for one in usual] if name is None else []
        places = [source / name] if name is not None else [p for p in candidates if p.exists()]
        if name is not None and not places[0].exists():
            raise ManifestError(f"{places[0]}: no such {what}; give --{split} another name")
        if places:
            found[split] = places[0]
    if not found:
        expected = " or ".join(one.format("train") for one in usual)
        raise ManifestError(
            f"{source}: holds no {what}; expected {expected}, the same with dev and test, "
            f"or the names given with --train, --dev and --test{hint}"
        )
    return found


def read_keyed_lines(path: Path) -> dict[str, str]:
    """The lines "ID REST" of a file, by ID, in its order; REST may be empty.

    Raises:
        ManifestError: the file is missing or not UTF-8, or gives an ID two different lines.
    """
    entries: dict[str, str] = {}
    for number, line in read_lines(path):
        key, _, rest = line.replace("\t", " ").partition(" ")
        rest = rest.strip()
        if entries.get(key, rest) != rest:
            raise ManifestError(
                f"{path}:{number}: '{key}' has two different lines; delete the wrong one"
            )
        entries[key] = rest
    return entries


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Number and content of each line of a file that is not empty.

    Raises:
        ManifestError: the file is missing or not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file; get the corpus again, whole") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def files_below(folder: Path, suffix: str | tuple[str, ...]) -> list[str]:
    """Names of the files in a folder that end in `suffix`, in order; none if it is not there.

    Names that start with a dot are left out: other systems leave such files behind.
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
    """Utterances that have a recording and a transcript, by name, and problems of all others.

    `recordings` names only files that exist.
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
    """Make the training utterances of these speakers the development set, which is none yet.

    Raises:
        ManifestError: there is a development set, or a speaker is not in the training set.
    """
    train = listing.splits.get("train", [])
    known = {one.speaker for one in train}
    if listing.splits.get("dev"):
        raise ManifestError(f"{listing.corpus}: has a development set; hold out no speakers")
    if unknown := sorted(set(speakers) - known):
        raise ManifestError(
            f"{listing.corpus}: has no utterances of speaker '{unknown[0]}' in its training set; "
            f"it has {some_of(sorted(known - {''})) or 'none of known speakers'}"
        )
    splits: dict[Split, list[ListedUtterance]] = {
        "train": [one for one in train if one.speaker not in speakers],
        "dev": [one for one in train if one.speaker in speakers],
        "test": listing.splits.get("test", []),
    }
    note = f"dev: the training set's speakers {' '.join(sorted(speakers))}"
    return replace(listing, splits=splits, notes=[*listing.notes, note])


def check_complete(
    where: Path,
    found: Mapping[PartName, Sequence[ListedUtterance]],
    expected: Mapping[PartName, PartSize],
    allow_incomplete: bool,
    details: Sequence[str] = (),
) -> list[str]:
    """Compare what was found with what each part of the corpus holds.

    Args:
        where: the folder of the corpus.
        found: usable utterances of each part.
        expected: the parts to compare.
        allow_incomplete: take what there is.
        details: what else is known of what is missing, for the message.

    Returns:
        Notes: none for a whole corpus, one if it is incomplete and that is allowed.

    Raises:
        ManifestError: it is incomplete, and that is not allowed.
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
        f"{where}: incomplete: {missing}; get what is missing, or take what there is with "
        "--allow-incomplete"
    )


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many there are besides."""
    rest = len(names) - NAMED_AT_MOST
    return " ".join(names[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")


def _shortage(part: str, utterances: Sequence[ListedUtterance], size: PartSize) -> str:
    """What a part lacks, "" if nothing."""
    speakers = len({utterance.speaker for utterance in utterances})
    lacks_speakers = size.speakers is not None and speakers < size.speakers
    if len(utterances) >= size.utterances and not lacks_speakers:
        return ""
    line = f"{part} has {len(utterances)} of {size.utterances} utterances"
    return f"{line} and {speakers} of {size.speakers} speakers" if lacks_speakers else line
