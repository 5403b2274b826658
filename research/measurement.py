"""Measuring a study: what is finished is kept and skipped the next time.

A measurement is what is measured at once: a trained variant, a model under one stress, a curve.
What it found is written as soon as it is there, together with all that it depends on; a measurement
whose setting has changed since is made again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.report import machine
from keyframe_asr.io.atomic_write import write_whole

DIGESTS = ("weights", "encoder")
"""Keys of settings whose value is None where the weights are not at hand."""


@dataclass(frozen=True)
class Measurement:
    """What is measured at once.

    Attributes:
        name: its own in the study.
        variant: what it belongs to, by which `--only` chooses.
        setting: all that the result depends on, as JSON would hold it.
        measure: does the work; what it returns is kept as JSON.
        work: how much of it there is, in any unit that the study's measurements share.
    """

    name: str
    variant: str
    setting: dict[str, Any]
    measure: Callable[[], dict[str, Any]]
    work: float = 1.0


class Study(Protocol):
    """What every kind of study can do."""

    def measurements(self, seeds: int) -> list[Measurement]:
        """Everything to measure, in order; what is not trained is there once."""
        ...


@dataclass(frozen=True)
class Planned:
    """A measurement as `--plan` shows it; seconds are None as long as none like it has run."""

    measurement: Measurement
    is_done: bool
    seconds: float | None


@dataclass
class Record:
    """What a study has found so far: the JSON file of its results.

    Attributes:
        path: of the file.
        parts: finished measurements by name, each with its setting, result, seconds and machine.
    """

    path: Path
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read the file; an empty record if there is none.

        Raises:
            KeyframeError: it cannot be read.
        """
        if not path.exists():
            return cls(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, dict(data["parts"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeyframeError(
                f"{path}: is no record of a study ({type(error).__name__}); move it away"
            ) from None

    def save(self, definition: dict[str, Any]) -> None:
        """Write the file, a line for each measurement, whole or not at all."""
        lines = [
            f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(one, ensure_ascii=False)}"
            for name, one in self.parts.items()
        ]
        begin = f'{{"study": {json.dumps(definition)},\n"parts": {{\n'
        write_whole(self.path, begin + ",\n".join(lines) + "\n}}\n")

    def holds(self, measurement: Measurement) -> bool:
        """Whether it was made with the setting it has now."""
        kept = self.parts.get(measurement.name)
        return kept is not None and kept["setting"] == _as_json(measurement.setting)

    def without(self, names: Collection[str]) -> Record:
        """The same record without some of its parts."""
        kept = {name: one for name, one in self.parts.items() if name not in names}
        return Record(self.path, kept)

    def outdated(self, measurements: Sequence[Measurement]) -> list[str]:
        """Names of those that were made with another setting than they have now.

        Weights that are not there now are taken to be those of then.
        """
        return [
            one.name
            for one in measurements
            if one.name in self.parts
            and not _same(self.parts[one.name]["setting"], _as_json(one.setting))
        ]

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Results by the names of their measurements, of whatever setting."""
        return {name: one["result"] for name, one in self.parts.items()}

    @property
    def machines(self) -> list[str]:
        """What they were measured on."""
        return list(dict.fromkeys(one["machine"] for one in self.parts.values()))


def choose(measurements: Sequence[Measurement], only: Collection[str]) -> list[Measurement]:
    """Those of some variants, all of them if none is named.

    Raises:
        KeyframeError: a name is that of no variant.
    """
    known = dict.fromkeys(one.variant for one in measurements)
    unknown = [name for name in only if name not in known]
    if unknown:
        raise KeyframeError(f"--only {unknown[0]}: no such variant; there are: {', '.join(known)}")
    return [one for one in measurements if not only or one.variant in only]


def plan(measurements: Sequence[Measurement], record: Record) -> list[Planned]:
    """What would be measured, and how long, judging by those that are finished."""
    done = [one for one in measurements if record.holds(one)]
    work = sum(one.work for one in done)
    rate = sum(record.parts[one.name]["seconds"] for one in done) / work if work else None
    return [
        Planned(one, one in done, None if rate is None else rate * one.work) for one in measurements
    ]


def measure(
    measurements: Sequence[Measurement],
    record: Record,
    definition: dict[str, Any],
    say: Callable[[str], None],
) -> list[KeyframeError]:
    """Measure what is not finished, writing the record after each; returns what went wrong.

    One that fails leaves the others alone.
    """
    failed = []
    waiting = [one for one in measurements if not record.holds(one)]
    for number, one in enumerate(waiting, start=1):
        record.parts = Record.load(record.path).parts  # another process may have measured some
        if record.holds(one):
            continue
        say(f"{number} of {len(waiting)}: {one.name}")
        began = time.perf_counter()
        try:
            result = one.measure()
        except KeyframeError as error:
            failed.append(type(error)(f"{one.name}: {error}"))
            continue
        measured = {
            "setting": _as_json(one.setting),
            "seconds": round(time.perf_counter() - began, 3),
            "machine": f"{machine(result.pop('device', 'cpu'))}, torch {torch.__version__}",
            "result": result,
        }
        record.parts = Record.load(record.path).parts | {one.name: measured}
        record.save(definition)
    return failed


def _same(kept: Any, now: Any, key: str = "") -> bool:
    if isinstance(kept, dict) and isinstance(now, dict):
        return kept.keys() == now.keys() and all(_same(kept[k], now[k], k) for k in kept)
    return bool(kept == now) or (key in DIGESTS and now is None)


def _as_json(setting: dict[str, Any]) -> Any:
    """As it will be read again: tuples are lists, whole floats stay floats."""
    return json.loads(json.dumps(setting))
