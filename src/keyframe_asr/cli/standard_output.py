"""Standard output whose failures can be told from other errors: a full disk, a closed pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class OutputError(OSError):
    """Standard output cannot be written, except that a pipe's reader may have closed it."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror)

    def __str__(self) -> str:
        return f"standard output: cannot be written ({self.strerror}); write to another place"


class _Checked(io.TextIOWrapper):
    """A text stream that raises `OutputError`."""

    def write(self, text: str) -> int:
        with _told_apart():
            return super().write(text)

    def flush(self) -> None:
        with _told_apart():
            super().flush()


@contextmanager
def standard_output() -> Iterator[None]:
    """Let `sys.stdout` raise `OutputError` in this block, and at its end for what is still to come.

    Symbols that its encoding lacks are escaped instead of stopping the program. A closed pipe ends
    the program silently with exit code 1, as typer has it.
    """
    plain = sys.stdout
    if not isinstance(plain, io.TextIOWrapper):  # replaced, or closed
        yield
        return
    plain.flush()
    options: dict[str, Any] = {"encoding": plain.encoding, "line_buffering": plain.line_buffering}
    sys.stdout = checked = _Checked(plain.buffer, errors="backslashreplace", **options)
    try:
        try:
            yield
        finally:
            checked.flush()
    except BrokenPipeError:
        sys.exit(1)
    finally:
        sys.stdout = plain
        with suppress(OSError):  # reported above
            checked.detach()


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error) from None
