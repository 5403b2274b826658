"""Bytes of a recording with random access: a file, a pipe, bytes in memory or a file object.

What cannot be read twice, such as a pipe, is copied to a temporary file first.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias, TypeGuard, cast

from keyframe_asr.audio.archives import ArchivedAudio
from keyframe_asr.errors import AudioError

AudioFile: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | ArchivedAudio
)
"""A path, an encoded recording in memory, a file object opened in binary mode, or a part of an
archive. The path `-` is standard input."""

Stretch: TypeAlias = bytes | tuple[int, int]
"""Bytes, or the range [start, stop) of a file."""

SPOOL_BYTES = 64_000_000
"""Larger pipes are kept on disk instead of in memory."""

STANDARD_INPUT = "-"


def is_audio_file(audio: object) -> TypeGuard[AudioFile]:
    """True for what `opened_bytes` can open, False for samples and anything else."""
    return isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview) or (
        hasattr(audio, "read") and not isinstance(audio, type)
    )


def name_of(audio: object) -> str:
    """Name of a recording for messages."""
    if isinstance(audio, str | os.PathLike):
        return "standard input" if str(audio) == STANDARD_INPUT else os.fspath(audio)
    name = getattr(audio, "name", None)
    return name if isinstance(name, str) else "the recording"


class ByteSource:
    """Random access to the bytes of a recording, from the current position of `file` on."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - self._start

    def at(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset` on; fewer at the end."""
        self._file.seek(self._start + offset)
        return self._file.read(max(0, count))

    def search(self, patterns: Sequence[re.Pattern[bytes]], start: int) -> int | None:
        """Return the offset of the first match of any pattern from `start` on.

        A pattern begins with four literal bytes and matches at most 64.
        """
        step = 1 << 20
        while start < self.size:
            block = self.at(start, step + 64)
            found = []
            for pattern in patterns:
                # much faster than the search of the pattern
                place = block.find(pattern.pattern[:4])
                while place >= 0 and not pattern.match(block, place):
                    place = block.find(pattern.pattern[:4], place + 1)
                found += [place] * (place >= 0)
            if found:
                return start + min(found)
            start += step
        return None


class Stretches(io.RawIOBase):
    """A file made of stretches of a `ByteSource` and of other bytes, such as a corrected header."""

    def __init__(self, source: ByteSource, stretches: Sequence[Stretch]) -> None:
        self._source = source
        self._starts: list[tuple[int, Stretch]] = []
        self._size = self._position = 0
        self.error: OSError | None = None
        for stretch in stretches:
            self._starts.append((self._size, stretch))
            self._size += _length(stretch)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; returns it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as there are bytes; returns their number.

        An error of the system is kept in `error`: the caller is C code and cannot raise it.
        """
        done, wanted = 0, len(buffer)
        try:
            for start, stretch in self._starts:
                inside = self._position - start
                while done < wanted and 0 <= inside < _length(stretch):
                    content = self._content(stretch, inside, wanted - done)
                    if not content:
                        return done
                    buffer[done : done + len(content)] = content
                    done += len(content)
                    inside += len(content)
                    self._position += len(content)
        except OSError as error:
            self.error = error
        return done

    def _content(self, stretch: Stretch, inside: int, count: int) -> bytes:
        if isinstance(stretch, bytes):
            return stretch[inside : inside + count]
        first, stop = stretch
        return self._source.at(first + inside, min(count, stop - first - inside))


def _length(stretch: Stretch) -> int:
    return len(stretch) if isinstance(stretch, bytes) else stretch[1] - stretch[0]


@contextmanager
def opened_bytes(audio: AudioFile) -> Iterator[ByteSource]:
    """Open a recording for random access.

    Raises:
        AudioError: it is missing, empty, a folder or device, cannot be read, or is text.
    """
    name = name_of(audio)
    with ExitStack() as stack:
        try:
            source = ByteSource(stack.enter_context(_opened(audio, name)))
        except FileNotFoundError:
            raise AudioError(f"{name}: no such file; check the path") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise AudioError(
                f"{name}: cannot be read: {reason}; check the path and its permissions"
            ) from None
        if not source.size:
            raise AudioError(f"{name}: empty file (0 bytes); record or copy it again")
        yield source


@contextmanager
def _opened(audio: AudioFile, name: str) -> Iterator[BinaryIO]:
    if isinstance(audio, bytes | bytearray | memoryview):
        yield io.BytesIO(audio)
    elif isinstance(audio, ArchivedAudio):
        yield io.BytesIO(audio.read())
    elif not isinstance(audio, str | os.PathLike):
        given: object = audio
        if isinstance(given, io.TextIOBase):
            raise AudioError(f"{name}: a file object opened as text; open it in binary mode")
        with _seekable(audio) as file:
            yield file
    elif str(audio) == STANDARD_INPUT:
        with _seekable(sys.stdin.buffer) as file:
            yield file
    else:
        _check_kind(Path(audio), name)
        with open(audio, "rb") as opened, _seekable(opened) as file:
            yield file


def _check_kind(path: Path, name: str) -> None:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise AudioError(f"{name}: a folder without recordings; give audio files")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise AudioError(f"{name}: a device, not a recording; give a file or a pipe")


@contextmanager
def _seekable(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the file itself, or a temporary copy of one that can be read only once."""
    if getattr(file, "seekable", bool)():
        yield file
        return
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        shutil.copyfileobj(file, spool, 1 << 20)
        spool.seek(0)
        yield cast(BinaryIO, spool)
