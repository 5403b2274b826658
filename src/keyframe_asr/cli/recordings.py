"""Which recordings a command line names, and in which form a transcript of each leaves the program.

Recordings are named as files, folders, patterns, or in lists on standard input.
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
"""What is taken for a recording in a folder; a file named itself may have any suffix."""

LIST = Path("-")


class Format(StrEnum):
    """What is written for each recording: the keys of `keyframe_asr.formats.FORMATS`."""

    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    ctm = "ctm"
    textgrid = "textgrid"


@dataclass(frozen=True)
class Named:
    """A recording, and the name without suffix of what is written for it below a folder."""

    path: Path
    below: Path


@dataclass(frozen=True)
class Recordings:
    """Recordings in the order given, those of a folder by name.

    `searched` says whether any come from a folder, pattern or list instead of being named.
    """

    named: list[Named]
    searched: bool


def recordings_named(given: Sequence[Path]) -> Recordings:
    """Find all recordings; those found twice by searching are taken once.

    A folder or pattern without recordings stands for itself, so that reading it says what is wrong
    and the others go on.

    Raises:
        AudioError: the list on standard input is empty.
    """
    found: list[Named] = []
    seen: set[Path] = set()
    searched = False
    for one in given:
        here = list(_found(one))
        several = here != [Named(one, _stem(one))]
        found += [named for named in here if not several or named.path not in seen]
        seen.update(named.path for named in here)
        searched |= several
    return Recordings(found, searched)


def targets(
    recordings: Iterable[Named], out: Path | None, beside: bool, suffix: str
) -> list[Path | None]:
    """The file to write for each recording: below `out`, beside it, or None.

    Raises:
        AudioError: two recordings would be written to one file.
    """
    written: list[Path | None] = []
    owners: dict[Path, Path] = {}
    for one in recordings:
        target = None
        if beside or out is not None:
            below = one.path.parent / one.path.stem if beside or out is None else out / one.below
            target = below.with_name(below.name + suffix)
            if target in owners:
                raise AudioError(
                    f"{owners[target]} and {one.path} are both named '{below.name}' and would be "
                    f"written to {target}; give the folder they are in, --beside, or a pattern "
                    "such as 'DIR/**/*.wav'"
                )
            owners[target] = one.path
        written.append(target)
    return written


def printed(transcript: Transcript, output: Format, name: str, several: bool = False) -> str:
    """What goes to standard output: text and json as one line, which names the recording."""
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
    """Recordings at any depth; what is hidden (`._a.wav` of other systems) is not looked at."""
    none = True
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                none = False
                yield Named(path, path.relative_to(folder).with_suffix(""))
    if none:
        yield Named(folder, _stem(folder))


def _matching(pattern: str) -> Iterator[Named]:
    """Files that a pattern matches, `**` standing for folders at any depth."""
    fixed = Path(pattern)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    matches = [Path(one) for one in sorted(glob.glob(pattern, recursive=True))]
    files = [one for one in matches if one.is_file()]
    if not files:
        yield Named(Path(pattern), _stem(Path(pattern)))
    for path in files:
        yield Named(path, path.relative_to(fixed).with_suffix(""))


def _listed() -> Iterator[Named]:
    """Paths on standard input, one a line or, as `find -print0` gives them, ended by zeros."""
    content = sys.stdin.buffer.read()
    separator = b"\0" if b"\0" in content else b"\n"
    paths = [Path(os.fsdecode(one.rstrip(b"\r"))) for one in content.split(separator) if one]
    if not paths:
        raise AudioError("standard input lists no recordings; give one path a line")
    for path in paths:
        inside = not path.is_absolute() and ".." not in path.parts
        yield Named(path, path.with_suffix("") if inside else _stem(path))


def _stem(path: Path) -> Path:
    return Path(path.stem or path.name)
