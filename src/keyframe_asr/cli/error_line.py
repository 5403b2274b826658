"""Print an error as one line."""

from __future__ import annotations

import sys

from keyframe_asr.errors import KeyframeError


def show_error(error: KeyframeError) -> None:
    """Print the error on standard error, as one line even if a file name has line breaks."""
    print(f"keyframe: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
