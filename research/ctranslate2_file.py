"""CTranslate2's binary format, as far as Whisper needs it.

Version 6, little-endian (`_serialize` of ctranslate2/specs/model_spec.py):

    file     uint32 version, string specification, uint32 revision,
             uint32 count, variables, uint32 count, aliases
    string   uint16 length with the final zero, UTF-8, a zero
    variable string name, uint8 rank, uint32 per dimension, uint8 type, uint32 bytes, the values
    alias    string name, string name of the variable with the same values
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyframe_asr.errors import ModelError

Array = NDArray[Any]

VERSION, SPECIFICATION, REVISION = 6, "WhisperSpec", 3
TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
"""Types by their number in the file."""


def read_binary(content: bytes, path: Path) -> dict[str, Array]:
    """Read a CTranslate2 file of Whisper.

    Args:
        content: the whole file.
        path: its name, for messages.

    Returns:
        The variables by name; an alias shares the array of its variable.

    Raises:
        ModelError: not this format or version, not a Whisper model, or damaged.
    """
    reader = _Reader(content, path)
    version = reader.number("I")
    if version != VERSION:
        raise ModelError(
            f"{path}: not CTranslate2's format of version {VERSION} (starts with {version}); "
            "convert the model with a CTranslate2 that writes it"
        )
    kind, revision = reader.string(), reader.number("I")
    if (kind, revision) != (SPECIFICATION, REVISION):
        raise ModelError(
            f"{path}: contains '{kind}' revision {revision}, not {SPECIFICATION} revision "
            f"{REVISION}; give a Whisper model"
        )
    found = {}
    for _ in range(reader.number("I")):
        name = reader.string()
        found[name] = reader.array(name)
    for _ in range(reader.number("I")):
        alias, name = reader.string(), reader.string()
        if name not in found:
            raise ModelError(
                f"{path}: '{alias}' stands for '{name}', which is absent; copy the file again"
            )
        found[alias] = found[name]
    reader.end()
    return found


class _Reader:
    def __init__(self, content: bytes, path: Path) -> None:
        self._content, self._path, self._at = content, path, 0

    def number(self, code: str) -> int:
        form = struct.Struct(f"<{code}")
        (value,) = form.unpack(self._take(form.size))
        return int(value)

    def string(self) -> str:
        raw = self._take(self.number("H"))
        try:
            if raw[-1:] == b"\0":
                return raw[:-1].decode("utf-8")
        except UnicodeDecodeError:
            pass
        raise ModelError(f"{self._path}: damaged before byte {self._at}; copy the file again")

    def array(self, name: str) -> Array:
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = self.number("B"), self.number("I")
        if kind >= len(TYPES) or TYPES[kind] == "bfloat16":
            given = TYPES[kind] if kind < len(TYPES) else f"type {kind}"
            raise ModelError(
                f"{self._path}: '{name}' is {given}; convert the model with --quantization float16"
            )
        form = np.dtype(TYPES[kind]).newbyteorder("<")
        values = np.frombuffer(self._take(size), form) if size % form.itemsize == 0 else None
        if values is None or values.size != np.prod(shape, dtype=np.int64):
            raise ModelError(
                f"{self._path}: '{name}' of shape {tuple(shape)} has {size} bytes; "
                "copy the file again"
            )
        return values.reshape(shape)

    def end(self) -> None:
        if self._at != len(self._content):
            raise ModelError(
                f"{self._path}: ends at byte {self._at} but has {len(self._content)}; "
                "copy the file again"
            )

    def _take(self, size: int) -> bytes:
        taken = self._content[self._at : self._at + size]
        if len(taken) != size:
            raise ModelError(
                f"{self._path}: cut off after {len(self._content)} bytes; copy the file again"
            )
        self._at += size
        return taken
