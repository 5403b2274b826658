"""Corpora in a folder of their own with `manifest.tsv`, which gives every recording its split."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from keyframe_asr.data.corpora.listing import SPLITS, CorpusListing, ListedUtterance
from keyframe_asr.data.manifest import audio_path, load_manifest, speaker, text
from keyframe_asr.errors import ManifestError
from keyframe_asr.text.forms import Language

TABLE = "manifest.tsv"


def read_manifest_folder(source: Path, corpus: str, language: Language) -> CorpusListing:
    """List the corpus in a folder that holds `manifest.tsv`.

    Its columns are those of every table: utt_id, speaker, duration_s, path, text, split. Splits
    other than train, dev and test are left out, with a note.

    Raises:
        ManifestError: there is no table, or it has a bad line.
    """
    table = Path(source) / TABLE
    if not table.is_file():
        raise ManifestError(
            f"{table}: no such file; give the folder of {corpus} that holds {TABLE} as --source"
        )
    cuts = load_manifest(table)
    rows: dict[str, list[ListedUtterance]] = {split: [] for split in SPLITS}
    problems: list[str] = []
    others: Counter[str] = Counter()
    for cut, split in zip(cuts, _split_column(table), strict=True):
        audio = audio_path(cut)
        if split not in rows:
            others[split] += 1
        elif not audio.is_file():
            problems.append(f"{cut.id}: no recording")
        elif not text(cut).strip():
            problems.append(f"{cut.id}: no transcript")
        else:
            rows[split].append(ListedUtterance(cut.id, speaker(cut), text(cut), audio))
    notes = [f"rows of split '{name}', left out: {count}" for name, count in others.items()]
    splits = {split: rows[split] for split in SPLITS}
    return CorpusListing(corpus, language, splits, notes, problems)


def _split_column(table: Path) -> list[str]:
    """The split of every row of a table that was found to be sound."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row["split"] for row in rows]
