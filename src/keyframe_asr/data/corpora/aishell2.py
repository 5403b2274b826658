"""AISHELL-2: read Mandarin, iOS channel.

    AISHELL-2/iOS/data/{wav.scp,trans.txt,wav/C0001/IC0001W0001.wav}      training
    AISHELL-DEV-TEST-SET/iOS/{dev,test}/{wav.scp,trans.txt,wav/...}       separate download

`wav.scp` gives the path of each recording relative to its folder, `trans.txt` its text.
"""

from __future__ import annotations

import math
import os
import random
from pathlib import Path

import soundfile

from keyframe_asr.data.corpora.listing import (
    CorpusListing,
    ListedUtterance,
    Split,
    list_pairs,
    read_keyed_lines,
)
from keyframe_asr.errors import ManifestError

FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("data", "train"),
    "dev": ("dev",),
    "test": ("test",),
}
"""Possible folder names of each split."""
ABOVE = ("", "[iI]OS/", "*/[iI]OS/", "*/*/[iI]OS/")
"""Patterns, relative to the source, of the folders that contain them."""


def read(
    source: Path, *, hours: float | None = None, seed: int = 1, allow_incomplete: bool = False
) -> CorpusListing:
    """List AISHELL-2 in `source`, which contains the training set and the dev/test set.

    Args:
        source: the folder above `iOS`, or one or two levels above it.
        hours: use only this many hours of the training set, drawn by utterance; reads the headers
            of the drawn recordings. With the same seed, a smaller draw is a subset of a larger one.
        seed: seed of the draw.
        allow_incomplete: accept a missing dev or test set.

    Raises:
        ManifestError: a split is missing, or the training set is shorter than `hours`.
    """
    source = Path(os.path.abspath(source))
    if hours is not None and not (math.isfinite(hours) and hours > 0):
        raise ManifestError(f"hours is {hours}; give a number of hours greater than 0")
    folders, notes = _folders(source)
    missing = [split for split in FOLDERS if split not in folders]
    if "train" in missing or (missing and not allow_incomplete):
        raise ManifestError(
            f"{source}: no folder of AISHELL-2 with wav.scp and trans.txt for "
            f"{', '.join(missing)}; put iOS/data, iOS/dev and iOS/test below it, or accept a "
            "missing dev or test set with --allow-incomplete"
        )
    notes += [f"{split}: missing" for split in missing]
    splits: dict[Split, list[ListedUtterance]] = {split: [] for split in FOLDERS}
    problems: list[str] = []
    for split, folder in folders.items():
        splits[split], unusable = _read_split(folder)
        problems += unusable
    if hours is not None:
        splits["train"], unusable = _draw(splits["train"], hours, seed)
        problems += unusable
        count = len(splits["train"])
        notes.append(f"train: {count} utterances, {hours:g} hours, drawn with seed {seed}")
    return CorpusListing("aishell2", "zh", splits, notes, problems)


def _folders(source: Path) -> tuple[dict[Split, Path], list[str]]:
    """Find the folder of each split; return them and notes about splits with several folders."""
    found: dict[Split, Path] = {}
    notes = []
    for split, names in FOLDERS.items():
        folders = [
            folder
            for above in ABOVE
            for name in names
            for folder in sorted(source.glob(above + name))
            if (folder / "wav.scp").is_file() and (folder / "trans.txt").is_file()
        ]
        if folders:
            found[split] = folders[0]
        if len(folders) > 1:
            notes.append(f"{split}: {len(folders)} folders, used {folders[0]}")
    return found, notes


def _read_split(folder: Path) -> tuple[list[ListedUtterance], list[str]]:
    texts = read_keyed_lines(folder / "trans.txt")
    listed = {name: folder / path for name, path in read_keyed_lines(folder / "wav.scp").items()}
    recordings = {name: path for name, path in listed.items() if os.path.isfile(path)}
    speakers = {name: path.parent.name for name, path in listed.items()}
    return list_pairs(dict.fromkeys(listed, "") | texts, recordings, speakers)


def _draw(
    utterances: list[ListedUtterance], hours: float, seed: int
) -> tuple[list[ListedUtterance], list[str]]:
    """Draw utterances up to `hours`; return them and the problems of unreadable recordings."""
    order = list(range(len(utterances)))
    random.Random(seed).shuffle(order)
    drawn: list[int] = []
    problems: list[str] = []
    seconds = 0.0
    for position in order:
        if seconds >= hours * 3600:
            break
        utterance = utterances[position]
        try:
            seconds += soundfile.info(utterance.audio).duration
        except (OSError, soundfile.SoundFileError) as error:
            problems.append(f"{utterance.id}: {utterance.audio} cannot be read ({error})")
            continue
        drawn.append(position)
    if seconds < hours * 3600:
        raise ManifestError(
            f"the training set of AISHELL-2 has {seconds / 3600:.2f} hours, less than --hours "
            f"{hours:g}; give fewer hours, or leave out --hours"
        )
    return [utterances[position] for position in sorted(drawn)], problems
