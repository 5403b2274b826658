"""The events that `/v1/realtime` sends, as OpenAI's Realtime API has them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from keyframe_asr.decoding.timestamps import WORD_BOUNDARY
from keyframe_asr.results import Token, Transcript

Event: TypeAlias = dict[str, object]

LEAST_CONFIDENCE = 1e-10
"""Confidences below this are reported as this, because the logarithm of 0 is no number in JSON."""

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def new_id(kind: str) -> str:
    """Return a new identifier of a kind: `item_...`."""
    return f"{kind}_{uuid.uuid4().hex}"


def event(name: str, **fields: object) -> Event:
    """Return an event with an identifier of its own."""
    return {"type": name, "event_id": new_id("event"), **fields}


def error(details: Mapping[str, object], cause: str | None) -> Event:
    """Return the event of an error.

    Args:
        details: message, type, code and param.
        cause: identifier of the client's event that caused it.
    """
    return event("error", error={**details, "event_id": cause})


def speech_started(item: str, seconds: float) -> Event:
    """Return the event of an utterance that has begun."""
    milliseconds = round(1000 * seconds)
    return event("input_audio_buffer.speech_started", item_id=item, audio_start_ms=milliseconds)


def speech_stopped(item: str, seconds: float) -> Event:
    """Return the event of an utterance that has ended."""
    milliseconds = round(1000 * seconds)
    return event("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=milliseconds)


def committed(item: str, previous: str | None) -> list[Event]:
    """Return the events of audio that has become an item of the conversation."""
    content = {"type": "input_audio", "transcript": None}
    fields = {
        "id": item,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [content],
    }
    return [
        event("input_audio_buffer.committed", item_id=item, previous_item_id=previous),
        event("conversation.item.added", item=fields, previous_item_id=previous),
        event("conversation.item.done", item=fields, previous_item_id=previous),
    ]


def delta(item: str, text: str, tokens: Sequence[Token] | None = None) -> Event:
    """Return the event of more text, with the probabilities of its tokens if they are asked for."""
    found = event(f"{_TRANSCRIPTION}.delta", item_id=item, content_index=0, delta=text)
    return found if tokens is None else {**found, "logprobs": _log_probabilities(tokens)}


def completed(item: str, transcript: Transcript, *, probabilities: bool) -> Event:
    """Return the event of an item that has been recognised."""
    found = event(
        f"{_TRANSCRIPTION}.completed",
        item_id=item,
        content_index=0,
        transcript=transcript.text,
        usage={"type": "duration", "seconds": round(transcript.duration, 3)},
    )
    if probabilities:
        found["logprobs"] = _log_probabilities(transcript.tokens)
    return found


def failed(item: str, details: Mapping[str, object]) -> Event:
    """Return the event of an item that cannot be recognised."""
    return event(f"{_TRANSCRIPTION}.failed", item_id=item, content_index=0, error=details)


def _log_probabilities(tokens: Sequence[Token]) -> list[Event]:
    found: list[Event] = []
    for token in tokens:
        text = token.text.replace(WORD_BOUNDARY, " ")
        probability = max(token.confidence, LEAST_CONFIDENCE)
        log_probability = round(math.log(probability), 4)
        found.append({"token": text, "bytes": [*text.encode()], "logprob": log_probability})
    return found
