"""Find the recordings named on the command line: files, folders, patterns, or a list of them."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keyframe_asr.audio.suffixes import readable_suffixes, unreadable_suffixes
from keyframe_asr.cli.path_list import paths_on_standard_input
from keyframe_asr.errors import AudioError

LIST = "-"

ANY_DEPTH = "**"


@dataclass(frozen=True)
class Named:
    """A recording, and its path below the folder in which it was searched."""

    path: Path
    relative: Path


@dataclass(frozen=True)
class Skipped:
    """A file or folder that a search leaves out, and why."""

    path: Path
    reason: str


@dataclass
class Recordings:
    """Recordings in the order given, each once, those of a folder sorted by name.

    Attributes:
        named: the recordings.
        searched: True if any come from a folder, pattern or list.
        skipped: what the search left out.
        failed: what could not be searched, or holds no recordings.
    """

    named: list[Named] = field(default_factory=list)
    searched: bool = False
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[AudioError] = field(default_factory=list)


def recordings_named(given: Sequence[str]) -> Recordings:
    """Find all recordings.

    One that is given or found twice, also through a link, is taken once. Links are followed.

    Raises:
        AudioError: standard input holds no list of paths.
    """
    finder = _Finder()
    for one in given:
        if one == LIST:
            finder.found.searched = True
            for listed in paths_on_standard_input():
                finder.take(listed, listed=True)
        else:
            finder.take(one)
    return finder.found


class _Finder:
    """Collects recordings, and remembers which files it has."""

    def __init__(self) -> None:
        self.found = Recordings()
        self._taken: dict[str, str] = {}
        self._unsearchable: set[str] = set()
        self._left_out: set[str] = set()

    def take(self, given: str, listed: bool = False) -> None:
        """Take a file as it is, or search a folder or pattern."""
        if not given:
            self.found.failed.append(AudioError("'': an empty path; give a file or folder"))
            return
        path = given if os.path.lexists(given) else os.path.expanduser(given)
        failures = len(self.found.failed)
        if os.path.isdir(path):
            found = [(one, Path(one).relative_to(path)) for one in self._in_folder(path)]
            problem = "a folder without recordings; give audio files"
        elif glob.has_magic(path) and not os.path.lexists(path):
            found = self._matching(path)
            problem = "no file matches; check the pattern"
        else:
            inside = listed and not os.path.isabs(path) and ".." not in Path(path).parts
            self._add(path, Path(path) if inside else Path(Path(path).name))
            return
        self.found.searched = True
        for one, relative in found:
            self._add_found(one, relative)
        if not found and failures == len(self.found.failed):
            self.found.failed.append(AudioError(f"{path}: {problem}"))

    def _add(self, path: str, relative: Path) -> None:
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError):
            real = path  # reading it will tell what is wrong
        first = self._taken.get(real)
        if first is None:
            self._taken[real] = path
            self.found.named.append(Named(Path(path), relative))
        elif os.path.abspath(first) != os.path.abspath(path):
            self._skip(path, f"the same file as {first}")

    def _add_found(self, path: str, relative: Path) -> None:
        """Add a file of a search; a pipe or device would wait for ever, or never end."""
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except (OSError, ValueError):
            regular = True  # reading it will tell what is wrong
        if regular:
            self._add(path, relative)
        else:
            self._skip(path, "a pipe, socket or device; name it to have it read")

    def _skip(self, path: str, reason: str) -> None:
        if path not in self._left_out:  # two parts of a pattern may search one folder
            self._left_out.add(path)
            self.found.skipped.append(Skipped(Path(path), reason))

    def _in_folder(self, folder: str) -> list[str]:
        """Find recordings at any depth, by their suffixes."""
        readable, unreadable = readable_suffixes(), unreadable_suffixes()
        found = []
        for place in self._folders(folder):
            for entry in self._entries(place):
                suffix = os.path.splitext(entry.name)[1].lower()
                if suffix in unreadable and not _is_folder(entry):
                    self._skip(entry.path, "needs PyAV (pip install 'keyframe-asr[video]')")
                elif suffix in readable and not _is_folder(entry):
                    found.append(entry.path)
        return found

    def _matching(self, pattern: str) -> list[tuple[str, Path]]:
        """Find the files that a pattern matches; `**` matches folders at any depth."""
        parts = Path(pattern).parts
        fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
        folder = os.path.join(*parts[:fixed]) if fixed else os.curdir
        if not os.path.isdir(folder):
            return []
        matches = set(self._expanded(folder, parts[fixed:]))
        found = sorted(matches, key=lambda path: Path(path).parts)
        return [(path, Path(path).relative_to(folder)) for path in found]

    def _expanded(self, folder: str, parts: Sequence[str]) -> Iterator[str]:
        """Find the files below a folder that the parts of a pattern match.

        Unlike `glob.glob`, which walks a loop of links dozens of times, and is silent on folders
        that cannot be read.
        """
        part, rest = parts[0], parts[1:]
        if part == ANY_DEPTH:
            for place in self._folders(folder):
                yield from self._expanded(place, rest or ["*"])
            return
        if not glob.has_magic(part):
            path = os.path.join(folder, part)
            if rest and os.path.isdir(path):
                yield from self._expanded(path, rest)
            elif not rest and os.path.lexists(path) and not os.path.isdir(path):
                yield path
            return
        for entry in self._entries(folder, hidden=part.startswith(".")):
            if fnmatch.fnmatch(entry.name, part):
                if rest and _is_folder(entry):
                    yield from self._expanded(entry.path, rest)
                elif not rest and not _is_folder(entry):
                    yield entry.path

    def _folders(self, folder: str) -> Iterator[str]:
        """Yield a folder and those below it, each once, whatever links lead there."""
        entered: dict[str, str] = {}
        waiting = [folder]
        while waiting:
            place = waiting.pop()
            first = entered.setdefault(os.path.realpath(place), place)
            if first != place:
                self._skip(place, f"the same folder as {first}")
                continue
            yield place
            inner = [entry.path for entry in self._entries(place) if _is_folder(entry)]
            waiting += reversed(inner)

    def _entries(self, folder: str, hidden: bool = False) -> list[os.DirEntry[str]]:
        """Return the entries of a folder by name; hidden ones (as macOS's `._a.wav`) on request."""
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder not in self._unsearchable:
                self._unsearchable.add(folder)
                cause = f"{folder}: cannot be searched: {error.strerror}; check its permissions"
                self.found.failed.append(AudioError(cause))
            return []
        return [entry for entry in found if hidden or not entry.name.startswith(".")]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False
