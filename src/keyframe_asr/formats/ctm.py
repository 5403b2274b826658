"""CTM, the time-marked word format of NIST's scoring tools.

One word per line: file, channel, start, duration, word, confidence.
"""

from __future__ import annotations

from pathlib import PurePath

from keyframe_asr.formats.source import Source, TranscriptLike
from keyframe_asr.formats.timed_text import MILLISECONDS, clean, normal_words, words_of


def file_field(id: str) -> str:
    """An id as the file field of a line: underscores for spaces."""
    file = "_".join(clean(id).split()) or "-"
    return f"_{file}" if file.startswith(";;") else file  # which marks a comment in CTM


def to_ctm(transcript: TranscriptLike, source: Source) -> str:
    """One line per word as it is scored, times in seconds to the millisecond; "" without words."""
    file = file_field(PurePath(source.name).stem if source.id is None else source.id)
    lines = []
    for word in normal_words(words_of(transcript)):
        text = "_".join(clean(word.text).split())
        start, end = (round(time * MILLISECONDS) for time in (word.start, word.end))
        if text:
            length = max(0, end - start) / MILLISECONDS
            lines.append(
                f"{file} {source.channel} {start / MILLISECONDS:.3f} {length:.3f} {text} "
                f"{word.confidence:.3f}\n"
            )
    return "".join(lines)
