"""malloc settings: keep freed memory in training, return it to the system in recognition.

Training on the CPU allocates the same sizes again and again. By default glibc returns large blocks
to the system and gets them back page by page. For the small models that are trained on a CPU, these
page faults take up to half of the time of a step.

The batches of a long recording all have different sizes. glibc keeps freed blocks of up to 32 MiB,
which do not fit the next sizes, and oneDNN caches kernels for a thousand sizes: over three hours of
audio the memory of the process doubles. Returning blocks from 1 MiB on costs about 5 % of the time,
a smaller oneDNN cache no measurable time, and the process then holds little more than one batch
needs.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
_TRIM_THRESHOLD = 2**31 - 1
_SMALLEST_BLOCK = 1024 * 1024
_CACHED_KERNELS = "16"


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory; False if the C library is not glibc."""
    return _set(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and _set(
        _M_TRIM_THRESHOLD, _TRIM_THRESHOLD
    )


def return_freed_memory() -> bool:
    """Make glibc return large freed blocks to the system; False if the C library is not glibc.

    oneDNN reads its environment variable once, at the first batch of the process.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _CACHED_KERNELS)
    return _set(_M_MMAP_THRESHOLD, _SMALLEST_BLOCK)


def _set(parameter: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt is not None and mallopt(parameter, value))
