"""Atomic writing: a file or folder is replaced as a whole or not at all.

Permissions are those of any new file, as the umask says. Libraries may write a file with others:
safetensors lets only its owner read it.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keyframe_asr.errors import KeyframeError


@contextmanager
def replacing(
    path: Path,
    advice: str = "use another path",
    error: type[KeyframeError] = KeyframeError,
    *,
    flush: bool = False,
) -> Iterator[Path]:
    """Yield a temporary path to write to; on success, it replaces `path`.

    Args:
        path: target file; its folder is created if needed. A device or a pipe is written directly.
        advice: what to do if the file cannot be written, for the error message.
        error: exception type to raise.
        flush: call fsync first, so that a power failure cannot leave an empty file.

    Raises:
        KeyframeError: the file cannot be written; the previous file at `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        permissions = temporary.stat().st_mode
        yield temporary
        temporary.chmod(permissions)
        if flush:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as failure:
        raise _cannot_write(path, failure, advice, error) from None
    finally:
        with suppress(OSError):  # the cause has already been raised above
            temporary.unlink()


def write_whole(
    path: Path,
    content: str | bytes,
    advice: str = "use another path",
    error: type[KeyframeError] = KeyframeError,
) -> None:
    """Write a file with `replacing`; text as UTF-8 with backslash escapes for lone surrogates."""
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    with replacing(path, advice, error) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing_folder(
    folder: Path,
    advice: str = "use another path",
    error: type[KeyframeError] = KeyframeError,
) -> Iterator[Path]:
    """Yield a new folder to write into; on success, it replaces `folder`.

    Raises:
        KeyframeError: the folder cannot be written; the previous `folder` is unchanged.
    """
    written, replaced = (
        folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("new", "old")
    )
    try:
        _remove_left(folder)
        written.mkdir(parents=True)
        yield written
        _open_to_others(written)
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(written, folder)
    except OSError as failure:
        raise _cannot_write(folder, failure, advice, error) from None
    finally:
        shutil.rmtree(written, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _remove_left(folder: Path) -> None:
    """Remove what processes that were killed left of the same folder."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.new"):
        number = left.name.split(".")[-2]
        if number == str(os.getpid()) or (number.isdigit() and not _runs(int(number))):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    if os.name != "posix":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def _open_to_others(folder: Path) -> None:
    """Give what is in a new folder the permissions that the umask gave to the folder."""
    permissions = folder.stat().st_mode & 0o777
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(permissions if path.is_dir() else permissions & 0o666)


def _cannot_write(
    path: Path, failure: OSError, advice: str, error: type[KeyframeError]
) -> KeyframeError:
    return error(f"{path}: cannot be written ({failure.strerror or failure}); {advice}")
