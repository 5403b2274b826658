"""Lengths of many recordings at once, and what is wrong with those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keyframe_asr.audio.reading import AudioLength, read_length
from keyframe_asr.errors import AudioError

THREADS = 8
"""Most of the time is spent waiting for the disk, or in libsndfile, which lets others run."""


def read_lengths(
    paths: Sequence[Path], progress: Callable[[int, int], None]
) -> dict[Path, AudioLength | AudioError]:
    """The length of each recording, or why there is none; `progress` is told (done, total)."""
    found = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for path, length in zip(paths, pool.map(_length_or_error, paths), strict=True):
            found[path] = length
            progress(len(found), len(paths))
    return found


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last change of a file, which tell whether it is still the same."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


def _length_or_error(path: Path) -> AudioLength | AudioError:
    try:
        return read_length(path)
    except AudioError as error:
        return error
