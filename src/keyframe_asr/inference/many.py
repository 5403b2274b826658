"""Recognise many files with one model, in one or several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keyframe_asr.errors import KeyframeError, NarrowBandWarning
from keyframe_asr.inference.backends import fitting_backend
from keyframe_asr.inference.longform import RecordingProgress, recognise_each
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.inference.recognizer import load_for
from keyframe_asr.io.file_size import file_size
from keyframe_asr.io.model_location import find_model
from keyframe_asr.io.pipes import copied_pipe
from keyframe_asr.io.threads import openmp_threads
from keyframe_asr.io.worker_processes import begin_work, interrupts_blocked
from keyframe_asr.results import RecognitionResult

GROUP_FILES, GROUP_BYTES = 32, 16_000_000
"""Largest group of recordings that a process receives at once: enough for full batches."""

GROUPS_AHEAD = 2
"""Number of groups submitted per process."""

POLL_SECONDS = 0.2
"""Interval at which the progress of the processes is polled."""


def recognise_files(
    model: str,
    paths: Sequence[Path],
    options: RecognitionOptions,
    compute: ComputeOptions,
    progress: RecordingProgress | None = None,
) -> Iterator[RecognitionResult]:
    """Yield one result per recording: in order with one process, in any order with several.

    Args:
        model: a folder, or the name of a shipped model.
        paths: the recordings.
        options: how they are recognised.
        compute: back end, device, processes and threads.
        progress: called with the index of a recording and the fraction of it that is done.

    Raises:
        ModelError: the model cannot be loaded, or cannot compute or decode with these options.
        KeyframeError: the hot words cannot be read, or a process was killed.
    """
    workers = min(compute.workers, len(paths))
    if workers <= 1:
        return _Worker(_Work(model, options, compute)).transcribe_each(paths, progress)
    # report a wrong name or back end before starting processes
    backend = fitting_backend(find_model(model), compute.backend, compute.device)
    threads = compute.threads or max(1, openmp_threads(os.environ) // workers)
    compute = ComputeOptions(compute.device, workers, threads, backend)
    return _with_pipes_copied(paths, _Work(model, options, compute), progress)


@dataclass(frozen=True)
class _Work:
    """What each process needs to start."""

    model: str
    options: RecognitionOptions
    compute: ComputeOptions


def groups_by_size(paths: Sequence[Path], workers: int) -> list[list[int]]:
    """Group the indices of neighbouring files, a few megabytes per group; a large file is alone."""
    most = max(1, min(GROUP_FILES, len(paths) // (2 * workers)))
    groups: list[list[int]] = []
    room = 0
    for index, path in enumerate(paths):
        size = file_size(path)
        if not groups or len(groups[-1]) == most or size > room:
            groups.append([])
            room = GROUP_BYTES
        groups[-1].append(index)
        room -= size
    return groups


def _with_pipes_copied(
    paths: Sequence[Path], work: _Work, progress: RecordingProgress | None
) -> Iterator[RecognitionResult]:
    """Recognise by processes, which cannot open every pipe that this one can."""
    with tempfile.TemporaryDirectory() as folder:
        files = [copied_pipe(path, Path(folder, str(index))) for index, path in enumerate(paths)]
        for result in _by_processes(files, work, progress):
            yield replace(result, path=paths[result.index])


def _by_processes(
    paths: Sequence[Path], work: _Work, progress: RecordingProgress | None
) -> Iterator[RecognitionResult]:
    workers = work.compute.workers
    context = multiprocessing.get_context("spawn")
    started, messages = context.Value("i", 0), context.SimpleQueue()
    groups = deque(groups_by_size(paths, workers))
    pool = ProcessPoolExecutor(workers, context, _start_worker, (started, messages, work))
    running: dict[Future[list[RecognitionResult]], list[int]] = {}
    warned: set[type[Warning]] = set()
    try:
        while groups or running:
            while groups and len(running) < GROUPS_AHEAD * workers:
                group = groups.popleft()
                given = [(index, paths[index]) for index in group]
                with interrupts_blocked():
                    running[pool.submit(_recognise_group, given)] = group
            done, _ = wait(running, POLL_SECONDS, FIRST_COMPLETED)
            while not messages.empty():
                message = messages.get()
                if isinstance(message, Warning):
                    _warn_again(message, warned)
                elif progress is not None:
                    progress(*message)
            for future in done:
                for index, result in zip(running.pop(future), future.result(), strict=True):
                    yield replace(result, index=index)
    except BrokenProcessPool:
        raise KeyframeError(
            "a worker process was killed, perhaps because memory ran out; use fewer --workers, or "
            "--batch-seconds below 30"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _warn_again(warning: Warning, warned: set[type[Warning]]) -> None:
    """Warn in this process as one of its workers did; of a narrow band once, not once by each."""
    if not isinstance(warning, NarrowBandWarning) or type(warning) not in warned:
        warned.add(type(warning))
        warnings.warn(warning, stacklevel=2)


_state: dict[str, Any] = {}
"""State of a worker process."""


def _start_worker(started: Any, messages: Any, work: _Work) -> None:
    """Initialise a worker process, which a keyboard interrupt ends only while it recognises."""
    begin_work()
    warnings.showwarning = lambda message, *_, **__: messages.put(message)
    with started.get_lock():
        number = started.value
        started.value += 1
    if work.compute.backend == "torch" and work.compute.device in (None, "cuda"):
        import torch  # takes seconds

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if gpus > 1:
            work = replace(work, compute=replace(work.compute, device=f"cuda:{number % gpus}"))
    _state.update(messages=messages, work=work)


def _recognise_group(given: Sequence[tuple[int, Path]]) -> list[RecognitionResult]:
    work: _Work = _state["work"]

    def progress(index: int, fraction: float) -> None:
        _state["messages"].put((given[index][0], fraction))

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # not in `_start_worker`, whose errors do not reach the parent
        worker: _Worker = _state.get("worker") or _Worker(work)
        _state["worker"] = worker
        return list(worker.transcribe_each([path for _, path in given], progress))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Worker:
    """The loaded model and its options."""

    def __init__(self, work: _Work) -> None:
        self._recognizer = load_for(work.model, work.compute)
        self._options = self._recognizer.prepare(work.options)

    def transcribe_each(
        self, paths: Sequence[Path], progress: RecordingProgress | None
    ) -> Iterator[RecognitionResult]:
        """Recognise files as `Recognizer.transcribe_each` does, but do not prepare again."""
        return recognise_each(self._recognizer, paths, self._options, progress)
