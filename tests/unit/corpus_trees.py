"""Small trees laid out as the corpora are, with recordings of a tenth of a second."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import soundfile

from keyframe_asr.data.corpora.listing import CorpusListing
from keyframe_asr.timing import SAMPLE_RATE


def recording(path: Path, seconds: float = 0.1) -> Path:
    """Write noise to `path`, in the format of its name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * SAMPLE_RATE))
    soundfile.write(path, noise, SAMPLE_RATE)
    return path


def lines(path: Path, *content: str) -> Path:
    """Write lines of text to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in content), encoding="utf-8")
    return path


def pack(archive: Path, root: Path, *members: str) -> Path:
    """Pack members of the folder `root` into a compressed tar archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as content:
        for member in members:
            content.add(root / member, member)
    return archive


def counts(listing: CorpusListing) -> dict[str, int]:
    """Utterances of each split."""
    return {split: len(utterances) for split, utterances in listing.splits.items()}


def names(listing: CorpusListing, split: str) -> list[str]:
    """Names of a split's utterances."""
    return [
        utterance.id for one, rows in listing.splits.items() if one == split for utterance in rows
    ]
