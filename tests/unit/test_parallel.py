"""Work in several processes: results in order, warnings passed on, no process left behind."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import time
import warnings

import pytest

from fixtures.errors import refused
from keyframe_asr.data.parallel import CHUNKS_AHEAD, each
from keyframe_asr.errors import KeyframeError, KeyframeWarning


def doubled(number: int) -> int:
    if number == 5:
        warnings.warn("five", KeyframeWarning, stacklevel=1)
    return 2 * number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_in_order_and_warnings_arrive(jobs: int) -> None:
    with pytest.warns(KeyframeWarning) as told:
        assert list(each(doubled, range(9), jobs, chunk=2)) == list(range(0, 18, 2))
    assert [str(one.message) for one in told] == ["five"]


def test_items_are_taken_only_as_fast_as_they_are_worked_on() -> None:
    taken = itertools.count()
    results = each(doubled, taken, 2, chunk=2)
    assert next(results) == 0
    assert next(taken) == 2 * CHUNKS_AHEAD * 2
    results.close()
    assert multiprocessing.active_children() == []


def test_processes_end_at_once_when_nobody_waits_for_them() -> None:
    results = each(time.sleep, [0.0, 600.0], 2, chunk=1)
    assert next(results) is None
    started = multiprocessing.active_children()
    results.close()
    assert [one.exitcode for one in started] == [-signal.SIGTERM] * len(started)


def test_a_killed_process_is_told() -> None:
    with refused(KeyframeError, "--jobs"):
        list(each(signal.raise_signal, [signal.SIGKILL] * 2, 2, chunk=1))
