"""SRT (SubRip): numbered cues with times to the millisecond.

The format has no way to escape; of the text only the arrow that marks times is replaced.
"""

from __future__ import annotations

from keyframe_asr.formats.cues import cues_of
from keyframe_asr.formats.spans import MILLISECONDS
from keyframe_asr.results import Transcript


def to_srt(transcript: Transcript, name: str) -> str:
    """One block a cue; "" where nothing was said."""
    del name
    blocks = [
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n{_text(cue.lines)}\n"
        for number, cue in enumerate(cues_of(transcript), 1)
    ]
    return "\n".join(blocks)


def clock(milliseconds: int, separator: str) -> str:
    """Hours, minutes, seconds and thousandths: 00:01:02,345."""
    seconds, rest = divmod(milliseconds, MILLISECONDS)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{separator}{rest:03}"


def _text(lines: tuple[str, ...]) -> str:
    return "\n".join(lines).replace("-->", "→")
