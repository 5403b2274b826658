"""The recordings of an archive: their ids and where they are.

A manifest is a table (.parquet, .jsonl, .tsv, .csv), lhotse cuts (.jsonl.gz), a lhotse Shar folder,
a folder of recordings, or one of Parquet tables. It is read as often as it is needed, a recording
at a time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, parquet

from keyframe_asr.audio.suffixes import readable_suffixes
from keyframe_asr.audio.uris import is_uri, located
from keyframe_asr.cluster.places import joined
from keyframe_asr.data.table_rows import COLUMN_NAMES, read_table_rows
from keyframe_asr.errors import ManifestError
from keyframe_asr.io.text_file import read_lines

NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "utt_id", *COLUMN_NAMES["utt_id"]),
    "uri": ("uri", "url", "path", *COLUMN_NAMES["path"]),
    "start": ("start", *COLUMN_NAMES["start"]),
    "seconds": ("duration", "duration_s", *COLUMN_NAMES["duration_s"]),
    "channel": ("channel",),
}
"""Columns of a manifest; of several names the first counts."""

PART_TOLERANCE = 0.01
"""A cut whose duration differs less from that of its recording, in seconds, is all of it."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, or the part of one.

    Attributes:
        id: unique in its manifest.
        uri: path or URI of the file; of a tar archive, if `member` is given.
        start: first second of the part; None for a whole file.
        seconds: duration of the part, or what the manifest says of that of the file.
        channel: of the file, counted from 0; None is that of the options.
        member: name of the recording in a shard of lhotse Shar.
    """

    id: str
    uri: str
    start: float | None = None
    seconds: float | None = None
    channel: int | None = None
    member: str | None = None


def recordings_of(manifest: str) -> Iterator[Recording]:
    """Yield the recordings of a manifest, in its order.

    Raises:
        ManifestError: it cannot be read, or names no recording in an entry.
        PackageError: its scheme needs a package that is not installed.
    """
    filesystem, path = located(manifest)
    split = None
    before, separator, named = path.rpartition(":")
    if separator and not is_uri(manifest) and os.path.isfile(before):
        path, split = before, named  # FILE.tsv:SPLIT
    try:
        if filesystem.isdir(path):
            yield from _of_folder(manifest, filesystem, path)
            return
        if not filesystem.isfile(path):
            raise ManifestError(f"{manifest}: no such manifest or folder; check the path")
        with _local(filesystem, path) as file:
            yield from _of_file(manifest, file, split)
    except OSError as error:
        raise ManifestError(f"{manifest}: cannot be read ({error}); check it") from None


@contextmanager
def _local(filesystem: Any, path: str) -> Iterator[Path]:
    """Yield a local file with the content of one."""
    if os.path.isfile(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.rpartition("/")[2])
        filesystem.get_file(path, str(copy))
        yield copy


def _of_file(manifest: str, file: Path, split: str | None) -> Iterator[Recording]:
    folder = manifest.rpartition("/")[0] if is_uri(manifest) else os.path.dirname(file)
    name = file.name.lower()
    if name.endswith(".parquet"):
        yield from _of_parquet(manifest, file, folder)
    elif name.endswith((".jsonl", ".jsonl.gz", ".json")):
        yield from _of_lines(manifest, file, folder)
    elif name.endswith((".tsv", ".csv")):
        for row in read_table_rows(file, ("path",)).rows:
            if split is None or row.cells.get("split") == split:
                where = f"{manifest}:{row.line}"
                yield _of_row(row.cells, where, folder)
    else:
        raise ManifestError(
            f"{manifest}: not a manifest; give .parquet, .jsonl, .tsv, .csv, lhotse cuts "
            "(.jsonl.gz), or a folder"
        )


def _of_parquet(manifest: str, file: Path, folder: str) -> Iterator[Recording]:
    try:
        table = parquet.ParquetFile(file)
        wanted = {name for names in NAMES.values() for name in names}
        columns = [name for name in table.schema_arrow.names if name.lower() in wanted]
        number = 0
        for batch in table.iter_batches(columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield _of_row(row, f"{manifest}: row {number}", folder)
    except ArrowException as error:
        reason = " ".join(str(error).split())
        raise ManifestError(f"{manifest}: not a Parquet file ({reason}); write it again") from None


def _of_lines(manifest: str, file: Path, folder: str) -> Iterator[Recording]:
    lines = read_lines(file, "write one object per line", ManifestError)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{manifest}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ManifestError(f"{where}: not JSON ({error}); write one object per line") from None
        if not isinstance(row, dict):
            raise ManifestError(f"{where}: not a JSON object; write one object per line")
        is_cut = isinstance(row.get("recording"), dict)
        yield _of_cut(row, where, folder) if is_cut else _of_row(row, where, folder)


def _of_row(row: Mapping[str, Any], where: str, folder: str) -> Recording:
    plain = {str(name).strip().lower(): value for name, value in row.items()}
    found = {
        field: next((plain[name] for name in names if plain.get(name) not in (None, "")), None)
        for field, names in NAMES.items()
    }
    uri = found["uri"]
    if isinstance(uri, dict):  # as Hugging Face's datasets write audio
        uri = uri.get("path")
    if not isinstance(uri, str) or not uri:
        raise ManifestError(f"{where}: names no recording; give a column uri, path or audio")
    channel = _number(found["channel"], "channel", where)
    if channel is not None and channel != int(channel):
        raise ManifestError(f"{where}: channel is {channel}; give a whole number from 0")
    return Recording(
        id=uri if found["id"] is None else str(found["id"]),
        uri=joined(folder, uri),
        start=_number(found["start"], "start", where),
        seconds=_number(found["seconds"], "duration", where),
        channel=None if channel is None else int(channel),
    )


def _number(value: Any, name: str, where: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < 1e9:
        raise ManifestError(f"{where}: {name} is {value!r}; give a number from 0")
    return number


def _of_cut(cut: dict[str, Any], where: str, folder: str) -> Recording:
    """Return the recording of a lhotse cut."""
    recording = cut["recording"]
    try:
        name, start, seconds = str(cut["id"]), float(cut["start"]), float(cut["duration"])
        whole = float(recording["duration"])
        sources = recording["sources"]
        (source,) = sources
        kind, place = source["type"], source["source"]
        channels = list(source["channels"])
        channel = cut.get("channel", 0)
    except (KeyError, TypeError, ValueError):
        raise ManifestError(
            f"{where}: not a lhotse cut of one recording; write MonoCuts with one audio file each"
        ) from None
    if kind not in ("file", "url") or not isinstance(place, str):
        raise ManifestError(
            f"{where}: the audio of cut '{name}' is of type {kind}; save it as files, or as Shar"
        )
    part = start > 0 or abs(seconds - whole) > PART_TOLERANCE
    chosen = channels.index(channel) if channel in channels and len(channels) > 1 else None
    return Recording(name, joined(folder, place), start if part else None, seconds, chosen)


def _of_folder(manifest: str, filesystem: Any, path: str) -> Iterator[Recording]:
    names = sorted(one[len(path) :].lstrip("/") for one in filesystem.find(path))
    visible = [one for one in names if not any(x.startswith(".") for x in one.split("/"))]
    shards = [one for one in visible if one.startswith("cuts.") and one.endswith(".jsonl.gz")]
    if shards:
        with tempfile.TemporaryDirectory() as folder:
            for shard in shards:
                yield from _of_shard(manifest, filesystem, path, shard, Path(folder))
        return
    audio = [one for one in visible if os.path.splitext(one)[1].lower() in readable_suffixes()]
    for one in audio:
        yield Recording(one, joined(manifest, one))
    if audio:
        return
    tables = [one for one in visible if one.endswith(".parquet")]
    tables = [one for one in tables if not any(x.startswith("_") for x in one.split("/"))]
    if not tables:
        raise ManifestError(f"{manifest}: a folder without recordings; give a manifest")
    yield from chain.from_iterable(recordings_of(joined(manifest, one)) for one in tables)


def _of_shard(
    manifest: str, filesystem: Any, path: str, shard: str, folder: Path
) -> Iterator[Recording]:
    """Yield the cuts of a shard of lhotse Shar; each has its recording in the tar beside it."""
    tar = shard.replace("cuts.", "recording.", 1).replace(".jsonl.gz", ".tar")
    copy = folder / shard
    filesystem.get_file(f"{path}/{shard}", str(copy))
    for number, line in enumerate(read_lines(copy, "write it again", ManifestError), start=1):
        where = f"{joined(manifest, shard)}:{number}"
        try:
            cut = json.loads(line)
            name, seconds = str(cut["id"]), float(cut["duration"])
        except (ValueError, KeyError, TypeError):
            raise ManifestError(f"{where}: not a lhotse cut; write the shard again") from None
        yield Recording(name, joined(manifest, tar), None, seconds, None, name)
    copy.unlink()
