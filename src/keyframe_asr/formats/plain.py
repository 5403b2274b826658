"""Plain text, one line per recording, and JSON with all fields of the transcript.

JSON has the shape that other recognisers give it: segments with their words. Words and tokens are
there once; the segment of a token is the one whose times enclose it. `normal_text` is there if the
model displays texts in another form than it is scored in.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import asdict
from typing import Any

from keyframe_asr.formats.source import Source, TranscriptLike
from keyframe_asr.transcript_parts import Segment, Word

DECIMALS = 4
"""Decimals of times in seconds, confidences and scores."""

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def to_text(transcript: TranscriptLike, source: Source) -> str:
    """The text as one line; an empty line without words."""
    del source
    return " ".join(transcript.text.split()) + "\n"


def to_json(transcript: TranscriptLike, source: Source) -> str:
    """Indented JSON for a file."""
    return json.dumps(_fields(transcript, source), ensure_ascii=False, indent=2) + "\n"


def to_json_line(transcript: TranscriptLike, source: Source) -> str:
    """The same JSON on a single line, for JSON Lines."""
    return json.dumps(_fields(transcript, source), ensure_ascii=False) + "\n"


def escaped(name: str) -> str:
    r"""A name as a field of a line: backslash, tab and line breaks as `\\`, `\t`, `\n`, `\r`.

    Other control characters and separators become `\x1b` or `\u2028`.
    """
    return "".join(_ESCAPES.get(character) or _visible(character) for character in name)


def _visible(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
        return character.encode("unicode_escape").decode()
    return character


def fields_of(transcript: TranscriptLike) -> dict[str, object]:
    """The fields of a transcript as values for JSON, numbers rounded."""
    found = {
        **_language(transcript),
        "duration": transcript.duration,
        "frame_reduction": transcript.frame_reduction,
        **_texts(transcript),
        "segments": [*map(_segment_fields, _segments(transcript))],
        "tokens": [*map(asdict, transcript.tokens)],
        "alternatives": [*map(asdict, transcript.alternatives)],
    }
    rounded: dict[str, object] = _rounded(found)
    return rounded


def _segment_fields(one: Segment) -> dict[str, object]:
    words = [
        {**_texts(word), "start": word.start, "end": word.end, "confidence": word.confidence}
        for word in one.words
    ]
    times = {"start": one.start, "end": one.end}
    return {**times, **_language(one), **_texts(one), "words": words}


def _texts(one: TranscriptLike | Segment | Word) -> dict[str, str]:
    """The text, and as it is scored where the model displays another."""
    return {"text": one.text} | ({} if one.normal is None else {"normal_text": one.normal})


def _language(one: TranscriptLike | Segment) -> dict[str, str]:
    return {} if one.language is None else {"language": one.language}


def _fields(transcript: TranscriptLike, source: Source) -> dict[str, object]:
    return {"audio": source.name, **source.settings, **fields_of(transcript)}


def _segments(transcript: TranscriptLike) -> list[Segment]:
    """The segments of a transcript; without any, its whole text as one."""
    words = transcript.words
    if transcript.segments or not (words or transcript.text):
        return transcript.segments
    start, end = (words[0].start, words[-1].end) if words else (0.0, transcript.duration)
    return [Segment(transcript.text, start, end, transcript.tokens, words)]


def _rounded(value: Any) -> Any:
    """Round all floats of nested dicts and lists; rounding keeps their order."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, DECIMALS) if isinstance(value, float) else value
