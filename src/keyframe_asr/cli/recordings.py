"""Find the recordings named on the command line, and choose where their transcripts go.

Recordings are given as files, folders, patterns, or a list on standard input.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from keyframe_asr.errors import AudioError
from keyframe_asr.formats import json_line, render
from keyframe_asr.results import Transcript

SUFFIXES = frozenset(
    {".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav"}
)
"""Files with these suffixes are found in folders. A file given by name may have any suffix."""

LIST = Path("-")


class Format(StrEnum):
    """Output formats: the keys of `keyframe_asr.formats.FORMATS`."""

    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    ctm = "ctm"
    textgrid = "textgrid"


@dataclass(frozen=True)
class Named:
    """A recording, and the relative path, without suffix, of its output in a folder."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Recordings:
    """Recordings in the order given, those of a folder sorted by name.

    `searched` is True if any come from a folder, pattern or list.
    """

    named: list[Named]
    searched: bool


def recordings_named(given: Sequence[Path]) -> Recordings:
    """Find all recordings; one that a search finds again is taken once.

    A folder or pattern without recordings is returned itself, so that it fails when it is read and
    the other recordings continue.

    Raises:
        AudioError: the list on standard input is empty.
    """
    found: list[Named] = []
    seen: set[Path] = set()
    searched = False
    for path in given:
        here = list(_found(path))
        is_search = here != [Named(path, _stem(path))]
        found += [named for named in here if not is_search or named.path not in seen]
        seen.update(named.path for named in here)
        searched |= is_search
    return Recordings(found, searched)


def targets(
    recordings: Iterable[Named], out: Path | None, beside: bool, suffix: str
) -> list[Path | None]:
    """Return the output file of each recording: in `out`, next to the recording, or None.

    Raises:
        AudioError: two recordings have the same output file.
    """
    written: list[Path | None] = []
    owners: dict[Path, Path] = {}
    for recording in recordings:
        path, target = recording.path, None
        if beside or out is not None:
            stem = path.parent / path.stem if beside or out is None else out / recording.relative
            target = stem.with_name(stem.name + suffix)
            if target in owners:
                raise AudioError(
                    f"{owners[target]} and {path}: both would be written to {target}; give the "
                    "folder they are in, --beside, or a pattern such as 'DIR/**/*.wav'"
                )
            owners[target] = path
        written.append(target)
    return written


def printed(transcript: Transcript, output: Format, name: str, several: bool = False) -> str:
    """Render for standard output: text and json as one line that names the recording."""
    if output is Format.json:
        return json_line(transcript, name) + "\n"
    content = render(transcript, output, name)
    return f"{name}\t{content}" if output is Format.text and several else content


def _found(given: Path) -> Iterator[Named]:
    if given == LIST:
        yield from _listed()
    elif given.is_dir():
        yield from _in_folder(given)
    elif glob.has_magic(str(given)) and not given.exists():
        yield from _matching(str(given))
    else:
        yield Named(given, _stem(given))


def _in_folder(folder: Path) -> Iterator[Named]:
    """Find recordings at any depth; skip hidden files and folders (such as macOS's `._a.wav`)."""
    empty = True
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                empty = False
                yield Named(path, path.relative_to(folder).with_suffix(""))
    if empty:
        yield Named(folder, _stem(folder))


def _matching(pattern: str) -> Iterator[Named]:
    """Find the files that a pattern matches; `**` matches folders at any depth."""
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    files = [path for path in matches if path.is_file()]
    if not files:
        yield Named(Path(pattern), _stem(Path(pattern)))
    for path in files:
        yield Named(path, path.relative_to(fixed).with_suffix(""))


def _listed() -> Iterator[Named]:
    """Read paths from standard input, separated by line breaks or, as by `find -print0`, zeros."""
    content = sys.stdin.buffer.read()
    separator = b"\0" if b"\0" in content else b"\n"
    paths = [Path(os.fsdecode(line.rstrip(b"\r"))) for line in content.split(separator) if line]
    if not paths:
        raise AudioError("standard input lists no recordings; give one path per line")
    for path in paths:
        inside = not path.is_absolute() and ".." not in path.parts
        yield Named(path, path.with_suffix("") if inside else _stem(path))


def _stem(path: Path) -> Path:
    return Path(path.stem or path.name)
