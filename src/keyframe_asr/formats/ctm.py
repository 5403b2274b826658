"""CTM, the time-marked word format of NIST's scoring tools.

One word per line: file, channel, start, duration, word, confidence.
"""

from __future__ import annotations

from pathlib import PurePath

from keyframe_asr.formats.timed_text import MILLISECONDS, clean, words_of
from keyframe_asr.results import Transcript

CHANNEL = 1
"""Recordings are converted to mono before recognition."""


def to_ctm(transcript: Transcript, name: str) -> str:
    """One line per word, times in seconds to the millisecond; "" without words.

    The file field is the recording's name without folder and suffix, with underscores for spaces.
    """
    file = "_".join(clean(PurePath(name).stem).split()) or "-"
    if file.startswith(";;"):  # marks a comment in CTM
        file = f"_{file}"
    lines = []
    for word in words_of(transcript):
        text = "_".join(clean(word.text).split())
        start, end = (round(time * MILLISECONDS) for time in (word.start, word.end))
        if text:
            length = max(0, end - start) / MILLISECONDS
            lines.append(
                f"{file} {CHANNEL} {start / MILLISECONDS:.3f} {length:.3f} {text} "
                f"{word.confidence:.3f}\n"
            )
    return "".join(lines)
