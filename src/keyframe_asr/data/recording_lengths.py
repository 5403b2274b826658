"""Lengths of many recordings, read from their headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keyframe_asr.audio.reading import AudioLength, read_length
from keyframe_asr.errors import AudioError

THREADS = 8
"""Threads that read headers; they mostly wait for the disk or release the GIL."""


def read_lengths(
    paths: Iterable[Path], progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[Path, AudioLength | AudioError]:
    """Read the length of each recording once, or the error; `progress` gets (done, total)."""
    wanted = list(dict.fromkeys(paths))
    found: dict[Path, AudioLength | AudioError] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for path, length in zip(wanted, pool.map(_length_or_error, wanted), strict=True):
            found[path] = length
            progress(len(found), len(wanted))
    return found


def _length_or_error(path: Path) -> AudioLength | AudioError:
    try:
        return read_length(path)
    except AudioError as error:
        return error
