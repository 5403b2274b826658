"""Gives freed memory back to the system: batches of a long recording are all of different sizes.

glibc keeps freed blocks of up to 32 MiB for itself, where those of other sizes do not fit in, and
oneDNN keeps code for a thousand sizes: over three hours of audio the process doubles. Handing back
blocks from 1 MiB on costs about a twentieth of the time, the smaller store nothing that could be
measured, and what one batch needs is nearly all that is held.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_MMAP_THRESHOLD = -3
_SMALLEST_BLOCK = 1024 * 1024
_SIZES_KEPT = "16"


def give_freed_memory_back() -> bool:
    """Ask glibc to hand large blocks back; False where the C library is another one.

    oneDNN looks at its variable once, before the first batch of the process.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _SIZES_KEPT)
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt is not None and mallopt(_M_MMAP_THRESHOLD, _SMALLEST_BLOCK))
