"""Tables and lhotse cuts: your own recordings, or corpora prepared elsewhere.

A table is tab-separated, or CSV with quotes as written by spreadsheets. Its columns are `path`
(relative to the table) and `text`, optionally `utt_id`, `speaker`, `split` and `channel` (counted
from 0; else the mean of all); others are ignored.
Durations are read from the recordings.

Cuts are read as written by the recipes of lhotse and icefall.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from lhotse.cut import Cut

from keyframe_asr.data.corpora.listing import CorpusListing, ListedUtterance, Split, find_splits
from keyframe_asr.data.manifest import (
    audio_channel,
    audio_path,
    is_part,
    load_manifest,
    named_channel,
    read_rows,
    speaker,
    text,
)
from keyframe_asr.errors import ManifestError

REQUIRED = ("path", "text")

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
"""Valid values of the column `split`."""

_ONE_TABLE = "; or one table manifest.tsv with a column split"

CUT_FILES = ("{}.jsonl.gz", "cuts_{}.jsonl.gz", "{}.jsonl", "cuts_{}.jsonl")


def read_table(
    source: Path,
    language: str,
    train: str | None = None,
    dev: str | None = None,
    test: str | None = None,
) -> CorpusListing:
    """List a table with a column `split`, or a folder with one table per split.

    In a folder, the tables are called `train`, `dev` and `test` (.tsv or .csv) or have the given
    names, or there is one table `manifest` with a column `split`.

    Raises:
        ManifestError: a table is missing, or has an invalid line or split.
    """
    source = Path(source)
    named = (train, dev, test)
    whole = [source, source / "manifest.tsv", source / "manifest.csv"]
    table = next((one for one in whole if os.path.isfile(one)), None)
    if table is not None and not any(named):
        return CorpusListing(table.suffix[1:].lower(), language, _by_split(table))
    if os.path.isfile(source):
        raise ManifestError(
            f"{source}: a table; --train, --dev and --test need a folder as --source"
        )
    tables = find_splits(source, named, ("{}.tsv", "{}.csv"), "table", _ONE_TABLE)
    splits = {
        split: [_utterance(row, place, file) for place, row in read_rows(file, REQUIRED)]
        for split, file in tables.items()
    }
    suffix = next(iter(tables.values())).suffix
    return CorpusListing(suffix[1:].lower(), language, splits)


def read_cuts(
    source: Path,
    language: str,
    train: str | None = None,
    dev: str | None = None,
    test: str | None = None,
) -> CorpusListing:
    """List the cuts in `train.jsonl.gz`, `cuts_train.jsonl.gz` and so on, or in the given files.

    Augmented copies of cuts (speed, volume) are left out, because training augments itself.

    Raises:
        ManifestError: a file is missing, or contains other data than cuts with one supervision.
    """
    files = find_splits(Path(source), (train, dev, test), CUT_FILES, "manifest of cuts")
    splits: dict[Split, list[ListedUtterance]] = {}
    problems = []
    for split, file in files.items():
        cuts = load_manifest(file)
        splits[split] = [_utterance_of(cut) for cut in cuts if not cut.recording.transforms]
        problems += [
            f"{cut.id}: augmented copy (its recording has transforms)"
            for cut in cuts
            if cut.recording.transforms
        ]
    return CorpusListing("lhotse", language, splits, problems=problems)


def _by_split(table: Path) -> dict[Split, list[ListedUtterance]]:
    splits: dict[Split, list[ListedUtterance]] = {}
    for line, row in read_rows(table, (*REQUIRED, "split")):
        split = SPLIT_NAMES.get(row["split"])
        if split is None:
            raise ManifestError(
                f"{table}:{line}: unknown split '{row['split']}'; "
                f"use one of {', '.join(SPLIT_NAMES)}"
            )
        splits.setdefault(split, []).append(_utterance(row, line, table))
    return splits


def _utterance(row: dict[str, str], line: int, table: Path) -> ListedUtterance:
    path = PurePosixPath(row["path"])
    if not row["path"]:
        raise ManifestError(f"{table}:{line}: path is empty; fill it in")
    if path.name in ("", ".."):
        raise ManifestError(f"{table}:{line}: path '{path}' is a folder; give an audio file")
    # includes the folders, because the file name alone is rarely unique
    named = "-".join(path.with_suffix("").parts).lstrip("/-.")
    return ListedUtterance(
        row.get("utt_id") or named,
        row.get("speaker", ""),
        row["text"],
        table.parent / row["path"],
        channel=named_channel(row, f"{table}:{line}"),
    )


def _utterance_of(cut: Cut) -> ListedUtterance:
    end = cut.start + cut.duration if is_part(cut) else None
    return ListedUtterance(
        cut.id,
        speaker(cut),
        text(cut),
        audio_path(cut),
        cut.start,
        end,
        channel=audio_channel(cut),
    )
