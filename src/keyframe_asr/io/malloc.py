"""What glibc does with freed memory: keep it for a training, give it back in recognition.

Training on the CPU takes the same sizes again and again. glibc hands large blocks back to the
system and gets them again page by page; on the small models that train on a CPU these page faults
cost up to half of the time of a step.

The batches of a long recording are all of different sizes. glibc keeps freed blocks of up to 32 MiB
for itself, where those of other sizes do not fit in, and oneDNN keeps code for a thousand sizes:
over three hours of audio the process doubles. Handing back blocks from 1 MiB on costs about a
twentieth of the time, the smaller store nothing that could be measured, and what one batch needs is
nearly all that is held.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
_TRIM_THRESHOLD = 2**31 - 1
_SMALLEST_BLOCK = 1024 * 1024
_SIZES_KEPT = "16"


def keep_freed_memory() -> bool:
    """Ask glibc not to give memory back; False where the C library is another one."""
    return _set(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and _set(
        _M_TRIM_THRESHOLD, _TRIM_THRESHOLD
    )


def give_freed_memory_back() -> bool:
    """Ask glibc to hand large blocks back; False where the C library is another one.

    oneDNN looks at its variable once, before the first batch of the process.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _SIZES_KEPT)
    return _set(_M_MMAP_THRESHOLD, _SMALLEST_BLOCK)


def _set(parameter: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt is not None and mallopt(parameter, value))
