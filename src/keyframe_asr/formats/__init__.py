"""A transcript as a text of one of the formats that other programs read.

Nothing here needs tensors or files: whoever has a `Transcript`, from whichever engine, can render
it.
"""

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
    """One format: the suffix of its files, and what makes the content of a file.

    `write` takes a transcript and the name of its recording, usually its path.
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
"""By the name that the command line gives them."""


def render(transcript: Transcript, format: str, name: str) -> str:
    """The whole content of a file, with its last line break; "" where CTM or SRT has nothing.

    Args:
        transcript: what was recognised.
        format: a key of `FORMATS`.
        name: of the recording: JSON has it as `audio`, CTM names the file by it.

    Raises:
        KeyError: there is no such format.
    """
    return FORMATS[format].write(transcript, name)
