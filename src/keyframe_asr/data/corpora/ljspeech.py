"""Folders as LJ Speech has them: `metadata.csv` with the lines ID|TEXT|TEXT, and `wavs/ID.wav`.

The last text of a line is read; in LJ Speech it has numbers and abbreviations spelt out.
"""

from __future__ import annotations

from pathlib import Path

from keyframe_asr.audio.suffixes import readable_suffixes
from keyframe_asr.data.corpora.listed_source import Entry, ListedSource
from keyframe_asr.data.corpora.listing import ListedUtterance, read_lines
from keyframe_asr.errors import ManifestError

METADATA = "metadata.csv"

_FOLDERS = ("wavs", ".", "wav", "clips")


def is_ljspeech(file: Path) -> bool:
    """True if a table has no header, and its first line is `ID|TEXT`."""
    if file.name != METADATA or not file.is_file():
        return False
    first = next(iter(read_lines(file)), (0, ""))[1]
    return "|" in first and _recording(file.parent, first.partition("|")[0]) is not None


def list_lines(file: Path) -> ListedSource:
    """List the lines of `metadata.csv`.

    Raises:
        ManifestError: a line has no text, or a name occurs twice.
    """
    listed = ListedSource("LJ Speech")
    seen: set[str] = set()
    for number, line in read_lines(file):
        name, bar, rest = line.partition("|")
        name = name.strip()
        if not bar:
            raise ManifestError(f"{file}:{number}: no text; write ID|TEXT on each line")
        if name in seen:
            raise ManifestError(f"{file}:{number}: '{name}' occurs twice; delete one of the lines")
        seen.add(name)
        audio = _recording(file.parent, name) or file.parent / _FOLDERS[0] / f"{name}.wav"
        text = rest.rpartition("|")[2].strip()
        listed.entries.append(Entry(ListedUtterance(name, "", text, audio), line=number))
    return listed


def _recording(folder: Path, name: str) -> Path | None:
    """Find a recording by its name with or without a suffix."""
    for inner in _FOLDERS:
        for suffix in ("", ".wav", ".flac", *sorted(readable_suffixes())):
            if (path := folder / inner / f"{name}{suffix}").is_file():
                return path
    return None
