"""What `/openapi.json` says of the routes for recordings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keyframe_asr.server.hot_words import MOST_KEYWORDS
from keyframe_asr.server.transcription_form import (
    GRANULARITIES,
    LARGEST_FIELD,
    PADDING_MS,
    PAUSE_MS,
    RESPONSE_FORMATS,
)

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "maxLength": LARGEST_FIELD}

ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}

_ERRORS = {
    400: "A field that is unknown or has a value that is not possible, or a damaged recording.",
    401: "No valid API key.",
    403: "A page of an origin that is not served.",
    404: "A model that is not served.",
    408: "The request did not arrive in time.",
    413: "The recording is larger or longer than allowed.",
    415: "The recording is in a format that is not read.",
    429: "Too many recordings are in progress; try again after Retry-After seconds.",
    500: "The recording could not be recognised.",
    503: "The server starts or stops; try again after Retry-After seconds.",
}


def error_responses(*statuses: int) -> dict[int | str, Schema]:
    """Return the errors that a route answers with."""
    content = {"application/json": {"schema": ERROR}}
    return {one: {"description": _ERRORS[one], "content": content} for one in statuses}


ALL_ERRORS = error_responses(*_ERRORS)


def _list(items: Schema, most: int, text: str) -> Schema:
    return {"type": "array", "items": items, "maxItems": most, "description": text}


def _choice(choices: Iterable[str], text: str = "") -> Schema:
    return {"type": "string", "enum": list(choices), "description": text}


_SERVER_VAD: Schema = {
    "type": "object",
    "required": ["type"],
    "additionalProperties": False,
    "properties": {
        "type": _choice(["server_vad"]),
        "silence_duration_ms": {
            "type": "number",
            "minimum": PAUSE_MS[0],
            "maximum": PAUSE_MS[1],
            "description": "Shortest pause at which a recording of more than 30 s is cut.",
        },
        "prefix_padding_ms": {
            "type": "number",
            "minimum": PADDING_MS[0],
            "maximum": PADDING_MS[1],
            "description": "Silence that is kept before and after speech.",
        },
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Without effect: pauses are told by the level of the recording.",
        },
    },
}

FORM: Schema = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The recording."},
        "model": _TEXT | {"description": "Name of a model; the first by default."},
        "language": _TEXT
        | {"description": "What is spoken, as a tag or English name that the model writes."},
        "languages[]": _list(_TEXT, 20, "Languages that may be spoken."),
        "prompt": _TEXT
        | {"description": "Words and phrases that may occur, separated by commas, as hints."},
        "keywords[]": _list(
            {"type": "string", "maxLength": 200},
            MOST_KEYWORDS,
            "Words and phrases that occur, each optionally with a tab and its weight.",
        ),
        "response_format": _choice(RESPONSE_FORMATS, "Format of the answer; json by default."),
        "temperature": {"type": "number", "const": 0, "description": "0; nothing is sampled."},
        "timestamp_granularities[]": _list(
            _choice(GRANULARITIES), 2, "What verbose_json lists; segment by default."
        ),
        "include[]": _list(_choice(["logprobs"]), 1, "logprobs: json lists the tokens."),
        "stream": {
            "type": "boolean",
            "description": "Send text as events while the recording is recognised; json and text.",
        },
        "chunking_strategy": {
            "anyOf": [_choice(["auto"]), _SERVER_VAD],
            "description": "How a recording of more than 30 s is cut.",
        },
    },
}

REQUEST: Schema = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": FORM}},
    }
}

_NUMBER, _STRING, _INTEGER = {"type": "number"}, {"type": "string"}, {"type": "integer"}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    properties = required | (optional or {})
    return {"type": "object", "required": list(required), "properties": properties}


_USAGE = _object({"type": _choice(["duration"]), "seconds": _NUMBER})
_LOGPROB = _object(
    {"token": _STRING, "bytes": {"type": "array", "items": _INTEGER}, "logprob": _NUMBER}
)
_SEGMENT = _object(
    {
        "id": _INTEGER,
        "seek": _INTEGER,
        "start": _NUMBER,
        "end": _NUMBER,
        "text": _STRING,
        "tokens": {"type": "array", "items": _INTEGER},
        "temperature": _NUMBER,
        "avg_logprob": _NUMBER,
        "compression_ratio": _NUMBER,
        "no_speech_prob": _NUMBER,
    }
)
_WORD = _object({"word": _STRING, "start": _NUMBER, "end": _NUMBER})
_BRIEF = _object(
    {"text": _STRING, "usage": _USAGE}, {"logprobs": {"type": "array", "items": _LOGPROB}}
)
_VERBOSE = _object(
    {
        "task": _choice(["transcribe"]),
        "language": _STRING,
        "duration": _NUMBER,
        "text": _STRING,
        "usage": _USAGE,
    },
    {
        "segments": {"type": "array", "items": _SEGMENT},
        "words": {"type": "array", "items": _WORD},
    },
)

ANSWERS: Schema = {
    "description": "The transcript.",
    "content": {
        "application/json": {"schema": {"anyOf": [_BRIEF, _VERBOSE]}},
        "text/plain": {"schema": _STRING},
        "text/vtt": {"schema": _STRING},
        "text/event-stream": {"schema": _STRING},
    },
}

MODEL = _object(
    {
        "id": _STRING,
        "object": _choice(["model"]),
        "created": _INTEGER,
        "owned_by": _STRING,
    }
)
MODELS = _object({"object": _choice(["list"]), "data": {"type": "array", "items": MODEL}})


def answer_of(schema: Schema, text: str) -> Schema:
    """Return the description of an answer in JSON."""
    return {"description": text, "content": {"application/json": {"schema": schema}}}
