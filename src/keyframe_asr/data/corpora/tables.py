"""Tables and lhotse cuts: your own recordings, or corpora prepared elsewhere.

`data.table_rows` reads the rows of a table and recognises its columns: `path` (relative to the
table) and `text`, optionally `utt_id`, `speaker`, `split`, `channel` (counted from 0; else the mean
of all), `duration_s`, and `start` for a part of a recording; others are ignored.

Cuts are read as written by the recipes of lhotse and icefall.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lhotse.cut import Cut

from keyframe_asr.data.corpora.listed_source import Entry, ListedSource
from keyframe_asr.data.corpora.listing import CorpusListing, ListedUtterance, Split, find_splits
from keyframe_asr.data.cut_lines import load_cuts
from keyframe_asr.data.manifest import (
    audio_channel,
    audio_path,
    is_part,
    speaker,
    text,
)
from keyframe_asr.data.table_rows import REQUIRED, read_table_rows
from keyframe_asr.errors import ManifestError

AUDIO_FOLDERS = ("", "clips", "wavs", "wav", "audio")
"""Folders beside a table in which its paths are looked for, in this order."""

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
"""Valid values of the column `split`."""

_ONE_TABLE = "; or one table manifest.tsv"

CUT_FILES = ("{}.jsonl.gz", "cuts_{}.jsonl.gz", "{}.jsonl", "cuts_{}.jsonl")


def read_table(
    source: Path,
    language: str,
    train: str | None = None,
    dev: str | None = None,
    test: str | None = None,
) -> CorpusListing:
    """List a table, or a folder with one table per split.

    A table without a column `split` is training speech. In a folder, the tables are called
    `train`, `dev` and `test` (.tsv or .csv) or have the given names, or there is one table
    `manifest`.

    Raises:
        ManifestError: a table is missing, or has an invalid line or split.
    """
    source = Path(source)
    named = (train, dev, test)
    whole = [source, source / "manifest.tsv", source / "manifest.csv"]
    table = next((one for one in whole if os.path.isfile(one)), None)
    if table is not None and not any(named):
        return _by_split(table, language)
    if os.path.isfile(source):
        raise ManifestError(
            f"{source}: a table; --train, --dev and --test need a folder as --source"
        )
    tables = find_splits(source, named, ("{}.tsv", "{}.csv"), "table", _ONE_TABLE)
    listed = {split: list_table(file) for split, file in tables.items()}
    suffix = next(iter(tables.values())).suffix
    return CorpusListing(
        suffix[1:].lower(),
        language,
        {split: [one.utterance for one in table.entries] for split, table in listed.items()},
        problems=[line for table in listed.values() for line in table.problems],
    )


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
    problems: list[str] = []
    for split, file in files.items():
        splits[split] = list_cuts(load_cuts(file), problems)
    return CorpusListing("lhotse", language, splits, problems=problems)


def list_cuts(cuts: Sequence[Cut], problems: list[str]) -> list[ListedUtterance]:
    """List cuts; augmented copies become lines of `problems`."""
    problems += [
        f"{cut.id}: augmented copy (its recording has transforms)"
        for cut in cuts
        if cut.recording.transforms
    ]
    return [_utterance_of(cut) for cut in cuts if not cut.recording.transforms]


def list_table(file: Path, split: str | None = None) -> ListedSource:
    """List the rows of a table, or those of one split.

    Rows without an `utt_id` are named by their paths. Of those, one that repeats an earlier row is
    a problem, and so are all that give a recording different texts.

    Raises:
        ManifestError: the table cannot be read, lacks a required column or has an invalid row.
    """
    table = read_table_rows(file, REQUIRED if split is None else (*REQUIRED, "split"))
    listed = ListedSource("table", columns=dict(table.columns))
    named: dict[str, tuple[int, ListedUtterance]] = {}
    disputed: set[str] = set()
    for row in table.rows:
        if split is not None and row.cells["split"] != split:
            continue
        one = _utterance(row.cells, row.line, file)
        while (first := named.get(one.id)) and not row.cells.get("utt_id"):
            if _place(first[1]) == _place(one):
                break
            one = replace(one, id=f"{one.id}-{row.line}")  # a/b.wav and a-b.wav
        if first and not row.cells.get("utt_id"):
            same = first[1].text == one.text
            disputed |= set() if same else {one.id}
            what = "repeats" if same else "has another text than"
            listed.problems.append(f"{one.id}: line {row.line} {what} line {first[0]}")
            continue
        named.setdefault(one.id, (row.line, one))
        seconds = None
        if one.end is None and one.start == 0:
            seconds = _number(row.cells, "duration_s", f"{file}:{row.line}")
        listed.entries.append(Entry(one, seconds, row.cells.get("split", ""), row.line))
    listed.entries = [one for one in listed.entries if one.utterance.id not in disputed]
    return listed


def _by_split(table: Path, language: str) -> CorpusListing:
    listed = list_table(table)
    splits: dict[Split, list[ListedUtterance]] = {}
    for one in listed.entries:
        split: Split = "train"
        if "split" in listed.columns:
            split = split_named(one.split, f"{table}:{one.line}")
        splits.setdefault(split, []).append(one.utterance)
    kind = table.suffix[1:].lower()
    return CorpusListing(kind, language, splits, problems=listed.problems)


def split_named(name: str, where: str) -> Split:
    """Return the split that a cell names. Raises `ManifestError` if it is none."""
    split = SPLIT_NAMES.get(name.strip().lower())
    if split is None:
        raise ManifestError(f"{where}: unknown split '{name}'; use one of {', '.join(SPLIT_NAMES)}")
    return split


def _utterance(cells: Mapping[str, str], line: int, table: Path) -> ListedUtterance:
    where = f"{table}:{line}"
    given = cells["path"].strip()
    if not given:
        raise ManifestError(f"{where}: path is empty; fill it in")
    audio = _recording(table.parent, given)
    path = PurePosixPath(given if audio.name == Path(given).name else given.replace("\\", "/"))
    if path.name in ("", ".."):
        raise ManifestError(f"{where}: path '{path}' is a folder; give an audio file")
    # includes the folders, because the file name alone is rarely unique
    name = "-".join(path.with_suffix("").parts).lstrip("/-.")
    start, end = _number(cells, "start", where), None
    if start is not None and (seconds := _number(cells, "duration_s", where)) is not None:
        end = start + seconds
        name = f"{name}-{start:g}" if start else name
    return ListedUtterance(
        cells.get("utt_id") or name,
        cells.get("speaker", "").strip(),
        cells["text"],
        audio,
        start or 0.0,
        end,
        named_channel(cells, where),
        language=cells.get("language", "").strip(),
    )


def _place(one: ListedUtterance) -> tuple[object, ...]:
    return (one.audio, one.start, one.end, one.channel)


def _recording(folder: Path, given: str) -> Path:
    """Find the recording of a path in a table; backslashes are those of Windows."""
    spellings = dict.fromkeys((given, given.replace("\\", "/")))
    places = [folder / inner / one for inner in AUDIO_FOLDERS for one in spellings]
    found = next(filter(os.path.isfile, places), folder / list(spellings)[-1])
    return Path(os.path.abspath(found))


def _number(cells: Mapping[str, str], column: str, where: str) -> float | None:
    """Return the seconds of a cell; None if it is empty or there is none."""
    cell = cells.get(column, "").strip()
    if not cell:
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ManifestError(f"{where}: {column} is '{cell}'; give seconds, 0 or more")
    return seconds


def named_channel(cells: Mapping[str, str], where: str) -> int | None:
    """Channel that a row of a table names; None if it has no such cell.

    Raises:
        ManifestError: it is not a number of a channel.
    """
    cell = cells.get("channel", "").strip()
    if not cell:
        return None
    if not re.fullmatch(r"[0-9]{1,3}", cell):
        raise ManifestError(f"{where}: channel is '{cell}'; give a number, the first channel is 0")
    return int(cell)


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
        language=cut.supervisions[0].language or "",
    )
