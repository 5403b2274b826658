"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keyframe_asr.errors import KeyframeError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` once that went well.

    Raises:
        KeyframeError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        why = error.strerror or str(error)
        raise KeyframeError(f"{path}: cannot be written: {why}; use another path") from None
    finally:
        with suppress(OSError):  # a folder that is a file has been told already
            temporary.unlink()
