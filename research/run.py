"""Measuring a study part by part: what is finished is kept and skipped the next time.

A part is what is measured at once: a trained variant, a model under one stress, a curve. What it
found is written as soon as it is there, together with all that it depends on; a part whose setting
has changed since is measured again.
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
from keyframe_asr.io.atomic_write import replacing


@dataclass(frozen=True)
class Part:
    """What is measured at once.

    Attributes:
        name: of the part, its own in the study.
        variant: what it belongs to, by which `--only` chooses.
        setting: all that the result depends on, as JSON would hold it.
        measure: does the work; what it returns is kept as JSON.
        work: how much of it there is, in any unit that the study's parts share.
    """

    name: str
    variant: str
    setting: dict[str, Any]
    measure: Callable[[], dict[str, Any]]
    work: float = 1.0


class Study(Protocol):
    """What every kind of study can do."""

    def parts(self, seeds: int) -> list[Part]:
        """Everything to measure, in order; what is not trained is there once."""
        ...


@dataclass(frozen=True)
class Planned:
    """A part as `--plan` shows it; seconds are None as long as none like it has run."""

    part: Part
    is_done: bool
    seconds: float | None


@dataclass
class Record:
    """What a study has found so far: the JSON file of its results.

    Attributes:
        path: of the file.
        parts: by name, each with its setting, result, seconds and machine.
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
        """Write the file, a line for each part, whole or not at all."""
        lines = [
            f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(one, ensure_ascii=False)}"
            for name, one in self.parts.items()
        ]
        begin = f'{{"study": {json.dumps(definition)},\n"parts": {{\n'
        write_text(begin + ",\n".join(lines) + "\n}}\n", self.path)

    def holds(self, part: Part) -> bool:
        """Whether the part was measured with the setting it has now."""
        kept = self.parts.get(part.name)
        return kept is not None and kept["setting"] == _as_json(part.setting)

    def without(self, names: Collection[str]) -> Record:
        """The same record without some of its parts."""
        kept = {name: one for name, one in self.parts.items() if name not in names}
        return Record(self.path, kept)

    def outdated(self, parts: Sequence[Part]) -> list[str]:
        """Names of the parts that were measured with another setting than they have now.

        Weights that are not there now are taken to be those of then.
        """
        return [
            part.name
            for part in parts
            if part.name in self.parts
            and not _same(self.parts[part.name]["setting"], _as_json(part.setting))
        ]

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Results by the names of their parts, of whatever setting."""
        return {name: one["result"] for name, one in self.parts.items()}

    @property
    def machines(self) -> list[str]:
        """What the parts were measured on."""
        return list(dict.fromkeys(one["machine"] for one in self.parts.values()))


def choose(parts: Sequence[Part], only: Collection[str]) -> list[Part]:
    """The parts of some variants, all of them if none is named.

    Raises:
        KeyframeError: a name is that of no variant.
    """
    known = dict.fromkeys(part.variant for part in parts)
    unknown = [name for name in only if name not in known]
    if unknown:
        raise KeyframeError(f"--only {unknown[0]}: no such variant; there are: {', '.join(known)}")
    return [part for part in parts if not only or part.variant in only]


def plan(parts: Sequence[Part], record: Record) -> list[Planned]:
    """What would be measured, and how long from the finished parts."""
    done = [part for part in parts if record.holds(part)]
    work = sum(part.work for part in done)
    rate = sum(record.parts[part.name]["seconds"] for part in done) / work if work else None
    return [
        Planned(part, part in done, None if rate is None else rate * part.work) for part in parts
    ]


def measure(
    parts: Sequence[Part],
    record: Record,
    definition: dict[str, Any],
    say: Callable[[str], None],
) -> list[KeyframeError]:
    """Measure what is not finished, writing the record after each; returns what went wrong.

    A part that fails leaves the others alone.
    """
    failed = []
    waiting = [part for part in parts if not record.holds(part)]
    for number, part in enumerate(waiting, start=1):
        record.parts = Record.load(record.path).parts  # another process may have measured some
        if record.holds(part):
            continue
        say(f"{number} of {len(waiting)}: {part.name}")
        began = time.perf_counter()
        try:
            result = part.measure()
        except KeyframeError as error:
            failed.append(type(error)(f"{part.name}: {error}"))
            continue
        measured = {
            "setting": _as_json(part.setting),
            "seconds": round(time.perf_counter() - began, 3),
            "machine": f"{machine(result.pop('device', 'cpu'))}, torch {torch.__version__}",
            "result": result,
        }
        record.parts = Record.load(record.path).parts | {part.name: measured}
        record.save(definition)
    return failed


DIGESTS = ("weights", "encoder")
"""Keys of settings whose value is None where the weights are not at hand."""


def _same(kept: Any, now: Any, key: str = "") -> bool:
    if isinstance(kept, dict) and isinstance(now, dict):
        return kept.keys() == now.keys() and all(_same(kept[k], now[k], k) for k in kept)
    return bool(kept == now) or (key in DIGESTS and now is None)


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all. Raises `KeyframeError` if it cannot be."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _as_json(setting: dict[str, Any]) -> Any:
    """As it will be read again: tuples are lists, whole floats stay floats."""
    return json.loads(json.dumps(setting))
