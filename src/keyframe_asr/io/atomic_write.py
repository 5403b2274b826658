"""Files and folders that are there whole or not at all."""

from __future__ import annotations

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
    """A temporary path to write a file to, which takes the place of `path` once that went well.

    Args:
        path: the file; its folder is made if need be.
        advice: what to do if it cannot be written.
        error: what is raised then.
        flush: wait until the content is on the disk, so that a power cut leaves no empty file.

    Raises:
        KeyframeError: it cannot be written; what was at `path` before is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if flush:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as failure:
        raise _cannot_write(path, failure, advice, error) from None
    finally:
        with suppress(OSError):  # a folder that is a file has been told already
            temporary.unlink()


def write_whole(
    path: Path,
    content: str | bytes,
    advice: str = "use another path",
    error: type[KeyframeError] = KeyframeError,
) -> None:
    """Write a file by way of `replacing`; text as UTF-8, what has no place in it as escapes."""
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
    """A new folder to write into, which takes the place of `folder` once that went well.

    Raises:
        KeyframeError: it cannot be written; what was at `folder` before is still there.
    """
    written, replaced = (
        folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("new", "old")
    )
    try:
        shutil.rmtree(written, ignore_errors=True)
        written.mkdir(parents=True)
        yield written
        if folder.exists():
            os.replace(folder, replaced)
        os.replace(written, folder)
    except OSError as failure:
        raise _cannot_write(folder, failure, advice, error) from None
    finally:
        shutil.rmtree(written, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _cannot_write(
    path: Path, failure: OSError, advice: str, error: type[KeyframeError]
) -> KeyframeError:
    return error(f"{path}: cannot be written ({failure.strerror or failure}); {advice}")
