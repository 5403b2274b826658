"""Download of the corpora that OpenSLR hosts: resumed, checked, then unpacked.

The MD5 sums are OpenSLR's own where it publishes them: LibriSpeech and Mini LibriSpeech, in
`md5sum.txt`. Those of AISHELL-1 and THCHS-30 are the ones that PaddleSpeech's recipes check. For
speechocean762 there is none: only its archive's size is checked, against what the server says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keyframe_asr.data.corpora.archive import unpack
from keyframe_asr.data.corpora.fetch import Progress, fetch
from keyframe_asr.errors import ManifestError

SERVER = "https://www.openslr.org/resources"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """A file on OpenSLR.

    Attributes:
        resource: number of the corpus there.
        name: of the file.
        md5: its checksum in hexadecimal digits, None if none is known.
        holds: a folder that is there once it is unpacked.
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
"""What each corpus consists of. Mini LibriSpeech is read as `librispeech`."""


def download(
    corpus: str,
    folder: Path,
    progress: Progress | None = None,
    *,
    parts: Sequence[str] | None = None,
    server: str = SERVER,
) -> Path:
    """Download a corpus into `folder` and unpack it there.

    Call it again after an interruption: it goes on where it was, in the middle of a file too. An
    archive is deleted once it is unpacked, unless it was there before.

    Args:
        corpus: one of `ARCHIVES`.
        folder: where to; it is made if need be.
        progress: hears of every file as it comes in.
        parts: of LibriSpeech, those to get, such as `train-clean-100`; all by default.
        server: address below which a corpus is found by its number on OpenSLR.

    Returns:
        What to give to the corpus's reader as its source.

    Raises:
        ManifestError: OpenSLR does not host the corpus, the server cannot be reached or gives
            something else than was published, or the disk is full.
    """
    archives = _wanted(corpus, parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ManifestError(f"{folder}: cannot be made ({error.strerror})") from None
    for archive in archives:
        done = folder / f".{archive.name}.unpacked"
        if done.is_file() and (folder / archive.holds).is_dir():
            continue
        path = folder / archive.name
        if own := path.is_file():
            _check(path, archive.md5)
        else:
            _fetch_checked(f"{server}/{archive.resource}/{archive.name}", path, archive, progress)
        unpack(path, folder)
        if not (folder / archive.holds).is_dir():
            raise ManifestError(f"{path}: holds no {archive.holds}; delete it and download again")
        done.touch()
        if not own:
            path.unlink()
    return folder


def _wanted(corpus: str, parts: Sequence[str] | None) -> list[Archive]:
    if corpus not in ARCHIVES:
        raise ManifestError(
            f"'{corpus}' cannot be downloaded; choose from {', '.join(ARCHIVES)}, and get others "
            "from where they are published"
        )
    archives = {archive.name.split(".")[0]: archive for archive in ARCHIVES[corpus]}
    for part in parts or ():
        if part not in archives:
            raise ManifestError(f"{corpus} has no part '{part}'; choose from {', '.join(archives)}")
    return [archive for part, archive in archives.items() if parts is None or part in parts]


def _fetch_checked(address: str, path: Path, archive: Archive, progress: Progress | None) -> None:
    partial = fetch(address, path.with_name(f"{path.name}.part"), progress)
    try:
        _check(partial, archive.md5)
    except ManifestError:
        # Going on with it would never mend it.
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
            f"{path}: not the file that was published (MD5 sum {digest.hexdigest()} instead of "
            f"{md5}); delete it if it is still there, and download it again"
        )
