"""The output formats as an option of several verbs, and how a transcript leaves the program."""

from __future__ import annotations

from enum import StrEnum

from keyframe_asr.formats import json_line, render
from keyframe_asr.results import Transcript


class Format(StrEnum):
    """What is written for each recording: the keys of `keyframe_asr.formats.FORMATS`."""

    text = "text"
    json = "json"
    srt = "srt"
    vtt = "vtt"
    ctm = "ctm"
    textgrid = "textgrid"


def printed(transcript: Transcript, output: Format, name: str, several: bool = False) -> str:
    """What goes to standard output: text and json as one line, which names the recording."""
    if output is Format.json:
        return json_line(transcript, name) + "\n"
    content = render(transcript, output, name)
    return f"{name}\t{content}" if output is Format.text and several else content
