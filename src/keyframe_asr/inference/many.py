"""Many recordings with one model, in this process or in several that share the machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.longform import RecordingProgress
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.inference.recognizer import load
from keyframe_asr.io.model_folder import find_model
from keyframe_asr.results import RecognitionResult

GROUP_FILES, GROUP_BYTES = 32, 16_000_000
"""A process is given so many recordings at once at most: enough for full batches."""

GROUPS_AHEAD = 2
"""Groups for each process that are handed out."""

LOOK_SECONDS = 0.2
"""How often the progress of the processes is looked at."""


def recognise_files(
    model: str,
    paths: Sequence[Path],
    options: RecognitionOptions,
    compute: ComputeOptions,
    progress: RecordingProgress | None = None,
) -> Iterator[RecognitionResult]:
    """One result per recording: in order from one process, as they come from several.

    Args:
        model: a folder, or the name of a shipped model.
        paths: the recordings.
        options: how they are recognised.
        compute: what computes, and in how many processes.
        progress: is told the place of a recording and the share of it that is done.

    Raises:
        ModelError: the model cannot be loaded, or cannot decode with these options.
        KeyframeError: the hot words cannot be read, or a process was ended from outside.
    """
    workers = min(compute.workers, len(paths))
    if workers <= 1:
        return _Ready(_Work(model, options, compute)).transcribe_each(paths, progress)
    find_model(model)  # a name that is wrong is said at once
    threads = compute.threads or max(1, _cores() // workers)
    work = _Work(model, options, ComputeOptions(compute.device, workers, threads))
    return _by_processes(paths, work, progress)


@dataclass(frozen=True)
class _Work:
    """What each process does."""

    model: str
    options: RecognitionOptions
    compute: ComputeOptions


def groups_by_size(paths: Sequence[Path], workers: int) -> list[list[int]]:
    """Places of neighbouring recordings, a few megabytes together; a long one is alone."""
    most = max(1, min(GROUP_FILES, len(paths) // (2 * workers)))
    groups: list[list[int]] = []
    room = 0
    for place, path in enumerate(paths):
        size = _bytes(path)
        if not groups or len(groups[-1]) == most or size > room:
            groups.append([])
            room = GROUP_BYTES
        groups[-1].append(place)
        room -= size
    return groups


def _by_processes(
    paths: Sequence[Path], work: _Work, progress: RecordingProgress | None
) -> Iterator[RecognitionResult]:
    workers = work.compute.workers
    context = multiprocessing.get_context("spawn")
    begun, heard = context.Value("i", 0), context.SimpleQueue()
    groups = deque(groups_by_size(paths, workers))
    pool = ProcessPoolExecutor(workers, context, _begin, (begun, heard, work))
    running: dict[Future[list[RecognitionResult]], list[int]] = {}
    try:
        while groups or running:
            while groups and len(running) < GROUPS_AHEAD * workers:
                group = groups.popleft()
                given = [(place, paths[place]) for place in group]
                with _interrupts_waiting():
                    running[pool.submit(_recognise_group, given)] = group
            done, _ = wait(running, LOOK_SECONDS, FIRST_COMPLETED)
            while not heard.empty():
                place, share = heard.get()
                if progress is not None:
                    progress(place, share)
            for future in done:
                for place, result in zip(running.pop(future), future.result(), strict=True):
                    yield replace(result, index=place)
    except BrokenProcessPool:
        raise KeyframeError(
            "a worker process was ended from outside, for instance because memory ran out; "
            "use fewer --workers, or --batch-seconds below 30"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_waiting() -> Iterator[None]:
    """Interrupts from the keyboard come after this; processes started in it hear none at first."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


_here: dict[str, Any] = {}
"""What a worker process is told once."""


def _begin(begun: Any, heard: Any, work: _Work) -> None:
    """Prepare a worker process, which an interrupt from the keyboard ends only while it works."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # blocked since `_interrupts_waiting`
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with begun.get_lock():
        number = begun.value
        begun.value += 1
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus > 1 and work.compute.device in (None, "cuda"):
        work = replace(work, compute=replace(work.compute, device=f"cuda:{number % gpus}"))
    _here.update(heard=heard, work=work)


def _recognise_group(given: Sequence[tuple[int, Path]]) -> list[RecognitionResult]:
    work: _Work = _here["work"]

    def progress(place: int, share: float) -> None:
        _here["heard"].put((given[place][0], share))

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # not in `_begin`, from which no error finds its way back
        ready: _Ready = _here.get("ready") or _Ready(work)
        _here["ready"] = ready
        return list(ready.transcribe_each([path for _, path in given], progress))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Ready:
    """The model of some work, loaded."""

    def __init__(self, work: _Work) -> None:
        if work.compute.threads is not None:
            torch.set_num_threads(work.compute.threads)
        self._recognizer = load(work.model, work.compute.device)
        self._options = self._recognizer.prepare(work.options)

    def transcribe_each(
        self, paths: Sequence[Path], progress: RecordingProgress | None
    ) -> Iterator[RecognitionResult]:
        """As `Recognizer.transcribe_each`."""
        return self._recognizer.transcribe_each(paths, self._options, progress)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
