"""Transcribe an archive: plan the jobs, recognise them on Ray, and write a row per recording."""

from __future__ import annotations

import json
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar

from keyframe_asr.audio.uris import is_uri, located
from keyframe_asr.cluster.cutting import durations, segments_found
from keyframe_asr.cluster.manifest import Recording, recordings_of
from keyframe_asr.cluster.pieces import (
    UNKNOWN_SECONDS,
    Job,
    Piece,
    is_long,
    job_seconds,
    jobs_of,
    pieces_of,
)
from keyframe_asr.cluster.places import Store
from keyframe_asr.cluster.ray_engine import Pool, connected, done_jobs, run_jobs, spread
from keyframe_asr.cluster.record import Archive, Record, begun, check_complete, read_once
from keyframe_asr.cluster.results import Assembly, Counted, alone_name, write_part
from keyframe_asr.cluster.transcribing import Transcriber, Work, recognised_alone
from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.backends import fitting_backend
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.inference.settings import fingerprint, model_settings, recognition_settings
from keyframe_asr.io.model_location import CONFIG_FILE, find_model
from keyframe_asr.io.threads import usable_cores

Shards = Literal["parquet", "jsonl"]

Item = TypeVar("Item")

HEADERS_AT_ONCE = 64
"""Recordings whose headers one task reads."""

JOBS_WRITTEN_AT_ONCE = 16
"""Threads that write the files of jobs, for object stores."""

POLL_SECONDS = 5.0
"""Interval at which finished jobs are counted."""


@dataclass(frozen=True)
class ArchiveOptions:
    """Where an archive is transcribed.

    Attributes:
        address: of a Ray cluster, such as "auto" or "head:6379"; None is this machine.
        actors: processes that recognise; None is one for each GPU, or else for each core.
        shards: what results are written as.
        overwrite: begin again, whatever made the results that are there.
        version: of this package, for the results.
    """

    address: str | None = None
    actors: int | None = None
    shards: Shards = "parquet"
    overwrite: bool = False
    version: str = ""


