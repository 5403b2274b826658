"""Download corpora from OpenSLR, check them and unpack them; interrupted downloads are resumed.

Uses lhotse's `resumable_download`. This module adds the completeness checks: the
size must be what the server announces, and the MD5 sum what was published. The sums of LibriSpeech
and Mini LibriSpeech are OpenSLR's (`md5sum.txt`), those of AISHELL-1 and THCHS-30 are from
PaddleSpeech's recipes. For speechocean762 none is known.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import lzma
import os
import shutil
import socket
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lhotse.utils import resumable_download

from keyframe_asr.errors import ManifestError

SERVER = "https://www.openslr.org/resources"
CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without data after which a connection is closed."""
ATTEMPTS = 5
"""Consecutive connections without progress before the download fails."""
PAUSE = 3.0
"""Seconds between attempts."""
BUSY = (408, 429)
"""HTTP status codes below 500 that are retried."""
UNSUPPORTED = (403, 405, 416, 501)
"""HTTP status codes of servers that do not support HEAD requests, or have an empty file."""


@dataclass(frozen=True)
class Archive:
    """A file on OpenSLR.

    Attributes:
        resource: OpenSLR number of the corpus.
        name: file name.
        md5: checksum in hexadecimal digits; None if unknown.
        holds: folder that exists once the archive is unpacked.
    """

    resource: int
    name: str
    md5: str | None
    holds: str


def _librispeech(resource: int, part: str, md5: str) -> Archive:
    return Archive(resource, f"{part}.tar.gz", md5, f"LibriSpeech/{part}")


ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "aishell1": (
        Archive(33, "data_aishell.tgz", "2f494334227864a8a8fec932999db9d8", "data_aishell"),
    ),
    "thchs30": (
        Archive(18, "data_thchs30.tgz", "2d2252bde5c8429929e1841d4cb95e90", "data_thchs30"),
    ),
    "librispeech": (
        _librispeech(12, "train-clean-100", "2a93770f6d5c6c964bc36631d331a522"),
        _librispeech(12, "train-clean-360", "c0e676e450a7ff2f54aeade5171606fa"),
        _librispeech(12, "train-other-500", "d1a0fd59409feb2c614ce4d30c387708"),
        _librispeech(12, "dev-clean", "42e2234ba48799c1f50f24a7926300a1"),
        _librispeech(12, "dev-other", "c8d0bcc9cca99d4f8b62fcc847357931"),
        _librispeech(12, "test-clean", "32fa31d27d2e1cad72775fee3f4849a9"),
        _librispeech(12, "test-other", "fb5a50374b501bb3bac4815ee91d3135"),
    ),
    "mini_librispeech": (
        _librispeech(31, "train-clean-5", "5df7d4e78065366204ca6845bb08f490"),
        _librispeech(31, "dev-clean-2", "6d7ab67ac6a1d2c993d050e16d61080d"),
    ),
    "speechocean762": (Archive(101, "speechocean762.tar.gz", None, "speechocean762"),),
}
"""Archives of each corpus. Mini LibriSpeech is read as `librispeech`."""


