"""Output formats: a `Transcript` as text, JSON, JSON Lines, SRT, WebVTT, CTM or TextGrid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keyframe_asr.formats.ctm import to_ctm
from keyframe_asr.formats.plain import escaped, to_json, to_json_line, to_text
from keyframe_asr.formats.source import Source, TranscriptLike
from keyframe_asr.formats.subtitles import to_srt, to_vtt
from keyframe_asr.formats.textgrid import to_textgrid

__all__ = ["FORMATS", "OutputFormat", "Source", "escaped", "render"]


@dataclass(frozen=True)
class OutputFormat:
    """An output format: file suffix and rendering function.

    `write` takes a transcript and its source, and returns the content of the file.
    """

    suffix: str
    write: Callable[[TranscriptLike, Source], str]


FORMATS = {
    "text": OutputFormat(".txt", to_text),
    "json": OutputFormat(".json", to_json),
    "jsonl": OutputFormat(".jsonl", to_json_line),
    "srt": OutputFormat(".srt", to_srt),
    "vtt": OutputFormat(".vtt", to_vtt),
    "ctm": OutputFormat(".ctm", to_ctm),
    "textgrid": OutputFormat(".TextGrid", to_textgrid),
}
"""Formats by their name on the command line."""


def render(transcript: TranscriptLike, format: str, source: Source | str) -> str:
    """Render a transcript as the content of a file, including the final line break.

    CTM and SRT files without words are empty.

    Args:
        transcript: the transcript.
        format: a key of `FORMATS`.
        source: the recording and what recognised it, or just the name of the recording.

    Raises:
        KeyError: there is no such format.
    """
    known = Source(source) if isinstance(source, str) else source
    return FORMATS[format].write(transcript, known)
