"""AN4: spelled names, numbers, dates and commands in English, in CMU's published layout.

    an4/etc/an4_train.transcription               <s> YES </s> (an251-fash-b)      948 utterances
    an4/etc/an4_test.transcription                GO (cen8-fcaw-b)                 130 utterances
    an4/wav/an4_clstk/fash/an251-fash-b.sph       speaker fash; test recordings: wav/an4test_clstk

The training and the test part have no speaker in common. There is no development set, so some women
and some men of the training part, chosen by a seed, are held out for it.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.data.corpora.listing import (
    CorpusListing,
    ListedUtterance,
    PartSize,
    check_complete,
    find_root,
    hold_out_speakers,
    list_pairs,
    read_lines,
)
from keyframe_asr.errors import ManifestError
from keyframe_asr.text.forms import normalise_text

EXPECTED = {"train": PartSize(948, 74), "test": PartSize(130, 10)}
DEV_WOMEN, DEV_MEN = 3, 5
"""Speakers of the development set; with 13 utterances each, a tenth of the training part."""

SUFFIXES = (".sph", ".wav", ".flac")

_LINE = re.compile(r"(?:<s>)?(.*?)(?:</s>)?\s*\(([\w-]+)\)")


def read(source: Path, *, seed: int = 1, allow_incomplete: bool = False) -> CorpusListing:
    """List AN4 in `source`, which is or contains `an4`.

    Args:
        source: the folder, with recordings as NIST SPHERE (an4_sphere.tar.gz), WAV or FLAC.
        seed: chooses the speakers of the development set.
        allow_incomplete: accept an incomplete copy.

    Raises:
        ManifestError: the corpus is missing or incomplete, its recordings are headerless, or it has
            too few speakers for a development set.
    """
    root = find_root(source, "an4", ("etc", "wav"), "AN4")
    recordings = _recordings(root)
    texts = {part: _texts(root / "etc" / f"an4_{part}.transcription") for part in EXPECTED}
    found: dict[str, list[ListedUtterance]] = {}
    problems: list[str] = []
    for part, transcripts in texts.items():
        there = {name: recordings[name] for name in transcripts if name in recordings}
        speakers = {name: _speaker(name) for name in transcripts}
        found[part], unusable = list_pairs(transcripts, there, speakers)
        problems += unusable
    notes = check_complete(root, found, EXPECTED, allow_incomplete)
    train, test = found["train"], found["test"]
    known = {normalise_text(one.text, TEXT_FORMS["english"]) for one in train}
    seen = sum(normalise_text(one.text, TEXT_FORMS["english"]) in known for one in test)
    notes.append(f"{seen} of {len(test)} test texts also occur in the training part; they are kept")
    listing = CorpusListing("an4", "en", {"train": train, "test": test}, notes, problems)
    return hold_out_speakers(listing, _dev_speakers({one.speaker for one in train}, seed))


def _recordings(root: Path) -> dict[str, Path]:
    files = sorted(path for path in root.glob("wav/*/*/*") if not path.name.startswith("."))
    recordings = {path.stem: path for path in files if path.suffix.lower() in SUFFIXES}
    if not recordings and any(path.suffix.lower() == ".raw" for path in files):
        raise ManifestError(
            f"{root}: the recordings are headerless (.raw); use an4_sphere.tar.gz instead"
        )
    return recordings


def _texts(path: Path) -> dict[str, str]:
    """Transcripts by name."""
    texts: dict[str, str] = {}
    for number, line in read_lines(path):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ManifestError(
                f"{path}:{number}: not of the form 'TRANSCRIPT (NAME)'; get the corpus again"
            )
        texts[match[2]] = match[1].strip()
    return texts


def _speaker(name: str) -> str:
    """an251-fash-b → fash."""
    return name.split("-")[1] if name.count("-") > 1 else ""


def _dev_speakers(speakers: set[str], seed: int) -> set[str]:
    """Draw the development speakers. In AN4, names of women start with f, those of men with m."""
    women = sorted(name for name in speakers if name.startswith("f"))
    men = sorted(name for name in speakers if name.startswith("m"))
    if len(women) <= DEV_WOMEN or len(men) <= DEV_MEN:
        raise ManifestError(
            f"the training part has {len(women)} women and {len(men)} men; the development set "
            f"needs more than {DEV_WOMEN} and {DEV_MEN}, give the whole corpus"
        )
    generator = random.Random(seed)
    return {*generator.sample(women, DEV_WOMEN), *generator.sample(men, DEV_MEN)}
