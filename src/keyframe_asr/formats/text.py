"""Plain text: one line a recording."""

from __future__ import annotations

from keyframe_asr.results import Transcript


def to_text(transcript: Transcript, name: str) -> str:
    """The text as one line, an empty one where nothing was said."""
    del name
    return " ".join(transcript.text.split()) + "\n"
