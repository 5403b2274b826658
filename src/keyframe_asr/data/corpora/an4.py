"""CMU AN4 (census) database: spelled names, numbers, dates and commands in English.

The corpus has a training and a test part without a speaker in common, but no development set.
One is carved out of the training part, by speaker: some women and some men, chosen by a seed.
"""

from __future__ import annotations

import random
from pathlib import Path

from keyframe_asr.data.corpora.listing import CorpusListing, ListedUtterance, Split
from keyframe_asr.data.manifest import audio_path, load_manifest, speaker, text
from keyframe_asr.errors import ManifestError
from keyframe_asr.text.forms import normalise_text

DEV_WOMEN, DEV_MEN = 3, 5
"""Speakers of the development set; 13 utterances each make it a tenth of the training part."""


def read(source: Path, seed: int = 1) -> CorpusListing:
    """List the corpus in `source`, which holds `manifest.tsv` with split `train` or `test`.

    Raises:
        ManifestError: the table is missing or bad, or has too few speakers for a development set.
    """
    table = Path(source) / "manifest.tsv"
    if not table.is_file():
        raise ManifestError(
            f"{table}: no such file; give the folder of AN4 that holds manifest.tsv as --source"
        )
    train, test = (_utterances(table, part) for part in ("train", "test"))
    dev_speakers = _dev_speakers({one.speaker for one in train}, seed)
    splits: dict[Split, list[ListedUtterance]] = {
        "train": [one for one in train if one.speaker not in dev_speakers],
        "dev": [one for one in train if one.speaker in dev_speakers],
        "test": test,
    }
    known = {normalise_text(one.text, "english") for one in train}
    seen = sum(normalise_text(one.text, "english") in known for one in test)
    notes = [
        f"dev: the training part's speakers {' '.join(sorted(dev_speakers))}",
        f"{seen} of {len(test)} test texts also occur in the training part; they stay in",
    ]
    return CorpusListing("an4", "english", splits, notes)


def _utterances(table: Path, part: str) -> list[ListedUtterance]:
    return [
        ListedUtterance(cut.id, speaker(cut), text(cut), audio_path(cut))
        for cut in load_manifest(f"{table}:{part}")
    ]


def _dev_speakers(speakers: set[str], seed: int) -> set[str]:
    """AN4 names women f... and men m...; a digit tells apart those with the same initials."""
    women = sorted(name for name in speakers if name.startswith("f"))
    men = sorted(name for name in speakers if name.startswith("m"))
    if len(women) <= DEV_WOMEN or len(men) <= DEV_MEN:
        raise ManifestError(
            f"the training part has {len(women)} women and {len(men)} men; a development set needs "
            f"more than {DEV_WOMEN} and {DEV_MEN}: give the whole corpus"
        )
    generator = random.Random(seed)
    return {*generator.sample(women, DEV_WOMEN), *generator.sample(men, DEV_MEN)}
