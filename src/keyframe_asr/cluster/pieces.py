"""What is recognised at once: whole recordings, and pieces of long ones, grouped into jobs.

A long recording is read once to find its segments, which are those of `inference.longform`, so that
its text does not depend on how many pieces it is recognised in. A job holds some minutes of audio:
what one process recognises before its results are written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Self

from keyframe_asr.audio.uris import is_uri
from keyframe_asr.cluster.manifest import Recording
from keyframe_asr.timing import SAMPLE_RATE

LONGEST_JOB, SHORTEST_JOB = 600.0, 20.0
"""Limits of the seconds of audio in a job."""

JOBS_PER_CORE = 8
"""Number of jobs for each core, if there is little audio: so the last ones end about together."""

MOST_PIECES = 500
"""Most recordings and pieces of a job."""

SHARD_SECONDS, SHARD_RECORDINGS = 36_000.0, 20_000
"""Most seconds of audio, and most recordings, in one file of results."""

UNKNOWN_SECONDS = 10.0
"""Duration of a recording whose header does not tell it, for the size of jobs."""


@dataclass(frozen=True)
class Piece:
    """A recording, or some segments of a long one.

    Attributes:
        recording: what it is of.
        number: its position among the pieces of the recording.
        pieces: number of those.
        samples: of the recording at 16 kHz; 0 if it is recognised whole.
        segments: start, end, start of the audio, whether it continues, and size of the audio, of
            each segment, in samples; empty if it is recognised whole.
    """

    recording: Recording
    number: int = 0
    pieces: int = 1
    samples: int = 0
    segments: tuple[tuple[int, int, int, bool, int], ...] = ()

    @property
    def is_whole(self) -> bool:
        """True if the recording has not been cut."""
        return self.samples == 0

    def to_dict(self) -> dict[str, Any]:
        """Return values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Self:
        """Return the piece of such values."""
        recording = Recording(**given.pop("recording"))
        segments = tuple((a, b, c, d, e) for a, b, c, d, e in given.pop("segments"))
        return cls(recording, segments=segments, **given)


@dataclass(frozen=True)
class Job:
    """Pieces that one process recognises, of recordings in one file of results."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def shard(self) -> int:
        """Number of the file of results."""
        return int(self.name.partition("-")[0])

    def to_json(self) -> bytes:
        """Return the pieces as a file."""
        return json.dumps([piece.to_dict() for piece in self.pieces]).encode()

    @classmethod
    def from_json(cls, name: str, content: bytes) -> Self:
        """Return the job of a file."""
        return cls(name, tuple(Piece.from_dict(one) for one in json.loads(content)))


def job_seconds(seconds: float, cores: int) -> float:
    """Return the seconds of audio per job for an archive of so many seconds."""
    fair = seconds / (JOBS_PER_CORE * max(1, cores))
    return min(max(fair, SHORTEST_JOB), LONGEST_JOB)


def is_long(recording: Recording, seconds: float, per_job: float) -> bool:
    """True if a recording is to be cut; those in a tar archive are read in turn, and are not."""
    return seconds > 2 * per_job and recording.member is None


def pieces_of(recording: Recording, found: Any, per_job: float) -> list[Piece]:
    """Return the pieces of a recording.

    Args:
        recording: that it is.
        found: its length and segments, as `cutting.segments_found` returns them; None if it is not
            cut.
        per_job: seconds of audio per piece.
    """
    if not found or not found["segments"]:
        return [Piece(recording)]
    groups: list[list[tuple[int, int, int, bool, int]]] = [[]]
    seconds = 0.0
    for segment in found["segments"]:
        if seconds >= per_job:
            groups.append([])
            seconds = 0.0
        groups[-1].append(tuple(segment))
        seconds += segment[4] / SAMPLE_RATE
    return [
        Piece(recording, number, len(groups), found["samples"], tuple(group))
        for number, group in enumerate(groups)
    ]


def jobs_of(pieces: Iterable[tuple[list[Piece], float]], per_job: float) -> Iterator[Job]:
    """Group pieces into jobs, in order; the pieces of one recording are in one file of results.

    Args:
        pieces: those of each recording, and its duration in seconds.
        per_job: seconds of audio per job.
    """
    shard, recordings, seconds = 0, 0, 0.0
    waiting, waiting_seconds, number = list[Piece](), 0.0, 0
    for of_recording, duration in pieces:
        whole = recordings and seconds + duration > SHARD_SECONDS
        if whole or recordings >= SHARD_RECORDINGS:
            if waiting:
                yield Job(f"{shard:05}-{number:05}", tuple(waiting))
            shard, recordings, seconds = shard + 1, 0, 0.0
            waiting, waiting_seconds, number = [], 0.0, 0
        recordings, seconds = recordings + 1, seconds + duration
        each = duration / len(of_recording)
        for piece in of_recording:
            full = waiting_seconds + each > per_job or len(waiting) >= MOST_PIECES
            if waiting and full and not _in_one_tar(waiting[-1], piece):
                yield Job(f"{shard:05}-{number:05}", tuple(waiting))
                waiting, waiting_seconds, number = [], 0.0, number + 1
            waiting.append(piece)
            waiting_seconds += each
    if waiting:
        yield Job(f"{shard:05}-{number:05}", tuple(waiting))


def _in_one_tar(one: Piece, other: Piece) -> bool:
    """True for two recordings of a remote archive, which is fetched from its start."""
    archived = one.recording.member is not None and is_uri(one.recording.uri)
    return archived and one.recording.uri == other.recording.uri
