"""The output formats as an option of several verbs, and how a transcript leaves the program."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path

from keyframe_asr.errors import KeyframeError
from keyframe_asr.results import Transcript


class Format(StrEnum):
    """What is written for each recording."""

    text = "text"
    json = "json"


SUFFIXES = {"text": ".txt", "json": ".json"}


def render(transcript: Transcript, output: Format, name: str) -> str:
    """The whole content of a file."""
    if output is Format.json:
        described = {"audio": name, **asdict(transcript)}
        return json.dumps(described, ensure_ascii=False, indent=2) + "\n"
    return transcript.text + "\n"


def printed(transcript: Transcript, output: Format, name: str, several: bool = False) -> str:
    """What goes to standard output: text and json as one line, which names the recording."""
    if output is Format.json:
        return json.dumps({"audio": name, **asdict(transcript)}, ensure_ascii=False) + "\n"
    content = render(transcript, output, name)
    return f"{name}\t{content}" if output is Format.text and several else content


def write_whole(target: Path, content: str) -> None:
    """Write a file whole or not at all. Raises `KeyframeError` if it cannot be written."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, target)
    except OSError as error:
        raise KeyframeError(f"{target}: cannot be written: {error.strerror}") from None
