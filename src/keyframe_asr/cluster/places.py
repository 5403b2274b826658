"""Files wherever fsspec reaches: recordings that are read, and the folder of the results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from fsspec.implementations.local import LocalFileSystem

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from keyframe_asr.audio.byte_source import AudioFile
from keyframe_asr.audio.uris import is_uri, located, one_line
from keyframe_asr.errors import AudioError, KeyframeError
from keyframe_asr.io.atomic_write import write_whole

FETCHED_WHOLE = 64_000_000
"""Remote recordings of at most so many bytes are fetched at once, others as they are decoded."""

PAUSES = (1.0, 3.0, 9.0)
"""Seconds before a remote recording that could not be read is tried again."""

ROOM = 1 << 16
"""Bytes that are written to see whether a folder takes more."""

BUSY = (408, 425, 429)
"""Statuses of HTTP below 500 that may be others the next time."""

PERMANENT = (
    KeyframeError,
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""Errors that stay: what is asked for, or how, is wrong."""

Result = TypeVar("Result")


def joined(folder: str, name: str) -> str:
    """Return a path or URI that is relative to a folder; others stay as they are."""
    if is_uri(name) or os.path.isabs(name):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_uri(folder) else os.path.join(folder, name)


@contextmanager
def opened(place: str, pauses: Sequence[float] = PAUSES) -> Iterator[AudioFile]:
    """Yield what the readers of audio take: a path, or the bytes or file of a URI.

    Args:
        place: path or URI.
        pauses: as `patiently` takes them.

    Raises:
        AudioError: it cannot be opened.
    """
    if not is_uri(place):
        yield place
        return
    try:
        filesystem, path = located(place)
        if isinstance(filesystem, LocalFileSystem):
            file: Any = path
        else:
            file = patiently(lambda: _fetched(filesystem, path, place), pauses)
    except KeyframeError as error:
        raise AudioError(str(error)) from None
    except Exception as error:  # those of each service are its own
        cause = error.__cause__ or error
        missing = getattr(cause, "status", 404) in (404, 410) and not is_temporary(error)
        if isinstance(error, FileNotFoundError) and missing:
            raise AudioError(f"{place}: no such file; check the address") from None
        raise AudioError(f"{place}: cannot be read ({one_line(cause)})") from None
    if isinstance(file, str | bytes):
        yield file
        return
    with file:
        yield file


def _fetched(filesystem: Any, path: str, place: str) -> Any:
    """Return the bytes of a small file; a large one, open, with its address as name."""
    file = filesystem.open(path, "rb", block_size=1 << 20)
    size = getattr(file, "size", None)
    if size is None or size > FETCHED_WHOLE:
        with suppress(AttributeError):
            file.name = place
        return file
    with file:
        return bytes(file.read())


def patiently(function: Callable[[], Result], pauses: Sequence[float] = PAUSES) -> Result:
    """Return what a function does; called again after each pause while its errors may pass.

    Args:
        function: reads from a service.
        pauses: seconds between calls.
    """
    for pause in pauses:
        try:
            return function()
        except Exception as error:
            if not is_temporary(error):
                raise
        time.sleep(pause)
    return function()


def is_temporary(error: BaseException) -> bool:
    """True for what a service may not say the next time, such as HTTP 503 or a time-out."""
    cause = error.__cause__ or error
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return status in BUSY or status >= 500
    if isinstance(error, FileNotFoundError):  # fsspec calls all errors of HTTP so
        if isinstance(cause, TimeoutError | ConnectionError):
            return True
        return type(cause).__module__.startswith("aiohttp.") and not isinstance(cause, ValueError)
    return not isinstance(error, PERMANENT)


class Store:
    """A folder on any filesystem, in which files are replaced as a whole.

    Attributes:
        place: as given.
        filesystem: of fsspec.
        root: the folder in it.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.filesystem, self.root = located(place)

    def path(self, name: str) -> str:
        """Return the path of a file in the filesystem."""
        return f"{self.root.rstrip('/')}/{name}"

    def make(self, folder: str) -> None:
        """Make a folder and those above it. Raises `KeyframeError` if that is not possible."""
        with self._errors(folder, "made"):
            self.filesystem.makedirs(self.path(folder), exist_ok=True)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if there is none.

        Raises:
            KeyframeError: it cannot be read.
        """
        with self._errors(name, "read"):
            try:
                return bytes(self.filesystem.cat_file(self.path(name)))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, content: bytes, advice: str = "give another --out") -> None:
        """Write a file. Raises `KeyframeError`, with this advice, if that is not possible."""
        if isinstance(self.filesystem, LocalFileSystem):
            write_whole(Path(self.path(name)), content, advice)
            return
        with self._errors(name, "written", advice):  # object stores replace an object as a whole
            self.filesystem.pipe_file(self.path(name), content)

    def check_room(self) -> None:
        """Write a file and remove it. Raises `KeyframeError` if that is not possible."""
        name = ".keyframe/room"
        self.write(name, bytes(ROOM), "free space there, and run the same command again to go on")
        self.remove(name)

    def is_inside(self, place: str) -> bool:
        """True if this folder is that of a path or URI, or somewhere below it."""
        filesystem, path = located(place)
        root = self.root
        if type(filesystem) is not type(self.filesystem) or not filesystem.isdir(path):
            return False
        if isinstance(filesystem, LocalFileSystem):
            path, root = os.path.realpath(path), os.path.realpath(root)
        return f"{root.rstrip('/')}/".startswith(f"{path.rstrip('/')}/")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep a folder on a disk from other commands; one in an object store cannot be.

        Raises:
            KeyframeError: another command writes there, or the folder cannot be made.
        """
        if fcntl is None or not isinstance(self.filesystem, LocalFileSystem):
            yield
            return
        self.make("")
        folder = os.open(self.root, os.O_RDONLY)
        try:
            with suppress(OSError):  # network disks may have no locks
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise KeyframeError(
                        f"{self.place}: another command is writing there; wait for it, or stop it"
                    ) from None
            yield
        finally:
            os.close(folder)

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""
        self.filesystem.invalidate_cache()
        path = self.path(folder).rstrip("/")
        with self._errors(folder, "listed"):
            try:
                found = self.filesystem.ls(path, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(one.rstrip("/").rpartition("/")[2] for one in found if one != path)

    def below(self, folder: str) -> list[str]:
        """Return the paths of all files below a folder, relative to it."""
        self.filesystem.invalidate_cache()
        top = self.path(folder).rstrip("/")
        return sorted(one[len(top) + 1 :] for one in self.filesystem.find(top))

    def remove(self, name: str) -> None:
        """Remove a file or folder, if it is there."""
        with self._errors(name, "removed"), suppress(FileNotFoundError):
            self.filesystem.rm(self.path(name), recursive=True)

    @contextmanager
    def _errors(
        self, name: str, done: str, advice: str = "check it, or give another --out"
    ) -> Iterator[None]:
        try:
            yield
        except KeyframeError:
            raise
        except Exception as error:  # those of each service are its own
            place = joined(self.place, name) if name else self.place
            raise KeyframeError(
                f"{place}: cannot be {done} ({one_line(error)}); {advice}"
            ) from None
