"""Corpora in lhotse's Shar format: cuts in manifests, their recordings in tar archives.

A folder holds `cuts.NNNNNN.jsonl.gz` and `recording.NNNNNN.tar` of each shard; it may be at a URI
that fsspec opens. The cuts are read first, each with the place of its recording in the archive, and
recordings one by one when they are needed. So the order of training, and resuming, are those of
other manifests. The places are in the cuts that `keyframe prepare --shar` writes; the archives of
others are searched for them.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from keyframe_asr.audio.archives import remote_errors
from keyframe_asr.audio.uris import is_uri, located
from keyframe_asr.data.cut_lines import pack
from keyframe_asr.data.manifest import ARCHIVED, POSITION
from keyframe_asr.data.packed_cuts import PackedCuts, PackedLine
from keyframe_asr.errors import ManifestError

SHARDS = "shards"
"""Custom field of a cut: number of all shards that `keyframe prepare --shar` wrote with it."""

_CUTS = re.compile(r"cuts\.\d+\.jsonl(\.gz)?")
_RECORDINGS = re.compile(r"recording\.\d+\.tar")


@dataclass(frozen=True)
class _Found:
    """A recording that was found in an archive: its place, and its manifest."""

    position: tuple[str, int, int]
    recording: dict[str, Any]


def is_shar(name: str) -> bool:
    """True for a URI, and for a folder with cuts and archives of recordings."""
    if is_uri(name):
        return True
    if not os.path.isdir(name):
        return False
    names = os.listdir(name)
    return any(map(_CUTS.fullmatch, names)) and any(map(_RECORDINGS.fullmatch, names))


def list_shar(folder: str) -> PackedCuts:
    """List the cuts of a folder, shard by shard.

    Raises:
        ManifestError: the folder cannot be read, lacks files, or has a damaged one.
    """
    folder = folder.rstrip("/")
    names = _names(folder)
    cuts = sorted(filter(_CUTS.fullmatch, names))
    archives = sorted(filter(_RECORDINGS.fullmatch, names))
    if not cuts or [_number(one) for one in cuts] != [_number(one) for one in archives]:
        raise ManifestError(
            f"{folder}: {len(cuts)} files cuts.NNNNNN.jsonl.gz and {len(archives)} files "
            "recording.NNNNNN.tar; lhotse Shar has one of each for every shard, so copy it again"
        )
    files = [f"{folder}/{one}" for one in cuts]
    _check_gaps(folder, cuts)
    contents = _fetched(files) if is_uri(folder) else map(_content, files)
    return PackedCuts(
        line
        for file, content, archive in zip(files, contents, archives, strict=True)
        for line in _shard(file, content, f"{folder}/{archive}", len(cuts))
    )


def check_complete(folder: str) -> None:
    """Check that a folder that `keyframe prepare --shar` wrote has all shards; reads one manifest.

    Raises:
        ManifestError: it has not.
    """
    cuts = sorted(filter(_CUTS.fullmatch, os.listdir(folder))) if os.path.isdir(folder) else []
    if not cuts:
        raise ManifestError(f"{folder}: has no shards; prepare the corpus again with --overwrite")
    _check_gaps(folder, cuts)
    for line in _lines(file := f"{folder}/{cuts[0]}", _content(file))[:1]:
        custom = _parsed(line, f"{file}:1").get("custom") or {}
        _check_shards(folder, len(cuts), custom.get(SHARDS, len(cuts)))


def _check_gaps(folder: str, cuts: list[str]) -> None:
    """Raise `ManifestError` if shards in between are missing."""
    numbers = [int(_number(one)) for one in cuts]
    _check_shards(folder, len(numbers), numbers[-1] - numbers[0] + 1)


def _check_shards(folder: str, found: int, written: int) -> None:
    if found != written:
        raise ManifestError(
            f"{folder}: has {found} of {written} shards; copy the others, or prepare the corpus "
            "again with --overwrite"
        )


def _shard(cuts: str, content: bytes, archive: str, shards: int) -> Iterator[PackedLine]:
    found: dict[str, _Found] = {}
    for number, line in enumerate(_lines(cuts, content), start=1):
        where = f"{cuts}:{number}"
        data = _parsed(line, where)
        custom = data.get("custom")
        custom = custom if isinstance(custom, dict) else {}
        _check_shards(os.path.dirname(cuts), shards, custom.pop(SHARDS, shards))
        place = custom.get(POSITION)
        if place is None:
            found = found or _search(archive)
            if data["id"] not in found:
                raise ManifestError(f"{archive}: lacks the recording of '{data['id']}'")
            place, data["recording"] = found[data["id"]].position, found[data["id"]].recording
        source = data["recording"]["sources"][0] | {"type": ARCHIVED, "source": archive}
        data["recording"] |= {"sources": [source]}
        data["custom"] = {**custom, POSITION: list(place)}
        yield pack(data, where)


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(line)
        if isinstance(data["id"], str) and data["recording"]["sources"][0].keys():
            return data
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        pass
    raise ManifestError(f"{where}: not a cut of lhotse with a recording; write the folder again")


def _lines(file: str, content: bytes) -> list[bytes]:
    try:
        if file.endswith(".gz"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ManifestError(f"{file}: cannot be read: {error}; copy it again") from None
    return [line for line in content.split(b"\n") if line.strip()]


def _search(archive: str) -> dict[str, _Found]:
    """Find the recordings of an archive by their names.

    Raises:
        ManifestError: the archive cannot be read.
    """
    found: dict[str, _Found] = {}
    try:
        with _opened(archive) as file, tarfile.open(fileobj=file, mode="r:") as members:
            while (audio := members.next()) and (described := members.next()):
                taken = members.extractfile(described)
                name, ending = os.path.splitext(audio.name)
                if taken is None or ending == ".nodata":
                    continue
                position = (audio.name, audio.offset_data, audio.size)
                found[name] = _Found(position, json.loads(taken.read()))
    except (OSError, ValueError, tarfile.TarError) as error:
        raise ManifestError(f"{archive}: cannot be read: {error}; copy it again") from None
    return found


def _names(folder: str) -> list[str]:
    if not is_uri(folder):
        return os.listdir(folder)
    with remote_errors(folder, ManifestError):
        system, path = located(folder)
        return [str(one).rsplit("/", 1)[-1] for one in system.ls(path, detail=False)]


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ManifestError(f"{file}: cannot be read: {error.strerror}; copy it again") from None


def _fetched(files: list[str]) -> list[bytes]:
    """Contents of files at a URI, which most file systems fetch at the same time."""
    with remote_errors(os.path.dirname(files[0]), ManifestError):
        system, _ = located(files[0])
        paths = [located(one)[1] for one in files]
        fetched = system.cat(paths)
        return [bytes(fetched[path]) for path in paths]


def _opened(file: str) -> BinaryIO:
    if not is_uri(file):
        return open(file, "rb")
    with remote_errors(file, ManifestError):
        system, path = located(file)
        opened: BinaryIO = system.open(path, "rb")
        return opened


def _number(name: str) -> str:
    return name.split(".")[1]
