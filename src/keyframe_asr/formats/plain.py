"""Plain text, one line per recording, and JSON with all fields of the transcript."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from keyframe_asr.results import Transcript

DECIMALS = 4
"""Decimals of times in seconds, confidences and scores."""


def to_text(transcript: Transcript, name: str) -> str:
    """The text as one line; an empty line without words."""
    del name
    return " ".join(transcript.text.split()) + "\n"


def to_json(transcript: Transcript, name: str) -> str:
    """Indented JSON for a file, with the name of the recording as `audio`."""
    return json.dumps(_fields(transcript, name), ensure_ascii=False, indent=2) + "\n"


def json_line(transcript: Transcript, name: str) -> str:
    """The same JSON on a single line without line break, for JSON Lines."""
    return json.dumps(_fields(transcript, name), ensure_ascii=False)


def _fields(transcript: Transcript, name: str) -> dict[str, object]:
    return {"audio": name, **_rounded(asdict(transcript))}


def _rounded(value: Any) -> Any:
    """Round all floats of nested dicts and lists; rounding keeps their order."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, DECIMALS) if isinstance(value, float) else value