def download(
    corpus: str, folder: Path, *, parts: Sequence[str] | None = None, server: str = SERVER
) -> Path:
    """Download a corpus into `folder` and unpack it there; progress goes to standard error.

    After an interruption, call it again: it resumes, also in the middle of a file. An archive is
    deleted after unpacking, unless it was there before.

    Args:
        corpus: one of `ARCHIVES`.
        folder: target folder; created if needed.
        parts: parts of LibriSpeech to download, such as `train-clean-100`; all by default.
        server: base URL, followed by the OpenSLR number of the corpus.

    Returns:
        The source folder for the reader of the corpus.

    Raises:
        ManifestError: OpenSLR does not host the corpus, the server cannot be reached, a file does
            not match its checksum, or the disk is full.
    """
    archives = _wanted(corpus, parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ManifestError(f"{folder}: cannot be created ({error.strerror})") from None
    for archive in archives:
        done = folder / f".{archive.name}.unpacked"
        if done.is_file() and (folder / archive.holds).is_dir():
            continue
        path = folder / archive.name
        if own := path.is_file():
            _check(path, archive.md5)
        else:
            _fetch_checked(f"{server}/{archive.resource}/{archive.name}", path, archive.md5)
        unpack(path, folder)
        if not (folder / archive.holds).is_dir():
            raise ManifestError(
                f"{path}: contains no {archive.holds}; delete it and download it again"
            )
        done.touch()
        if not own:
            path.unlink()
    return folder


def _wanted(corpus: str, parts: Sequence[str] | None) -> list[Archive]:
    if corpus not in ARCHIVES:
        raise ManifestError(
            f"'{corpus}' cannot be downloaded; choose from {', '.join(ARCHIVES)}, or get the "
            "corpus from its publisher"
        )
    archives = {archive.name.split(".")[0]: archive for archive in ARCHIVES[corpus]}
    for part in parts or ():
        if part not in archives:
            raise ManifestError(f"{corpus} has no part '{part}'; choose from {', '.join(archives)}")
    return [archive for part, archive in archives.items() if parts is None or part in parts]


def fetch(address: str, partial: Path) -> None:
    """Download `address` (http or https) into the file `partial`, resuming if it exists.

    A server without byte ranges sends the whole file again. Only the size is checked here, not the
    content.

    Raises:
        ManifestError: the server refuses or cannot be reached, or the file cannot be written. The
            received part is kept.
    """
    failures = 0
    size: int | None = None
    while failures < ATTEMPTS:
        if failures:
            time.sleep(PAUSE)
        before = _size(partial)
        try:
            with _timeout(TIMEOUT):
                size = _announced_size(address)
                if size is not None and before > size:
                    partial.unlink()  # a server without byte ranges sent the whole file again
                    before = 0
                _check_room(partial, size, before)
                resumable_download(address, partial, completed_file_size=size)
            if size is None or _size(partial) == size:
                return
            reason = "connection closed"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in BUSY:
                raise ManifestError(
                    f"{address}: the server answers {error.code} {error.reason}; check the "
                    "address, or download the file manually"
                ) from None
            reason = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in _DISK_ERRORS:
                raise ManifestError(f"{partial}: cannot be written ({error})") from None
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        failures = 1 if _size(partial) > before else failures + 1
    raise ManifestError(
        f"{address}: cannot be downloaded ({reason}); run again to resume after "
        f"{_size(partial)} bytes"
    )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not, into `folder`.

    Everything is unpacked into a temporary folder first, then moved: new folders as a whole, files
    replacing files of the same name. Remains of an interrupted call are removed. Members that would
    be written outside `folder` are refused.

    Raises:
        ManifestError: the archive is damaged or unsafe, or `folder` cannot be written.
    """
    scratch = folder / f".{archive.name}.unpacking"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            with tarfile.open(archive) as content:
                content.extractall(scratch, filter="data")  # refuses unsafe members and links
                while content.fileobj is not None and content.fileobj.read(CHUNK):
                    pass  # the checksum of the compression comes last
            _move_into(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        reason = " ".join(str(error).split())
        raise ManifestError(
            f"{archive}: damaged or unsafe archive ({reason}); get it again"
        ) from None
    except OSError as error:
        raise ManifestError(
            f"{archive}: cannot be unpacked into {folder} ({error.strerror or error}); check disk "
            "space and permissions, or unpack it manually"
        ) from None


def _move_into(source: Path, target: Path) -> None:
    """Move the content of a folder into another folder on the same disk."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and not path.is_symlink() and place.is_dir():
            _move_into(path, place)
        else:
            os.replace(path, place)


def _fetch_checked(address: str, path: Path, md5: str | None) -> None:
    partial = path.with_name(f"{path.name}.part")
    fetch(address, partial)
    try:
        _check(partial, md5)
    except ManifestError:
        # resuming the download would not fix it
        partial.unlink()
        raise
    partial.replace(path)


def _check(path: Path, md5: str | None) -> None:
    if md5 is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != md5:
        raise ManifestError(
            f"{path}: not the published file (MD5 sum {digest.hexdigest()} instead of {md5}); "
            "delete it if it still exists, and download it again"
        )


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR)


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Set the default socket timeout inside the context, because lhotse sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _announced_size(address: str) -> int | None:
    """Size of the file in bytes; None if the server does not announce it."""
    asked = (
        urllib.request.Request(address, method="HEAD"),
        # for servers that refuse HEAD; the body is not read
        urllib.request.Request(address, headers={"Range": "bytes=0-0"}),
    )
    for request in asked:
        try:
            with urllib.request.urlopen(request) as response:
                whole = response.headers.get("Content-Range", "").rpartition("/")[2]
                length = whole or response.headers.get("Content-Length", "")
        except urllib.error.HTTPError as error:
            if error.code not in UNSUPPORTED:
                raise
            error.close()
            length = ""
        if length.isdigit():
            return int(length)
    return None


def _check_room(partial: Path, whole: int | None, there: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if whole is not None and whole - there > free:
        raise ManifestError(
            f"{partial}: {(whole - there) / 1e9:.1f} GB remain to be downloaded, but only "
            f"{free / 1e9:.1f} GB are free; free disk space or choose another folder"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
