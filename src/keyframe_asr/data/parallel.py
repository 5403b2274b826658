"""Work on many items in several processes, with the results in the order of the items."""

from __future__ import annotations

import itertools
import multiprocessing
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from keyframe_asr.errors import KeyframeError
from keyframe_asr.io.worker_processes import begin_work, interrupts_blocked

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 64
"""Items that a process receives at once."""

CHUNKS_AHEAD = 4
"""Chunks given to each process in advance; more would hold more of the items in memory."""


def each(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int = 1, chunk: int = CHUNK
) -> Iterator[Result]:
    """Yield the result of a function for each item, in order; in `jobs` processes if several.

    The processes end at once if this is interrupted, or not continued.

    Args:
        function: of a module; errors that it does not return end everything.
        items: are pickled, so they should be small; taken only as fast as they are worked on.
        jobs: 1 works in this process.
        chunk: items that a process receives at once.

    Raises:
        KeyframeError: a process was killed.
    """
    left = iter(items)
    first = list(itertools.islice(left, chunk + 1))
    if jobs <= 1 or len(first) <= chunk:  # a process takes seconds to start
        yield from map(function, itertools.chain(first, left))
        return
    left = itertools.chain(first, left)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), begin_work)
    running: deque[Future[tuple[list[Result], list[Warning | str]]]] = deque()
    finished = False
    try:
        while True:
            while len(running) < CHUNKS_AHEAD * jobs and (
                given := list(itertools.islice(left, chunk))
            ):
                with interrupts_blocked():
                    running.append(pool.submit(_work, function, given))
            if not running:
                break
            results, warned = running.popleft().result()
            for warning in warned:
                warnings.warn(warning, stacklevel=2)
            yield from results
        finished = True
    except BrokenProcessPool:
        raise KeyframeError(
            "a process was killed, perhaps because memory ran out; use fewer --jobs"
        ) from None
    finally:
        if not finished:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _work(
    function: Callable[[Any], Any], items: Sequence[Any]
) -> tuple[list[Any], list[Warning | str]]:
    """Return the results, and the warnings for the process that started this one."""
    with warnings.catch_warnings(record=True) as warned:
        results = [function(item) for item in items]
    return results, [one.message for one in warned]
