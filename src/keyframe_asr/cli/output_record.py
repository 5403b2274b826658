"""What made the output files of `keyframe transcribe`, so that a later run skips only its own.

Each folder of outputs has a hidden file of JSON lines. A line gives the settings of a run and their
key, or an output file and the key of what made it; later lines count. Several processes can append
to it at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from keyframe_asr.errors import KeyframeError

RECORD = ".keyframe.jsonl"

FOLLOWS_FROM_MODEL = ("model_sha256", "language")
"""Settings that are not worth naming where another model was used."""


class OutputRecord:
    """The record of the folder `out`, or of each recording's own folder (`--beside`).

    Args:
        out: folder of the outputs; None for files next to the recordings.
        settings: what makes the outputs of this run, as values for JSON.
        key: the same for all settings that give the same outputs.
    """

    def __init__(self, out: Path | None, settings: Mapping[str, object], key: str) -> None:
        self._out, self._settings, self._key = out, settings, key
        self._made_by: dict[Path, dict[str, str]] = {}
        self._known: dict[str, dict[str, object]] = {}
        self._begun: set[Path] = set()

    def check(self, outputs: Sequence[Path]) -> None:
        """Raise `KeyframeError` if any of these files was made with other settings."""
        others = [file for file in outputs if self._maker(file) != self._key]
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            raise KeyframeError(
                f"{others[0]}{more}: {self._difference(others[0])}; give --overwrite to replace "
                "what is there, or write to another folder"
            )

    def add(self, file: Path) -> None:
        """Record that a file is made by this run, before it is written.

        Raises:
            KeyframeError: the record cannot be written.
        """
        folder = self._folder(file)
        lines: list[dict[str, object]] = [
            {"file": file.relative_to(folder).as_posix(), "settings": self._key}
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

    def _maker(self, file: Path) -> str | None:
        folder = self._folder(file)
        if folder not in self._made_by:
            self._made_by[folder] = self._read(folder / RECORD)
        return self._made_by[folder].get(file.relative_to(folder).as_posix())

    def _read(self, record: Path) -> dict[str, str]:
        """Read the key of each file; lines that were cut off are left out."""
        made_by: dict[str, str] = {}
        try:
            lines = record.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return made_by
        for line in lines:
            try:
                entry = json.loads(line)
                if "file" in entry:
                    made_by[entry["file"]] = entry["settings"]
                else:
                    self._known[entry.pop("settings")] = entry
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        return made_by

    def _difference(self, file: Path) -> str:
        key = self._maker(file)
        if key is None:
            return "there already, and not known to be written by keyframe transcribe"
        before = self._known.get(key, {})
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


def _shown(value: object) -> str:
    if value == {}:
        return "none"
    if isinstance(value, dict):
        shown = (f"{name}={_shown(item)}" for name, item in value.items())
        return f"({', '.join(shown)})"
    return str(value)
