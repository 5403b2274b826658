"""What made the output files of `keyframe transcribe`, so that a later run skips only its own.

Each folder of outputs has a hidden file of JSON lines. A line gives the settings of a run and their
key, or an output file, the key of what made it, and the recording it was made from; later lines
count. Several processes can append to it at once.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from keyframe_asr.errors import KeyframeError

RECORD = ".keyframe.jsonl"

FOLLOWS_FROM_MODEL = ("model_sha256", "language")
"""Settings that are not worth naming where another model was used."""


@dataclass(frozen=True)
class Recording:
    """A recording as it was when an output was made from it.

    Attributes:
        path: absolute, with links resolved.
        bytes: its size.
        modified_ns: time of its last change, in nanoseconds since 1970.
    """

    path: str
    bytes: int
    modified_ns: int

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """Describe a file; None if it is a pipe or device, or cannot be found."""
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                return None
            return cls(os.path.realpath(path), found.st_size, found.st_mtime_ns)
        except (OSError, ValueError):
            return None


@dataclass(frozen=True)
class Maker:
    """The key of the settings that made an output, and its recording if that is known."""

    settings: str
    recording: Recording | None


class OutputRecord:
    """The record of the folder `out`, or of each recording's own folder (`--beside`).

    Args:
        out: folder of the outputs; None for files next to the recordings.
        settings: what makes the outputs of this run, as values for JSON.
        key: the same for all settings that give the same outputs.
    """

    def __init__(self, out: Path | None, settings: Mapping[str, object], key: str) -> None:
        self._out, self._settings, self._key = out, settings, key
        self._made_by: dict[Path, dict[str, Maker]] = {}
        self._known: dict[str, dict[str, object]] = {}
        self._begun: set[Path] = set()

    def check(self, outputs: Mapping[Path, Recording | None]) -> None:
        """Check that files which are there are what this run would make of these recordings.

        Raises:
            KeyframeError: one was made with other settings or of another recording, or that is
                not known, as of a recording that is a pipe (None).
        """
        others = [
            file
            for file, recording in outputs.items()
            if recording is None or self._maker(file) != Maker(self._key, recording)
        ]
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            raise KeyframeError(
                f"{others[0]}{more}: {self._difference(others[0], outputs[others[0]])}; give "
                "--overwrite to replace what is there, or write to another folder"
            )

    def add(self, file: Path, recording: Recording | None) -> None:
        """Record that a file is made by this run, before it is written.

        Args:
            file: the output.
            recording: what it is made from, as it was before it was read; None for a pipe.

        Raises:
            KeyframeError: the record cannot be written.
        """
        folder = self._folder(file)
        lines: list[dict[str, object]] = [
            {
                "file": file.relative_to(folder).as_posix(),
                "settings": self._key,
                "recording": recording and asdict(recording),
            }
        ]
        if folder not in self._begun:
            lines.insert(0, {"settings": self._key, **self._settings})
        content = "".join(json.dumps(line) + "\n" for line in lines)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / RECORD).open("a", encoding="utf-8") as record:
                record.write(content)
        except OSError as error:
            raise KeyframeError(
                f"{file}: not written, because {folder / RECORD} cannot be ({error.strerror}); use "
                "another folder"
            ) from None
        self._begun.add(folder)

    def _folder(self, file: Path) -> Path:
        return file.parent if self._out is None else self._out

    def _maker(self, file: Path) -> Maker | None:
        folder = self._folder(file)
        if folder not in self._made_by:
            self._made_by[folder] = self._read(folder / RECORD)
        return self._made_by[folder].get(file.relative_to(folder).as_posix())

    def _read(self, record: Path) -> dict[str, Maker]:
        """Read what made each file; lines that were cut off are left out."""
        made_by: dict[str, Maker] = {}
        try:
            lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return made_by
        for line in lines:
            try:
                entry = json.loads(line)
                if "file" in entry:
                    recording = entry.get("recording")
                    made_by[entry["file"]] = Maker(
                        entry["settings"], None if recording is None else Recording(**recording)
                    )
                else:
                    self._known[entry.pop("settings")] = entry
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        return made_by

    def _difference(self, file: Path, recording: Recording | None) -> str:
        maker = self._maker(file)
        if maker is None:
            return "there already, and not known to be written by keyframe transcribe"
        if maker.settings == self._key:
            return _other_recording(maker.recording, recording)
        before = self._known.get(maker.settings, {})
        other = [name for name, value in self._settings.items() if before.get(name) != value]
        if "model" in other:
            other = [name for name in other if name not in FOLLOWS_FROM_MODEL]
        elif "model_sha256" in other:
            return f"made by model {self._settings['model']} when it had other files"
        changed = [
            f"{name} {_shown(before.get(name))} instead of {_shown(self._settings[name])}"
            for name in other
        ]
        return f"made with {', '.join(changed) or 'other settings'}"


def _other_recording(before: Recording | None, now: Recording | None) -> str:
    if now is None:
        return "there already, and a pipe cannot be compared with what it was made from"
    if before is None:
        return "made from a pipe or by an earlier version, so that its recording is not known"
    if before.path != now.path:
        return f"made from {before.path} instead of {now.path}"
    if before.bytes != now.bytes:
        return f"made when {now.path} had {before.bytes} bytes instead of {now.bytes}"
    return f"made when {now.path} had another modification time"


def _shown(value: object) -> str:
    if value == {}:
        return "none"
    if isinstance(value, dict):
        shown = (f"{name}={_shown(item)}" for name, item in value.items())
        return f"({', '.join(shown)})"
    return str(value)
