"""Rows of tables, with columns recognised by name.

Tables are text with one row per line, separated by tabs, commas, semicolons or bars, or JSON Lines
as NeMo writes them. The separator follows from the suffix, or from the first line if that does not
fit. In a tab-separated table quotes are part of the text; elsewhere they are as spreadsheets write
them.

Columns have the names of `COLUMN_NAMES`, in capital or small letters, in any order; others are
ignored. Where a table has a column of the usual name, other names for it are ignored too.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from keyframe_asr.errors import ManifestError
from keyframe_asr.io.text_file import read_lines

REQUIRED = ("path", "text")

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "path": (
        *("audio", "audio_path", "audio_file", "audio_filepath", "audio_file_path"),
        *("audio_filename", "file", "file_name", "filename", "file_path", "filepath"),
        *("wav", "wav_path", "wav_file", "wav_filename", "wav_filepath", "recording", "clip"),
    ),
    "text": (
        *("sentence", "transcript", "transcription", "transcripts", "utterance"),
        *("normalized_text", "normalised_text", "raw_text", "reference"),
    ),
    "utt_id": ("utterance_id", "uttid"),
    "speaker": ("speaker_id", "client_id", "spk", "spk_id", "speakerid"),
    "duration_s": ("duration", "duration_seconds", "seconds"),
    "start": ("offset", "start_time"),
    "split": ("subset", "partition"),
    "channel": (),
    "language": ("lang", "locale"),
}
"""Usual names of the columns, and other names by which they are recognised."""

TABLE_SUFFIXES = (".tsv", ".csv", ".json", ".jsonl", ".jsonl.gz")

_SEPARATORS = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}


@dataclass(frozen=True)
class Row:
    """Cells of a row by the usual names of their columns, and the number of its line."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        file: where it was read.
        columns: usual name of each column that was recognised, and its name in the file.
        rows: in the order of the file.
    """

    file: Path
    columns: Mapping[str, str]
    rows: Iterator[Row]


def read_table_rows(file: Path, required: Sequence[str] = REQUIRED) -> Table:
    """Read a table (.tsv, .csv, .jsonl, .json).

    Raises:
        ManifestError: the file cannot be read, lacks a required column, has several that may be
            meant, or has an invalid row.
    """
    if not file.name.lower().endswith((".tsv", ".csv")):
        return _json_table(file, required)
    lines = read_lines(file, "give a table as UTF-8 text", ManifestError)
    first = next(lines, "")
    usual = "," if file.name.lower().endswith(".csv") else "\t"
    separator = _separator(first, usual, required)
    tabs = separator == "\t"
    rows = csv.reader(
        # a cell in quotes may have several lines
        (f"{line}\n" for line in chain([first], lines)),
        delimiter=separator,
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=True,
    )
    try:
        header = next(rows, [])
    except csv.Error as error:
        raise ManifestError(f"{file}:1: not a row of a table: {error}") from None
    columns = recognise_columns(file, header, required, _SEPARATORS[separator])
    return Table(file, columns, _rows(file, rows, header, columns, _SEPARATORS[separator]))


def recognise_columns(
    file: Path, header: Sequence[str], required: Sequence[str], separator: str = ""
) -> dict[str, str]:
    """Map the usual name of each column to its name in a table.

    Raises:
        ManifestError: a required column is missing, or several may be meant.
    """
    found = {}
    for usual, others in COLUMN_NAMES.items():
        named = [one for one in header if _plain(one) == usual] or [
            one for one in header if _plain(one) in others
        ]
        exact = [one for one in named if one == usual]
        chosen = exact if len(exact) == 1 else named
        if len(chosen) > 1:
            twice = Counter(chosen).most_common(1)[0][1] > 1
            advice = "remove the others" if twice else f"rename the one meant to {usual}"
            raise ManifestError(
                f"{file}: more than one column may be the {usual}: "
                f"{', '.join(dict.fromkeys(chosen))}; {advice}"
            )
        if chosen:
            found[usual] = chosen[0]
    missing = [column for column in required if column not in found]
    if missing:
        alike = [f"{one} (or {', '.join(COLUMN_NAMES[one][:2])}, ...)" for one in missing]
        where = f", separated by {separator}s" if separator else ""
        raise ManifestError(
            f"{file}: missing column{'s' * (len(missing) > 1)} {', '.join(alike)}; the first line "
            f"must name all columns{where}; found {', '.join(map(repr, header)) or 'nothing'}"
        )
    return found


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _separator(first: str, usual: str, required: Sequence[str]) -> str:
    """Return the separator by which the first line names most columns; in doubt the usual."""

    def named(separator: str) -> int:
        names = {_plain(one.strip('"')) for one in first.split(separator)}
        return sum(bool(names & {one, *COLUMN_NAMES[one]}) for one in required)

    return max(dict.fromkeys((usual, *_SEPARATORS)), key=named)


def _rows(
    file: Path, rows: Any, header: Sequence[str], columns: Mapping[str, str], separator: str
) -> Iterator[Row]:
    places = {usual: header.index(name) for usual, name in columns.items()}
    needed = 1 + max((places[one] for one in REQUIRED if one in places), default=0)
    try:
        for row in rows:
            if not row:
                continue
            if not needed <= len(row) <= len(header):  # the last columns may be left out
                raise ManifestError(
                    f"{file}:{rows.line_num}: {len(row)} cells, but {len(header)} columns; "
                    f"separate the cells with single {separator}s"
                )
            cells = {one: row[at] if at < len(row) else "" for one, at in places.items()}
            yield Row(rows.line_num, cells)
    except csv.Error as error:
        raise ManifestError(f"{file}:{rows.line_num}: not a row of a table: {error}") from None


def _json_table(file: Path, required: Sequence[str]) -> Table:
    objects = _json_objects(file)
    line, first = next(objects, (1, {}))
    columns = recognise_columns(file, [str(one) for one in first], required)
    if not columns:
        return Table(file, columns, iter(()))
    return Table(file, columns, _json_rows(columns, chain([(line, first)], objects)))


def _json_rows(
    columns: Mapping[str, str], objects: Iterable[tuple[int, dict[str, Any]]]
) -> Iterator[Row]:
    for line, found in objects:
        yield Row(line, {usual: _cell(found.get(name)) for usual, name in columns.items()})


def _cell(value: Any) -> str:
    if isinstance(value, dict):  # as Hugging Face's datasets write audio
        value = value.get("path")
    return "" if value is None else str(value)


def _json_objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lines = read_lines(file, "give JSON Lines, one object per line", ManifestError)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ManifestError(
                f"{file}:{number}: not a JSON object ({reason}); write one object per line"
            ) from None
        if not isinstance(found, dict):
            raise ManifestError(f"{file}:{number}: not a JSON object; write one object per line")
        yield number, found
