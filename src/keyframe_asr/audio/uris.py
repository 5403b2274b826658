"""Addresses of files: paths, and URIs that fsspec opens."""

from __future__ import annotations

import os
import re
from typing import Any

from keyframe_asr.errors import KeyframeError, PackageError

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")

_PACKAGES = {"http": "aiohttp", "https": "aiohttp"}
"""Packages of the schemes that fsspec has itself."""


def is_uri(place: str) -> bool:
    """True for `scheme://...`, False for a path."""
    return _URI.match(place) is not None


def located(place: str) -> tuple[Any, str]:
    """Return the fsspec filesystem of a path or URI, and the path in it.

    Raises:
        PackageError: the scheme needs a package that is not installed.
        KeyframeError: there is no such scheme, or its options are wrong.
    """
    import fsspec  # not needed for files on a disk
    from fsspec.implementations.local import LocalFileSystem
    from fsspec.registry import known_implementations

    if not is_uri(place):
        return LocalFileSystem(), os.path.abspath(place)
    scheme = place.partition("://")[0].lower()
    try:
        filesystem, path = fsspec.core.url_to_fs(place)
    except ImportError as error:
        package = _PACKAGES.get(scheme) or known_implementations[scheme]["class"].split(".")[0]
        raise PackageError(
            f"{place}: {scheme} needs {package}, which is not installed; pip install {package}, "
            f"on every machine ({one_line(error)})"
        ) from None
    except Exception as error:
        raise KeyframeError(f"{place}: cannot be reached ({one_line(error)})") from None
    return filesystem, str(path)


def one_line(error: BaseException) -> str:
    """What an error says, each service's in its own way, as one line."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__
