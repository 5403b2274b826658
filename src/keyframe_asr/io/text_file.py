"""Read text files: UTF-8, with or without a byte order mark, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from keyframe_asr.errors import KeyframeError

_BYTE_ORDER_MARK = "\ufeff"


def read_lines(
    path: Path, advice: str, error: type[KeyframeError] = KeyframeError
) -> Iterator[str]:
    """Yield the lines of a text file without their ends, LF or CRLF.

    Unlike `str.splitlines`, no other character ends a line, because it may be part of a text. The
    byte order mark that some editors write is dropped. A name that ends in .gz is decompressed.

    Args:
        path: the file; it is read as a stream, so a pipe will do.
        advice: what to give instead, for the error message.
        error: exception type to raise.

    Raises:
        KeyframeError: the file cannot be read, or a line is not UTF-8; names the line.
    """
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode("utf-8")
                if number == 1:
                    text = text.removeprefix(_BYTE_ORDER_MARK)
                yield text.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise error(f"{path}:{number}: not UTF-8 text; save the file as UTF-8") from None
    except (OSError, EOFError, ValueError, zlib.error) as failure:
        reason = getattr(failure, "strerror", None) or str(failure)
        raise error(f"{path}: cannot be read: {reason}; {advice}") from None


def read_text(path: Path, advice: str, error: type[KeyframeError] = KeyframeError) -> str:
    """Return the content of a text file, its lines joined by LF; otherwise as `read_lines`."""
    return "\n".join(read_lines(path, advice, error))
