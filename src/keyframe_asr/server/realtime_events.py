"""The events that `/v1/realtime` sends, as OpenAI's Realtime API has them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from keyframe_asr.results import Token, Transcript
from keyframe_asr.server.response_formats import token_logprobs

Event: TypeAlias = dict[str, object]

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
    return found if tokens is None else {**found, "logprobs": token_logprobs(tokens)}


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
        found["logprobs"] = token_logprobs(transcript.tokens)
    return found


def failed(item: str, details: Mapping[str, object]) -> Event:
    """Return the event of an item that cannot be recognised."""
    return event(f"{_TRANSCRIPTION}.failed", item_id=item, content_index=0, error=details)
