"""Fetching one large file over HTTP, going on where an earlier attempt stopped."""

from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from keyframe_asr.errors import ManifestError

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
ATTEMPTS = 5
"""Connections in a row that bring nothing before the server is given up."""
PAUSE = 3.0
"""Seconds before the next of them."""
BUSY = (408, 429)
"""Answers below 500 after which it is worth trying again."""

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, how many bytes of it are there, and how many there will be."""


def fetch(address: str, partial: Path, progress: Progress | None = None) -> Path:
    """Fetch `address` into the file `partial`, or what is still missing of it.

    A server without byte ranges sends everything anew. Whether the bytes are right is not known
    afterwards, only that they are as many as the server says.

    Args:
        address: http or https.
        partial: the file, in a folder that exists.
        progress: called with the file's name without `.part`, bytes there and bytes in all.

    Returns:
        `partial`, complete.

    Raises:
        ManifestError: the server refuses or cannot be reached, or the file cannot be written. What
            was received stays.
    """
    failures = 0
    while failures < ATTEMPTS:
        if failures:
            time.sleep(PAUSE)
        before = _size(partial)
        try:
            if _receive(address, partial, progress):
                return partial
            reason = "connection closed"
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in BUSY:
                raise ManifestError(
                    f"{address}: the server answers {error.code} {error.reason}; check the "
                    "address, or download the file by hand"
                ) from None
            reason = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        failures = 1 if _size(partial) > before else failures + 1
    raise ManifestError(
        f"{address}: cannot be downloaded ({reason}); run again to go on after "
        f"{_size(partial)} bytes"
    )


def _receive(address: str, partial: Path, progress: Progress | None) -> bool:
    """One connection; True if the file is complete after it."""
    start = _size(partial)
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing is left to send, or the file on the server is shorter than what is here.
        if error.headers.get("Content-Range", "") == f"bytes */{start}":
            return True
        partial.unlink()
        return False
    with response:
        goes_on = response.status == 206 and _first_byte(response.headers) == start
        if response.status == 206 and not goes_on:
            raise http.client.HTTPException("another range than asked for")
        start = start if goes_on else 0
        whole = _whole_size(response.headers)
        _check_room(partial, whole, start)
        with _open(partial, "ab" if goes_on else "wb") as stream:
            return _copy(response, stream, start, whole, partial, progress)


def _copy(
    response: http.client.HTTPResponse,
    stream: IO[bytes],
    start: int,
    whole: int | None,
    partial: Path,
    progress: Progress | None,
) -> bool:
    name = partial.name.removesuffix(".part")
    size = start
    while True:
        if progress is not None:
            progress(name, size, whole)
        chunk = response.read1(CHUNK)
        if not chunk:
            return whole is None or size == whole
        try:
            stream.write(chunk)
            stream.flush()
        except OSError as error:
            raise ManifestError(f"{partial}: cannot be written ({error.strerror})") from None
        size += len(chunk)


def _open(partial: Path, mode: str) -> IO[bytes]:
    try:
        return partial.open(mode)
    except OSError as error:
        raise ManifestError(f"{partial}: cannot be written ({error.strerror})") from None


def _check_room(partial: Path, whole: int | None, start: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if whole is not None and whole - start > free:
        raise ManifestError(
            f"{partial}: {(whole - start) / 1e9:.1f} GB are still to come, but only "
            f"{free / 1e9:.1f} GB are free; make room or choose another folder"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _whole_size(headers: http.client.HTTPMessage) -> int | None:
    """Size of the whole file, None if the server does not say."""
    if ranged := re.match(r"bytes .*/(\d+)$", headers.get("Content-Range", "")):
        return int(ranged[1])
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _first_byte(headers: http.client.HTTPMessage) -> int | None:
    ranged = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(ranged[1]) if ranged else None
