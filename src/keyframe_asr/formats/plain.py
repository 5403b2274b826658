"""Plain text, one line a recording, and JSON, every field of the transcript by its name."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from keyframe_asr.results import Transcript

DECIMALS = 4
"""Of times, in seconds, confidences and scores."""


def to_text(transcript: Transcript, name: str) -> str:
    """The text as one line, an empty one where nothing was said."""
    del name
    return " ".join(transcript.text.split()) + "\n"


def to_json(transcript: Transcript, name: str) -> str:
    """For a file: indented, with the name of the recording as `audio`."""
    return json.dumps(_described(transcript, name), ensure_ascii=False, indent=2) + "\n"


def json_line(transcript: Transcript, name: str) -> str:
    """The same on a single line without line break, as JSON Lines has it."""
    return json.dumps(_described(transcript, name), ensure_ascii=False)


def _described(transcript: Transcript, name: str) -> dict[str, object]:
    return {"audio": name, **_rounded(asdict(transcript))}


def _rounded(value: Any) -> Any:
    """The same with its numbers rounded, which never turns their order."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, DECIMALS) if isinstance(value, float) else value
