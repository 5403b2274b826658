"""Paths in a recipe.

In a file they are relative to its folder, in a `Recipe` to the working folder. A path that is not
there, but is in the working folder, is taken from there with a note: recipes were once read so.
URIs stay as they are.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Collection
from typing import Any

NAMES = ("model.pretrained.source", "model.decoder.source", "tokenizer.of_model", "teacher")
"""May also be the name of a model."""

PATH_KEYS = (
    "data.prepared",
    "data.train",
    "data.more_train",
    "data.dev",
    "data.test",
    "data.soft_targets",
    "stages.*.train",
    "augment.noise.folder",
    "augment.reverberation.folder",
    "augment.non_speech.folder",
    "training.encodings",
    *NAMES,
)
"""Keys that hold a path or a list of paths; `*` is every entry of a list."""


def from_folder(data: Any, folder: str, where: str, replaced: Collection[str] = ()) -> Any:
    """A copy of a parsed recipe with its paths relative to the working folder.

    Args:
        data: the parsed YAML of a recipe; what is not valid is left as it is.
        folder: folder of the recipe's file.
        where: the file, for the note.
        replaced: keys whose values are not used, so that there is no note of them.
    """
    elsewhere: list[str] = []

    def place(value: str, key: str) -> str:
        if _is_uri(value):
            return value
        beside = join(folder, value)
        if os.path.isabs(value) or _exists(beside):
            return beside
        if _exists(value):
            if key not in replaced and (key not in NAMES or os.sep in value):
                elsewhere.append(key)
            return value
        return value if key in NAMES and not value.startswith(".") else beside

    found = _replaced(data, place)
    if elsewhere:
        keys = ", ".join(dict.fromkeys(elsewhere))
        note = f"{where}: {keys}: not found beside the recipe; taken from the working folder"
        print(note, file=sys.stderr)
    return found


def absolute(data: Any) -> Any:
    """A copy of the values of a `Recipe` with absolute paths, to be read from any folder."""

    def place(value: str, key: str) -> str:
        if _is_uri(value):
            return value
        return value if key in NAMES and not _exists(value) else join(os.getcwd(), value)

    return _replaced(data, place)


def join(folder: str, path: str) -> str:
    """Join two paths, without `..` where that names the same file."""
    joined = os.path.join(folder, path)
    short = os.path.normpath(joined)  # differs if `..` follows a symbolic link
    return short if os.path.realpath(short) == os.path.realpath(joined) else joined


def _is_uri(path: str) -> bool:
    return "://" in path


def _exists(path: str) -> bool:
    """True if there is such a file or folder, or a table of which `path` names a split."""
    return os.path.exists(path) or (":" in path and os.path.exists(path.rpartition(":")[0]))


def _replaced(data: Any, change: Callable[..., str]) -> Any:
    for key in PATH_KEYS:
        data = _replaced_at(data, key.split("."), functools.partial(change, key=key))
    return data


def _replaced_at(node: Any, steps: list[str], change: Callable[[str], str]) -> Any:
    if not steps:
        if isinstance(node, list):
            return [change(one) if isinstance(one, str) else one for one in node]
        return change(node) if isinstance(node, str) else node
    if steps[0] == "*":
        if not isinstance(node, list):
            return node
        return [_replaced_at(one, steps[1:], change) for one in node]
    if not isinstance(node, dict) or steps[0] not in node:
        return node
    return node | {steps[0]: _replaced_at(node[steps[0]], steps[1:], change)}