Progress = Callable[[str, int, int], None]
"""Called with what is done now, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Transcribed:
    """What became of an archive.

    Attributes:
        counted: recordings, errors, seconds of audio, and seconds that processes took.
        pool: of processes; None if all was there.
        elapsed: seconds of this run.
    """

    counted: Counted
    pool: Pool | None
    elapsed: float


def transcribe_archive(
    model: str,
    manifest: str,
    out: str,
    options: RecognitionOptions,
    compute: ComputeOptions,
    archive: ArchiveOptions,
    progress: Progress,
) -> Transcribed:
    """Recognise all recordings of a manifest, and write files of results into a folder.

    What an interrupted call with the same arguments has recognised is kept. A recording that cannot
    be read has a row with its error.

    Args:
        model: as `keyframe_asr.load` takes it, on every machine.
        manifest: as `recordings_of` takes it.
        out: folder or URI of the results, the same on every machine.
        options: how recordings are recognised.
        compute: back end, device, and threads of a process (default 1).
        archive: where.
        progress: told of it.

    Raises:
        KeyframeError: the manifest, the model or the cluster cannot be used; the folder cannot be
            written or was made by another call; or no job could be done.
    """
    began = time.monotonic()
    settings = recognition_settings(model, options, compute)
    store = Store(out)
    if store.is_inside(manifest):
        raise KeyframeError(f"{out}: is in the folder of the recordings; give another --out")
    known = read_once(manifest, checked(recordings_of(manifest)))
    wanted = Record(fingerprint(settings), settings, known.sha256, archive.shards)
    with store.kept():
        record = begun(store, wanted, archive.overwrite)
        if record.counted:
            check_complete(store, record)
            _remove_what_is_joined(store)
            return Transcribed(Counted(**record.counted), None, time.monotonic() - began)  # type: ignore
        with connected(archive.address, usable_cores()) as machines:
            pool, compute = pool_of(machines, compute, archive.actors, model)
            if not record.jobs:
                record = replace(
                    record, jobs=_planned(store, manifest, known, options, pool, progress)
                )
                record.write(store)
            sha256 = str(model_settings(model, compute)["model_sha256"])  # of this back end
            work = Work(out_everywhere(out), model, sha256, options, compute)
            _recognised(store, record, work, pool, progress)
            counted = _joined(store, record, work, archive.version, pool, progress)
        replace(record, counted=asdict(counted)).write(store)
        _remove_what_is_joined(store)
        elapsed = time.monotonic() - began
        return Transcribed(counted, pool, elapsed)


def checked(recordings: Iterator[Recording]) -> Iterator[Recording]:
    """Check once that each scheme of the recordings has its package.

    Raises:
        PackageError: one has not.
        KeyframeError: there is no such scheme.
    """
    known: set[str] = set()
    for one in recordings:
        if is_uri(one.uri):
            scheme = one.uri.partition("://")[0]
            if scheme not in known:
                located(one.uri)
                known.add(scheme)
        yield one


def out_everywhere(out: str) -> str:
    """Return a folder as processes find it that have another working directory."""
    return out if is_uri(out) else os.path.abspath(out)


def pool_of(
    machines: dict[str, float], compute: ComputeOptions, actors: int | None, model: str
) -> tuple[Pool, ComputeOptions]:
    """Return the processes for these machines, and what each computes with.

    Raises:
        ModelError: the model does not run on the back end.
    """
    gpus, cpus = int(machines.get("GPU", 0)), int(machines.get("CPU", 1))
    on_gpu = gpus > 0 and compute.device != "cpu" and compute.backend != "onnx"
    device = compute.device or ("cuda" if on_gpu else "cpu")
    backend = fitting_backend(find_model(model), compute.backend, device)
    on_gpu = on_gpu and backend == "torch" and device != "cpu"
    threads = compute.threads or 1
    most = gpus if on_gpu else max(1, cpus // threads)
    pool = Pool(actors or most, threads, int(on_gpu))  # more may be on their way
    return pool, replace(compute, device=device, threads=threads, workers=1)


def _planned(
    store: Store,
    manifest: str,
    known: Archive,
    options: RecognitionOptions,
    pool: Pool,
    progress: Progress,
) -> tuple[int, ...]:
    """Write the jobs of an archive; return the number of jobs of each file of results."""
    cores = pool.actors * pool.cores
    seconds = _durations(manifest, known, cores, progress)
    per_job = job_seconds(sum(seconds), pool.actors)
    listed = enumerate(recordings_of(manifest))
    long = [one for number, one in listed if is_long(one, seconds[number], per_job)]
    cut: dict[str, Any] = {}
    function = partial(segments_found, options=options)
    for one, found in spread(function, long, cores):
        cut[one.id] = found
        progress("long recordings cut", len(cut), len(long))

    def pieces() -> Iterator[tuple[list[Piece], float]]:
        for number, one in enumerate(recordings_of(manifest)):
            yield pieces_of(one, cut.get(one.id), per_job), seconds[number] or UNKNOWN_SECONDS

    store.remove(".keyframe/jobs")
    store.make(".keyframe/jobs")
    counts: list[int] = []

    def write(job: Job) -> None:
        store.write(f".keyframe/jobs/{job.name}.json", job.to_json())

    with ThreadPoolExecutor(JOBS_WRITTEN_AT_ONCE) as threads:
        for some in _groups(jobs_of(pieces(), per_job), 10 * JOBS_WRITTEN_AT_ONCE):
            for job in some:
                counts += [0] * (job.shard + 1 - len(counts))
                counts[job.shard] += 1
            list(threads.map(write, some))
    return tuple(counts)


def _durations(manifest: str, known: Archive, cores: int, progress: Progress) -> array[float]:
    """Return the seconds of each recording; those that the manifest lacks, from the headers."""
    seconds = array("d", bytes(8 * known.recordings))

    def listed() -> Iterator[tuple[int, Recording]]:
        for number, one in enumerate(recordings_of(manifest)):
            if one.seconds is None:
                yield number, one
            else:
                seconds[number] = one.seconds

    done = 0
    for some, found in spread(_headers, _groups(listed(), HEADERS_AT_ONCE), cores):
        for (number, _), one in zip(some, found or (), strict=False):
            seconds[number] = one
        done += len(some)
        progress("headers read", done, known.unknown)
    return seconds


def _headers(numbered: Sequence[tuple[int, Recording]]) -> list[float]:
    return durations([one for _, one in numbered])


def _recognised(store: Store, record: Record, work: Work, pool: Pool, progress: Progress) -> None:
    """Recognise the jobs that have no results.

    Raises:
        KeyframeError: Ray could not go on, or results could not be written.
    """
    names = [name for shard in range(len(record.jobs)) for name in record.job_names(shard)]
    done = {*done_jobs(store), *_done_alone(store)}
    todo = [name for name in names if name not in done]
    if not todo:
        return
    with _counting(store, len(names), progress):
        problem = run_jobs(store, todo, Transcriber, work, pool)
    done = {*done_jobs(store)}
    missing = [name for name in todo if name not in done]
    if missing and problem is not None:
        raise problem
    if missing:
        store.check_room()
    for name in missing:
        _recognise_alone(store, name, work, pool)


def _done_alone(store: Store) -> list[str]:
    return [name.removesuffix(".json") for name in store.names(".keyframe/alone")]


def _recognise_alone(store: Store, name: str, work: Work, pool: Pool) -> None:
    """Recognise a job that ended its process piece by piece; the one to blame gets an error."""
    content = store.read(f".keyframe/jobs/{name}.json")
    if content is None:
        raise KeyframeError(f"{store.place}: job {name} is missing; give --overwrite")
    pieces = Job.from_json(name, content).pieces
    results: dict[tuple[str, int], Any] = {}
    took = 0.0
    function = partial(recognised_alone, work)
    for piece, found in spread(function, pieces, pool.actors * pool.cores, pool):
        uri = piece.recording.uri
        result, seconds = found or ({"error": f"{uri}: ends the process that reads it"}, 0.0)
        results[piece.recording.id, piece.number] = result
        took += seconds
    ordered = [results[piece.recording.id, piece.number] for piece in pieces]
    store.make(".keyframe/alone")
    store.write(alone_name(name), json.dumps({"results": ordered, "took": took}).encode())


@contextmanager
def _counting(store: Store, jobs: int, progress: Progress) -> Iterator[None]:
    """Tell how many jobs are done while the block runs."""
    ended = threading.Event()

    def count() -> None:
        while not ended.wait(POLL_SECONDS):
            with suppress(KeyframeError):  # counted again later
                names = store.names(".keyframe/checkpoints")
                done = sum(not name.endswith(".pending.parquet") for name in names)
                progress("jobs done", min(done, jobs), jobs)

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _joined(
    store: Store, record: Record, work: Work, version: str, pool: Pool, progress: Progress
) -> Counted:
    """Write the files of results."""
    config = load_model_folder_config(find_model(work.model) / CONFIG_FILE)
    settings = record.settings
    made_by = {
        "model": str(settings["model"]),
        "model_sha256": work.sha256,
        "language": None if settings["language"] is None else str(settings["language"]),
        "decode": str(settings["decode"]),
        "options": json.dumps(settings["options"], default=str),
        "version": version,
    }
    assembly = Assembly(work.store, record.suffix, config.text_form, made_by)
    files = done_jobs(store)
    by_shard: list[dict[str, list[str]]] = [{} for _ in record.jobs]
    for name, found in files.items():
        by_shard[int(name.partition("-")[0])][name] = found
    shards = [
        (shard, record.job_names(shard), by_shard[shard]) for shard in range(len(record.jobs))
    ]
    counted = Counted()
    done = 0
    for _, part in spread(partial(_write_part, assembly), shards, pool.actors * pool.cores):
        if part is None:
            raise KeyframeError(
                f"{store.place}: the process that joined results ended; run the command again"
            )
        counted, done = counted + part, done + 1
        progress("files written", done, len(shards))
    return counted


def _write_part(assembly: Assembly, shard: tuple[int, list[str], dict[str, list[str]]]) -> Counted:
    return write_part(assembly, *shard)


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    waiting = iter(items)
    while some := list(islice(waiting, size)):
        yield some


def _remove_what_is_joined(store: Store) -> None:
    for folder in ("jobs", "done", "checkpoints", "alone"):
        store.remove(f".keyframe/{folder}")
