"""How fast systems are, and how much memory they take: each in its own process, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from research.benchmarks.whisper.recordings import Recording, RecordingSet, spread
from research.benchmarks.whisper.systems import Row, System

Recognise = Callable[[System, Sequence[Recording]], Iterator[Row]]

TIMED = ("mandarin", "english")
"""Sets of whose recordings some are timed."""


def measure_speed(
    systems: Sequence[System],
    sets: Sequence[RecordingSet],
    each: int,
    repeats: int,
    recognise: Recognise,
) -> Iterator[dict[str, Any]]:
    """Yield the figures of all systems, of more repeats each time.

    A busy machine slows all of them, as they take turns.

    Args:
        systems: to time.
        sets: those in `TIMED` are timed.
        each: recordings of each set.
        repeats: how often.
        recognise: as `systems.recognise`, with one thread.
    """
    chosen = {one.name: list(spread(one.recordings, each)) for one in sets if one.name in TIMED}
    seconds: dict[str, dict[str, list[float]]] = {}
    memory: dict[str, list[float]] = {}
    for repeat in range(repeats):
        for system in systems:
            recordings = [one for several in chosen.values() for one in several]
            recordings = [one for one in recordings if system.recognises(one)]
            if not recordings:
                continue
            rows = list(recognise(system, recordings))
            memory.setdefault(system.name, []).append(rows.pop()["peak_megabytes"])
            taken = {row["id"]: row["seconds"] for row in rows}
            for name, several in chosen.items():
                heard = [one for one in several if one.id in taken]
                if heard:
                    factor = sum(taken[one.id] for one in heard) / sum(one.seconds for one in heard)
                    seconds.setdefault(system.name, {}).setdefault(name, []).append(factor)
        yield {
            "recordings": {name: len(several) for name, several in chosen.items()},
            "repeats": repeat + 1,
            "threads": 1,
            "systems": {name: _figures(of_sets, memory[name]) for name, of_sets in seconds.items()},
        }


def _figures(factors: Mapping[str, Sequence[float]], memory: Sequence[float]) -> dict[str, Any]:
    return {
        "peak_megabytes": statistics.median(memory),
        "real_time_factor": {name: statistics.median(one) for name, one in factors.items()},
        "range": {name: [min(one), max(one)] for name, one in factors.items()},
    }
