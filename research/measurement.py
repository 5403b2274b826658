"""Run the measurements of a study and store their results.

A measurement is one unit of work: a trained variant, a model under one stress, a curve. Its result
is stored as soon as it is finished, together with the settings that it depends on. It is skipped
the next time unless a setting has changed.
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

DIGESTS = ("weights", "encoder", "decoder")
"""Keys of settings whose value is None if the weights are not available."""


@dataclass(frozen=True)
class Measurement:
    """One unit of work of a study.

    Attributes:
        name: unique in the study.
        variant: the variant it belongs to, for `--only`.
        setting: everything that the result depends on, as JSON values.
        measure: does the work and returns the result as JSON values.
        work: amount of work, in any unit common to the study's measurements.
    """

    name: str
    variant: str
    setting: dict[str, Any]
    measure: Callable[[], dict[str, Any]]
    work: float = 1.0


class Study(Protocol):
    """Any kind of study."""

    def measurements(self, seeds: int) -> list[Measurement]:
        """Return all measurements, in order; those without training once instead of per seed."""
        ...


@dataclass(frozen=True)
class Planned:
    """A measurement as `--plan` shows it; `seconds` is None until one of the study has run."""

    measurement: Measurement
    is_done: bool
    seconds: float | None


@dataclass
class Record:
    """The JSON file with the results of a study.

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
                f"{path}: not a record of a study ({type(error).__name__}); move it away"
            ) from None

    def save(self, definition: dict[str, Any]) -> None:
        """Write the file atomically, with one line per measurement."""
        lines = [
            f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(one, ensure_ascii=False)}"
            for name, one in self.parts.items()
        ]
        begin = f'{{"study": {json.dumps(definition)},\n"parts": {{\n'
        write_whole(self.path, begin + ",\n".join(lines) + "\n}}\n")

    def holds(self, measurement: Measurement) -> bool:
        """True if the measurement was made with its current setting."""
        kept = self.parts.get(measurement.name)
        return kept is not None and kept["setting"] == _as_json(measurement.setting)

    def without(self, names: Collection[str]) -> Record:
        """Return the record without some of its parts."""
        kept = {name: one for name, one in self.parts.items() if name not in names}
        return Record(self.path, kept)

    def outdated(self, measurements: Sequence[Measurement]) -> list[str]:
        """Return the names of measurements that were made with other settings than the current.

        Weights that are not available now are assumed to be unchanged.
        """
        return [
            one.name
            for one in measurements
            if one.name in self.parts
            and not _same(self.parts[one.name]["setting"], _as_json(one.setting))
        ]

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Results by the names of their measurements, with any setting."""
        return {name: one["result"] for name, one in self.parts.items()}

    @property
    def machines(self) -> list[str]:
        """The machines that the results were measured on."""
        return list(dict.fromkeys(one["machine"] for one in self.parts.values()))


def choose(measurements: Sequence[Measurement], only: Collection[str]) -> list[Measurement]:
    """Return the measurements of some variants, or of all if none is named.

    Raises:
        KeyframeError: a variant does not exist.
    """
    known = dict.fromkeys(one.variant for one in measurements)
    unknown = [name for name in only if name not in known]
    if unknown:
        raise KeyframeError(f"--only {unknown[0]}: unknown variant; use one of {', '.join(known)}")
    return [one for one in measurements if not only or one.variant in only]


def plan(measurements: Sequence[Measurement], record: Record) -> list[Planned]:
    """Return what would be measured, with durations estimated from finished measurements."""
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
    """Run unfinished measurements, save the record after each, and return the errors.

    An error in one does not stop the others.
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
    """Convert to what JSON reads back: tuples become lists."""
    return json.loads(json.dumps(setting))
