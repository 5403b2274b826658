"""Lengths of many recordings, read from their headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from keyframe_asr.audio.archives import ArchivedAudio
from keyframe_asr.audio.reading import AudioLength, read_length
from keyframe_asr.data.parallel import each
from keyframe_asr.errors import AudioError

THREADS = 8
"""Threads that read headers; they mostly wait for the disk or release the GIL."""

Audio = TypeVar("Audio", Path, Path | ArchivedAudio)


def read_lengths(
    recordings: Iterable[Audio],
    progress: Callable[[int, int], None] = lambda done, total: None,
    jobs: int = 1,
) -> dict[Audio, AudioLength | AudioError]:
    """Read the length of each recording once, or the error, in `jobs` processes.

    `progress` gets (done, total).
    """
    wanted = list(dict.fromkeys(recordings))
    found: dict[Audio, AudioLength | AudioError] = {}
    for audio, length in zip(wanted, _lengths(wanted, jobs), strict=True):
        found[audio] = length
        progress(len(found), len(wanted))
    return found


def _lengths(wanted: list[Audio], jobs: int) -> Iterator[AudioLength | AudioError]:
    if jobs > 1:
        yield from each(_length_or_error, wanted, jobs)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        yield from pool.map(_length_or_error, wanted)


def _length_or_error(audio: Path | ArchivedAudio) -> AudioLength | AudioError:
    try:
        return read_length(audio)
    except AudioError as error:
        return error
