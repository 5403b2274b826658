"""Files that may be pipes, which can be read only once, and only by the process that has them."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path


def is_pipe(path: Path) -> bool:
    """Tell whether a path is a pipe; one that cannot be found is none."""
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def copied_pipe(path: Path, target: Path) -> Path:
    """Copy a pipe to the file `target`; returns the file to read, which is `path` if it is no pipe.

    A pipe that cannot be read is returned, too: whoever reads it will tell.
    """
    if not is_pipe(path):
        return path
    try:
        with path.open("rb") as pipe, target.open("wb") as file:
            shutil.copyfileobj(pipe, file)
    except OSError:
        return path
    return target
