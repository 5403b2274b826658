"""Ray: the machines, a pool of processes that each have a model, and results that survive faults.

Ray Data writes the results of a job with its checkpoint in two phases: a pending checkpoint, the
results, and the checkpoint under its last name. Results without one do not count, and a job with
one is not recognised again. Ray's own filter of rows that are done is not used: it holds a core
for itself, and which jobs are done follows from the names of files.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from keyframe_asr.errors import KeyframeError

if TYPE_CHECKING:
    from keyframe_asr.cluster.places import Store

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
}
"""Settings of Ray: it reports nothing to its makers, and prints nothing of its own."""

os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})

import pyarrow  # noqa: E402
import ray  # noqa: E402
import ray.data  # noqa: E402
from pyarrow.fs import FSSpecHandler, PyFileSystem  # noqa: E402
from ray.data.block import BlockMetadata  # noqa: E402
from ray.data.checkpoint import CheckpointConfig  # noqa: E402
from ray.data.checkpoint.checkpoint_filter import CheckpointManager  # noqa: E402
from ray.data.datasource import Datasource, ReadTask  # noqa: E402
from ray.util.annotations import RayDeprecationWarning  # noqa: E402

KNOCK_SECONDS = 10.0
"""Longest wait for a cluster to take a connection."""

RETRIES = 2
"""How often a job is tried again whose process or machine has ended."""

ACTORS_PER_WRITER = 16
"""Processes that recognise for each task that writes results at a time. It needs no core of its
own, but a process, whose start takes seconds of one."""

TASKS_PER_CORE = 4
"""Tasks submitted at a time, besides those of the pool."""


Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pool:
    """Processes that recognise.

    Attributes:
        actors: their number.
        cores: of each.
        gpus: of each: 0 or 1.
    """

    actors: int
    cores: int = 1
    gpus: int = 0


@contextmanager
def connected(address: str | None, cores: int) -> Iterator[dict[str, float]]:
    """Use the cluster at an address, or this machine; yield the resources of all its machines.

    Args:
        address: None is that of the variable `RAY_ADDRESS`, as on KubeRay, else this machine.
        cores: of this machine.

    Raises:
        KeyframeError: there is no cluster at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own = {"num_cpus": cores, "include_dashboard": False} if address == "local" else {}
    warnings.filterwarnings("ignore", module=r"ray\.")
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        _knock(address)
        with _silent():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise KeyframeError(
            f"{address}: no Ray cluster answers there ({reason}); give another --address, or none "
            "for this machine"
        ) from None
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        yield dict(ray.cluster_resources())
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise `OSError` if nothing listens at an address: Ray would try for minutes."""
    host, separator, port = address.rpartition("://")[2].rpartition(":")
    if separator and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what Ray's C++ prints on standard error when it starts, such as its level of logging."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def spread(
    function: Callable[[Argument], Result],
    arguments: Iterable[Argument],
    cores: int,
    each: Pool | None = None,
) -> Iterator[tuple[Argument, Result | None]]:
    """Yield each argument and the result of a function for it, as they come.

    `cores` are those of all machines; a call takes one, or what a process of the pool `each` takes.

    The result is None where the process has ended, time after time.
    """
    each = each or Pool(1)
    remote = ray.remote(num_cpus=each.cores, num_gpus=each.gpus, max_retries=RETRIES)(_called)
    running: dict[Any, Argument] = {}
    waiting = iter(arguments)
    while True:
        for argument in waiting:
            running[remote.remote(function, argument)] = argument
            if len(running) >= TASKS_PER_CORE * cores:
                break
        if not running:
            return
        done, _ = ray.wait(list(running), num_returns=1)
        for reference in done:
            argument = running.pop(reference)
            try:
                result = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise cause_of(error) from None
            except ray.exceptions.RayError:
                result = None
            yield argument, result


def _called(function: Callable[[Any], Any], argument: Any) -> Any:
    return function(argument)


def run_jobs(
    store: Store, names: Sequence[str], worker: type, work: object, pool: Pool
) -> KeyframeError | None:
    """Recognise jobs in a pool of processes, and write the results with their checkpoints.

    Args:
        store: folder of the results.
        names: the jobs.
        worker: class that is created once in each process, and called with tables of jobs.
        work: its argument.
        pool: the processes.

    Returns:
        What ended it early, if anything did: some jobs may have no results then.
    """
    filesystem = PyFileSystem(FSSpecHandler(store.filesystem))
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # jobs without results are recognised piece by piece
    context.checkpoint_config = CheckpointConfig(
        id_column="job",
        checkpoint_path=store.path(".keyframe/checkpoints"),
        delete_checkpoint_on_success=False,
        override_filesystem=filesystem,
        checkpoint_manager_cls=_KnownAlready,
    )
    jobs = ray.data.read_datasource(
        _Jobs(names), num_cpus=0, concurrency=1, override_num_blocks=len(names)
    )
    results = jobs.map_batches(
        worker,
        fn_constructor_args=(work,),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(pool.actors, len(names))),
        num_cpus=pool.cores,
        num_gpus=pool.gpus or None,
        max_restarts=-1,
        max_task_retries=RETRIES,
    )
    try:
        results.write_parquet(
            store.path(".keyframe/done"),
            filesystem=filesystem,
            partition_cols=["job"],
            concurrency=1 + pool.actors // ACTORS_PER_WRITER,
            ray_remote_args={"num_cpus": 0},
        )
    except Exception as error:  # Ray has many
        return cause_of(error)
    finally:
        context.checkpoint_config = None
    return None


def done_jobs(store: Store) -> dict[str, list[str]]:
    """Return the files with the results of each job that has a checkpoint, relative to `done`."""
    complete = {
        name.removesuffix(".parquet")
        for name in store.names(".keyframe/checkpoints")
        if not name.endswith(".pending.parquet")
    }
    found: dict[str, list[str]] = {}
    for file in store.below(".keyframe/done"):
        folder, _, name = file.partition("/")
        if name.rpartition("-")[0] in complete:
            found.setdefault(folder.removeprefix("job="), []).append(file)
    return found


def cause_of(error: BaseException) -> KeyframeError:
    """Return what Ray reports as an error in one line."""
    seen: BaseException | None = error
    while seen is not None:
        inner = getattr(seen, "cause", None) or seen.__cause__
        # what Ray raises is also of the type of its cause, but has a traceback as text
        if isinstance(seen, KeyframeError) and not isinstance(inner, KeyframeError):
            return KeyframeError(str(seen))
        seen = inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((one for one in reversed(lines) if one.startswith("keyframe_asr.")), None)
    if told is not None:  # of a process that could not start
        return KeyframeError(told.partition(": ")[2])
    return KeyframeError(f"Ray: {(lines or [type(error).__name__])[-1][:300]}")


class _KnownAlready(CheckpointManager):  # type: ignore[misc]
    """Filters nothing: the jobs that are done are not among those given."""

    def load_checkpoint(self, *_: Any, **__: Any) -> tuple[None, int]:
        return None, 0


class _Jobs(Datasource):  # type: ignore[misc]
    """Names of jobs, each in a block of its own."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self._names = list(names)

    def get_name(self) -> str:
        return "Jobs"

    def estimate_inmemory_data_size(self) -> int:
        return 100 * len(self._names)

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        return [
            ReadTask(
                _Named(name),
                BlockMetadata(num_rows=1, size_bytes=100, input_files=None, exec_stats=None),
            )
            for name in self._names
        ]


class _Named:
    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self) -> list[pyarrow.Table]:
        return [pyarrow.table({"job": [self._name]})]
