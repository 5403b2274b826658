"""Sizes of files, to divide work among processes and to show progress."""

from __future__ import annotations

from pathlib import Path


def file_size(path: Path) -> int:
    """Return the size in bytes, or 0 if it cannot be found; reading the file tells the reason."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
