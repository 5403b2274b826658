"""Texts that systems have written, in a JSON file, so that they need not write them again.

The file has a list of settings, and for each the rows of its recordings by id. A setting holds all
that a text depends on, so that another model, or the same with other code, has its own rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keyframe_asr.io.atomic_write import write_whole

SAVE_EVERY = 20.0
"""Seconds between two writes of the file while a system runs."""

Row = dict[str, Any]


class StoredTexts:
    """Rows by setting and id of the recording; written to the file every now and then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, dict[str, Row]] = {}
        self._saved = time.monotonic()
        if path.is_file():
            for one in json.loads(path.read_text(encoding="utf-8")):
                self._rows[_key(one["setting"])] = one["recordings"]

    def rows(self, setting: Mapping[str, Any]) -> Mapping[str, Row]:
        """Rows of a setting by id."""
        return self._rows.get(_key(setting), {})

    def missing(self, setting: Mapping[str, Any], ids: Iterable[str]) -> list[str]:
        """The ids that have no row of this setting, in their order."""
        rows = self.rows(setting)
        return [one for one in ids if one not in rows]

    def add(self, setting: Mapping[str, Any], name: str, row: Row) -> None:
        """Store the row of a recording."""
        self._rows.setdefault(_key(setting), {})[name] = row
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write the file."""
        listed = [
            {"setting": json.loads(key), "recordings": rows} for key, rows in self._rows.items()
        ]
        write_whole(self.path, json.dumps(listed, ensure_ascii=False, indent=1) + "\n")
        self._saved = time.monotonic()


def _key(setting: Mapping[str, Any]) -> str:
    return json.dumps(setting, sort_keys=True, ensure_ascii=False)
