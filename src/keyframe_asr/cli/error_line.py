"""How the command line tells a user's mistake."""

from __future__ import annotations

import sys

from keyframe_asr.errors import KeyframeError


def show_error(error: KeyframeError) -> None:
    """One line on standard error, even where a file name has line breaks."""
    print(f"keyframe: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
