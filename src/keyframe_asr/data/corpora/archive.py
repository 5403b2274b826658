"""Unpacking tar archives: safely, and so that an interruption leaves no folder half filled."""

from __future__ import annotations

import os
import shutil
import tarfile
import zlib
from pathlib import Path

from keyframe_asr.errors import ManifestError


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not, into `folder`.

    Everything is unpacked beside its place first, then moved there: folders that do not exist yet
    in one piece, files over files of the same name. What was left by an interruption is cleared
    away the next time. Members that would land outside `folder` are refused.

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
                content.extractall(scratch, filter="data")
            _move_into(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ManifestError(
            f"{archive}: damaged or unsafe archive ({error}); get it again"
        ) from None
    except OSError as error:
        raise ManifestError(
            f"{archive}: cannot be unpacked into {folder} ({error.strerror or error}); free or "
            "grant the place, or unpack it by hand"
        ) from None


def _move_into(source: Path, target: Path) -> None:
    """Move all that is in a folder into another one on the same disk."""
    for path in sorted(source.iterdir()):
        place = target / path.name
        if path.is_dir() and not path.is_symlink() and place.is_dir():
            _move_into(path, place)
        else:
            os.replace(path, place)
