"""CTM, the time-marked words of NIST's scoring programs: file, channel, start, duration, word,
confidence, one word a line."""

from __future__ import annotations

from pathlib import PurePath

from keyframe_asr.formats.timed_text import MILLISECONDS, clean, words_of
from keyframe_asr.results import Transcript

CHANNEL = 1
"""Recordings are mono by the time they are recognised."""


def to_ctm(transcript: Transcript, name: str) -> str:
    """One line a word, in seconds to the millisecond; "" where nothing was said.

    The file is the recording's name without folder and suffix, white space as underscores.
    """
    file = "_".join(clean(PurePath(name).stem).split()) or "-"
    if file.startswith(";;"):  # begins a comment
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
