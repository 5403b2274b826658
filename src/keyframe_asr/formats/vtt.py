"""WebVTT (W3C): cues for the web, with the characters of its markup escaped."""

from __future__ import annotations

from keyframe_asr.formats.cues import cues_of
from keyframe_asr.formats.srt import clock
from keyframe_asr.results import Transcript

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def to_vtt(transcript: Transcript, name: str) -> str:
    """The header, then one block a cue."""
    del name
    blocks = ["WEBVTT\n"]
    for cue in cues_of(transcript):
        text = "\n".join(cue.lines).translate(_ESCAPES)
        blocks.append(f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{text}\n")
    return "\n".join(blocks)
