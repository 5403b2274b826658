"""What transcribing an archive will take: counts, a short measurement, and an estimate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from keyframe_asr.cluster.archive import ArchiveOptions, checked, pool_of
from keyframe_asr.cluster.cutting import durations
from keyframe_asr.cluster.manifest import Recording, recordings_of
from keyframe_asr.cluster.pieces import Piece
from keyframe_asr.cluster.ray_engine import connected, spread
from keyframe_asr.cluster.record import Archive, read_once
from keyframe_asr.cluster.transcribing import Transcriber, Work
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.inference.settings import model_settings
from keyframe_asr.io.threads import usable_cores

SAMPLED = 200
"""Recordings whose headers are read, evenly spread, if the manifest does not tell durations."""

PROBE_SECONDS, LONGEST_PROBED = 10.0, 120.0
"""The probe recognises sampled recordings for so long, and those of at most this duration; the
beginning of one if all are longer."""

PROBED_AT_ONCE = 16
"""Recordings that the probe recognises at once, for full batches."""


@dataclass(frozen=True)
class Plan:
    """What an archive will take.

    Attributes:
        archive: its recordings.
        seconds: of audio; an estimate if headers were sampled.
        sampled: number of headers that were read; 0 if the manifest tells all durations.
        unreadable: number of those that could not be read.
        probed: seconds of audio that were recognised to measure the speed.
        speed: seconds of audio per second of one process.
        processes: that recognise.
        cores: of each.
    """

    archive: Archive
    seconds: float
    sampled: int
    unreadable: int
    probed: float
    speed: float
    processes: int
    cores: int

    @property
    def core_hours(self) -> float:
        """Hours of one core."""
        return self.seconds / self.speed * self.cores / 3600

    @property
    def hours(self) -> float:
        """Hours of the whole cluster, without starting and the last jobs."""
        return self.core_hours / (self.processes * self.cores)


def plan_archive(
    model: str,
    manifest: str,
    options: RecognitionOptions,
    compute: ComputeOptions,
    archive: ArchiveOptions,
) -> Plan:
    """Count an archive, measure the model on some of it, and estimate. Nothing is written.

    Raises:
        KeyframeError: the manifest, the model or the cluster cannot be used, or no sampled
            recording can be recognised.
    """
    known = read_once(manifest, checked(recordings_of(manifest)))
    step = max(1, known.recordings // SAMPLED)
    sample = [one for n, one in enumerate(recordings_of(manifest)) if n % step == 0]
    unknown = [one for one in sample if one.seconds is None]
    found = dict(zip((one.id for one in unknown), durations(unknown), strict=True))
    readable = [seconds for seconds in found.values() if seconds]
    mean = sum(readable) / len(readable) if readable else 0.0
    lengths = [(one, one.seconds or found.get(one.id, 0.0)) for one in sample]
    with connected(archive.address, usable_cores()) as machines:
        pool, compute = pool_of(machines, compute, archive.actors, model)
        sha256 = str(model_settings(model, compute)["model_sha256"])
        work = Work(".", model, sha256, options, compute)
        ((_, measured),) = spread(partial(_probe, work), [_probed(lengths)], 1, pool)
    if measured is None or not measured[0]:
        raise KeyframeError(f"{manifest}: no sampled recording can be recognised; check some")
    probed, took = measured
    return Plan(
        known,
        known.seconds + known.unknown * mean,
        len(found),
        len(found) - len(readable),
        probed,
        probed / took,
        pool.actors,
        pool.cores,
    )


def _probed(lengths: Sequence[tuple[Recording, float]]) -> list[Piece]:
    """Return what the speed is measured on: nothing that would take too long."""
    fitting = [one for one, seconds in lengths if 0 < seconds <= LONGEST_PROBED]
    if fitting:
        return [Piece(one) for one in fitting]
    long = [one for one, seconds in lengths if seconds > 0 and one.member is None]
    one = (long or [lengths[0][0]])[0]
    if one.member is not None:  # of a tar archive: read as a whole
        return [Piece(one)]
    return [Piece(replace(one, start=one.start or 0.0, seconds=LONGEST_PROBED))]


def _probe(work: Work, pieces: Sequence[Piece]) -> tuple[float, float]:
    """Return the seconds of audio that were recognised, and the seconds that it took."""
    worker = Transcriber(work)
    worker.alone(pieces[0])  # warms up
    audio, began = 0.0, time.perf_counter()
    for first in range(0, len(pieces), PROBED_AT_ONCE):
        for result in worker.recognise(pieces[first : first + PROBED_AT_ONCE]):
            audio += result["transcript"]["duration"] if "transcript" in result else 0.0
        if time.perf_counter() - began > PROBE_SECONDS:
            break
    return audio, time.perf_counter() - began
