"""Output formats: renders a `Transcript` as text, JSON, SRT, WebVTT, CTM or TextGrid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keyframe_asr.formats.ctm import to_ctm
from keyframe_asr.formats.plain import json_line, to_json, to_text
from keyframe_asr.formats.subtitles import to_srt, to_vtt
from keyframe_asr.formats.textgrid import to_textgrid
from keyframe_asr.results import Transcript

__all__ = ["FORMATS", "OutputFormat", "json_line", "render"]


@dataclass(frozen=True)
class OutputFormat:
    """An output format: file suffix and rendering function.

    `write` takes a transcript and the name of its recording, usually its path, and returns the
    content of the file.
    """

    suffix: str
    write: Callable[[Transcript, str], str]


FORMATS = {
    "text": OutputFormat(".txt", to_text),
    "json": OutputFormat(".json", to_json),
    "srt": OutputFormat(".srt", to_srt),
    "vtt": OutputFormat(".vtt", to_vtt),
    "ctm": OutputFormat(".ctm", to_ctm),
    "textgrid": OutputFormat(".TextGrid", to_textgrid),
}
"""Formats by their name on the command line."""


def render(transcript: Transcript, format: str, name: str) -> str:
    """Render a transcript as the content of a file, including the final line break.

    CTM and SRT files without words are empty.

    Args:
        transcript: the transcript.
        format: a key of `FORMATS`.
        name: of the recording: `audio` in JSON, the file name in CTM.

    Raises:
        KeyError: there is no such format.
    """
    return FORMATS[format].write(transcript, name)
