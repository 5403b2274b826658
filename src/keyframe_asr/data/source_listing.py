"""What kind of source a file or folder is, and its list of recordings, before any is opened."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from keyframe_asr.data.corpora import kaldi, ljspeech
from keyframe_asr.data.corpora.listed_source import Entry, ListedSource
from keyframe_asr.data.corpora.listing import Split, files_below
from keyframe_asr.data.corpora.pairs import list_pairs_below
from keyframe_asr.data.corpora.tables import CUT_FILES, SPLIT_NAMES, list_table
from keyframe_asr.data.cut_lines import load_cuts
from keyframe_asr.data.packed_cuts import PackedCuts
from keyframe_asr.data.shar import is_shar, list_shar
from keyframe_asr.data.table_rows import TABLE_SUFFIXES
from keyframe_asr.errors import ManifestError
from keyframe_asr.io.text_file import read_lines

Part: TypeAlias = ListedSource | PackedCuts
"""A list of recordings, or cuts as they are."""

WHOLE_TABLES = ("manifest", "metadata")
"""Names of tables that list a whole folder."""

_KINDS = (
    "a manifest (.jsonl.gz), a table (.tsv, .csv), or a folder of recordings with texts or of "
    "lhotse Shar"
)


def parts_of(name: str, divided: bool = True) -> dict[Split | None, Part]:
    """List a source by its splits; None is the split of one that is not divided into several files.

    Args:
        name: a file or folder, or `FILE:SPLIT` for the rows of one split of a table.
        divided: False to refuse a folder that holds several splits.

    Raises:
        ManifestError: there is none, or its lists are damaged.
    """
    if is_shar(name):
        return {None: list_shar(name)}
    file, split = split_suffix(name)
    if not os.path.isdir(file):
        if not os.path.isfile(file):
            raise ManifestError(f"{file}: no such file or folder; give {_KINDS}")
        return {None: _in_file(file, split)}
    paths = split_paths(file)
    if not paths:
        return {None: _in_folder(file)}
    if not divided:
        raise ManifestError(
            f"{file}: holds several splits; give one, such as {[*paths.values()][-1]}"
        )
    return _apart({split: _at(path) for split, path in paths.items()})


def undivided(name: str) -> list[str]:
    """Names of the splits of a source; its own name if it is not divided into several files."""
    file, _ = split_suffix(name)
    paths = split_paths(file) if os.path.isdir(file) and not is_shar(name) else {}
    return [str(path) for path in paths.values()] or [name]


def _at(path: Path) -> Part:
    if is_shar(str(path)):
        return list_shar(str(path))
    return _in_folder(path) if os.path.isdir(path) else _in_file(path)


def split_suffix(name: str) -> tuple[Path, str | None]:
    """Divide `FILE:SPLIT`; the split is None if there is none."""
    stem, separator, split = name.rpartition(":")
    known = stem.lower().endswith(TABLE_SUFFIXES)
    return (Path(stem), split) if separator and known else (Path(name), None)


def _in_file(file: Path, split: str | None = None) -> Part:
    if not file.name.lower().endswith(TABLE_SUFFIXES):
        raise ManifestError(f"{file}: neither a manifest nor a table; give {_KINDS}")
    if _holds_cuts(file):
        if split is not None:
            raise ManifestError(f"{file}: only a table (.tsv, .csv) has splits; remove ':{split}'")
        return load_cuts(file)
    if ljspeech.is_ljspeech(file):
        return ljspeech.list_lines(file)
    listed = list_table(file, split)
    if split is not None and not listed.entries:
        found = sorted({one.split for one in list_table(file).entries})
        has = f"it has {', '.join(found)}" if found else "the table has no rows"
        raise ManifestError(f"{file}: no row has the split '{split}'; {has}")
    return listed


def _holds_cuts(file: Path) -> bool:
    """True if a file holds lhotse cuts, or is JSON of which nothing else can be made."""
    if not file.name.lower().endswith((".jsonl", ".jsonl.gz")):
        return False
    first = next(filter(str.strip, read_lines(file, "write it again", ManifestError)), "")
    try:
        found = json.loads(first)
    except ValueError:
        return True
    return not isinstance(found, dict) or "type" in found or "supervisions" in found


def split_paths(folder: Path) -> dict[Split | None, Path]:
    """Find the file of each split, such as `train.jsonl.gz`, or a folder of each if train has one.

    Empty if the folder is a source as a whole.
    """
    names = {*files_below(folder, "")}
    endings = [f"{{}}{suffix}" for suffix in (".jsonl.gz", ".jsonl", ".tsv", ".csv")]
    found: dict[Split | None, Path] = {}
    for stem, split in SPLIT_NAMES.items():
        for name in (one.format(stem) for one in (*endings, *CUT_FILES)):
            if name in names:
                found.setdefault(split, folder / name)
    if found or "wav.scp" in names or _whole_table(names):
        return found
    for name, split in SPLIT_NAMES.items():
        if os.path.isdir(folder / "train") and os.path.isdir(folder / name):
            found.setdefault(split, folder / name)
    return found


def _whole_table(names: set[str]) -> str | None:
    """Name of the table that lists a whole folder, as in audio folders of Hugging Face."""
    tables = (f"{stem}{suffix}" for stem in WHOLE_TABLES for suffix in TABLE_SUFFIXES)
    return next(filter(names.__contains__, tables), None)


def _in_folder(folder: Path) -> Part:
    names = {*files_below(folder, "")}
    if "wav.scp" in names:
        problems: list[str] = []
        found = kaldi.read_folder(folder, folder, problems)
        return ListedSource("Kaldi data", [Entry(one) for one in found], problems=problems)
    if table := _whole_table(names):
        return _in_file(folder / table)
    try:
        utterances, problems = list_pairs_below(folder)
    except ManifestError:
        tables = sorted(name for name in names if name.lower().endswith(TABLE_SUFFIXES))
        if len(tables) == 1:
            return _in_file(folder / tables[0])
        if tables:
            raise ManifestError(
                f"{folder}: holds several tables ({', '.join(tables[:5])}); give one of them"
            ) from None
        raise
    return ListedSource("folder", [Entry(one) for one in utterances], problems=problems)


def _apart(parts: dict[Split | None, Part]) -> dict[Split | None, Part]:
    """Name utterances by their split too where parts share names."""
    seen: set[str] = set()
    for split, part in parts.items():
        if not isinstance(part, ListedSource):
            seen |= set(part.ids)
            continue
        if not seen.isdisjoint(one.utterance.id for one in part.entries):
            part.entries = [
                replace(one, utterance=replace(one.utterance, id=f"{split}-{one.utterance.id}"))
                for one in part.entries
            ]
        seen |= {one.utterance.id for one in part.entries}
    return parts
