"""speechocean762: English read by native speakers of Mandarin, in the layout of OpenSLR 101.

    speechocean762/train/{text,wav.scp,utt2spk}       likewise test; wav.scp: WAVE/SPEAKER0001/...
    speechocean762/WAVE/SPEAKER0001/000010011.WAV

It has no development set; every tenth speaker of the training set is held out for one.
"""

from __future__ import annotations

import os
from pathlib import Path

from keyframe_asr.data.corpora.listing import (
    CorpusListing,
    ListedUtterance,
    PartSize,
    Split,
    check_complete,
    find_root,
    hold_out_speakers,
    list_pairs,
    read_keyed_lines,
)

EXPECTED = {"train": PartSize(2_500, 125), "test": PartSize(2_500, 125)}
"""Published sizes, before speakers are held out."""
DEV_EVERY = 10
"""Every tenth training speaker, in order, is held out: the first, the eleventh, ..."""


def read(source: Path, *, allow_incomplete: bool = False) -> CorpusListing:
    """List speechocean762 in `source`, which is or contains `speechocean762`.

    An incomplete copy is accepted only with `allow_incomplete`.

    Raises:
        ManifestError: the corpus is missing or incomplete.
    """
    root = find_root(source, "speechocean762", ("WAVE", "train", "test"), "speechocean762")
    found: dict[str, list[ListedUtterance]] = {}
    problems: list[str] = []
    for part in EXPECTED:
        found[part], unusable = _read_part(root, part)
        problems += unusable
    notes = check_complete(root, found, EXPECTED, allow_incomplete)
    speakers = sorted({utterance.speaker for utterance in found["train"]})
    splits: dict[Split, list[ListedUtterance]] = {"train": found["train"], "test": found["test"]}
    listing = CorpusListing("speechocean762", "en", splits, notes, problems)
    return hold_out_speakers(listing, speakers[::DEV_EVERY])


def _read_part(root: Path, part: str) -> tuple[list[ListedUtterance], list[str]]:
    folder = root / part
    texts = read_keyed_lines(folder / "text")
    listed = {name: root / path for name, path in read_keyed_lines(folder / "wav.scp").items()}
    recordings = {name: path for name, path in listed.items() if os.path.isfile(path)}
    speakers = read_keyed_lines(folder / "utt2spk")
    return list_pairs(dict.fromkeys(listed, "") | texts, recordings, speakers)
