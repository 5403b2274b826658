"""`/v1/stream`: samples in, text out; the protocol of docs/guides/server_stream.md."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, WebSocket
from starlette.datastructures import QueryParams

from keyframe_asr.errors import KeyframeError
from keyframe_asr.formats.plain import DECIMALS
from keyframe_asr.inference.options import RecognitionOptions, StreamOptions
from keyframe_asr.results import Transcript
from keyframe_asr.server.hot_words import checked_keywords
from keyframe_asr.server.languages import checked_language
from keyframe_asr.server.service import (
    LiveStream,
    LiveUpdate,
    ModelFacts,
    RecognitionService,
    UnknownModelError,
)
from keyframe_asr.server.settings import ServerSettings
from keyframe_asr.server.sockets import (
    FINISHED,
    STOPPING,
    Client,
    Closing,
    MessageError,
    converse,
    details,
    together,
)
from keyframe_asr.timing import SAMPLE_RATE

RATES = (8_000, 192_000)
"""Lowest and highest sample rate in hertz."""

PARAMETERS = ("model", "rate", "language", "keywords")

LONGEST_TEXT = 1_000
"""Characters of a text message."""

TICK = 1.0
"""A message is sent at least every so many seconds of audio."""


def router(service: RecognitionService, settings: ServerSettings) -> APIRouter:
    """Return the route."""
    found = APIRouter()

    @found.websocket("/v1/stream")
    async def stream(websocket: WebSocket) -> None:
        """Recognise speech while it is spoken."""

        async def talk(client: Client) -> None:
            draining = websocket.app.state.activity.draining
            await _talk(client, service, websocket.query_params, draining)

        await converse(websocket, settings.idle_timeout, talk, _error)

    return found


async def _talk(
    client: Client, service: RecognitionService, query: QueryParams, draining: asyncio.Event
) -> None:
    model, rate, options = _asked(query, service.models)
    stream = await service.open_stream(model.name, options, rate)
    try:
        await client.send(
            {
                "type": "ready",
                "model": model.name,
                "sample_rate": rate,
                "frame_seconds": model.frame_seconds,
                "emission_delay": model.emission_delay,
                "streams": model.streams,
                "languages": list(model.languages),
            }
        )
        await _Conversation(client, stream, model, draining).run()
    finally:
        stream.close()


class _Conversation:
    """One stream and its client."""

    def __init__(
        self, client: Client, stream: LiveStream, model: ModelFacts, draining: asyncio.Event
    ) -> None:
        self._client, self._stream, self._model = client, stream, model
        self._draining = draining
        self._finished = False
        self._odd = b""
        self._began: float | None = None

    async def run(self) -> None:
        """Pass on samples and text until the stream has ended; raises `Closing` then."""
        await together(self._hear(), self._tell(), self._drain())

    async def _hear(self) -> None:
        while True:
            content = await self._client.next()
            if self._finished:
                continue
            if isinstance(content, bytes):
                samples = self._samples(content)
                if samples.size:
                    await self._stream.send(samples)
            else:
                _check_finish(content)
                await self._finish()

    def _samples(self, content: bytes) -> npt.NDArray[np.int16]:
        """Return the samples (S,) of a message, which may end within one."""
        content = self._odd + content
        whole = len(content) // 2 * 2
        self._odd = content[whole:]
        return np.frombuffer(content[:whole], "<i2")

    async def _tell(self) -> None:
        told, shown = 0.0, ("", "")
        heard = 0.0
        async for live in self._stream.updates():
            update, heard = live.update, live.seconds
            for transcript in update.final:
                await self._client.send(self._final(transcript))
            self._began = live.speech_start
            now = (update.text, update.partial)
            if update.committed or now != shown or heard - told >= TICK:
                await self._client.send(self._partial(live))
                told, shown = heard, now
        await self._client.send({"type": "done", "seconds": round(heard, DECIMALS)})
        if self._draining.is_set():
            raise Closing(STOPPING, "the server is about to stop")
        raise Closing(FINISHED)

    async def _drain(self) -> None:
        await self._draining.wait()
        await self._finish()

    async def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            await self._stream.finish()

    def _partial(self, live: LiveUpdate) -> dict[str, object]:
        tokens, start = live.update.committed, live.speech_start
        return {
            "type": "partial",
            "seconds": round(live.seconds, DECIMALS),
            "start": None if start is None else round(start, DECIMALS),
            "text": live.update.text,
            "partial": live.update.partial,
            "tokens": Transcript("", list(tokens)).to_dict()["tokens"],
            "keyframes": [
                round(one.start + self._model.emission_delay, DECIMALS) for one in tokens
            ],
        }

    def _final(self, transcript: Transcript) -> dict[str, object]:
        start = self._began
        if start is None:  # the second utterance that ends at once
            start = transcript.tokens[0].start if transcript.tokens else 0.0
        self._began = None
        fields = {
            **transcript.to_dict(),
            "start": round(start, DECIMALS),
            "end": round(start + transcript.duration, DECIMALS),
            "keyframes": [round(time, DECIMALS) for time in transcript.keyframes],
            "frames": round(transcript.duration / self._model.frame_seconds),
        }
        return {"type": "final", "transcript": fields}


def _asked(
    query: QueryParams, models: Mapping[str, ModelFacts]
) -> tuple[ModelFacts, int, StreamOptions]:
    """Return what the parameters of the address ask for. Raises `KeyframeError`."""
    for name in query:
        if name not in PARAMETERS:
            raise MessageError(
                f"there is no parameter '{name[:50]}'; use {', '.join(PARAMETERS)}",
                "unknown_parameter",
                name[:50],
            )
    name = query.get("model", next(iter(models)))
    if name not in models:
        raise UnknownModelError.of(name, models)
    given = query.get("rate", str(SAMPLE_RATE))
    rate = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else 0
    if not RATES[0] <= rate <= RATES[1]:
        raise MessageError(
            f"rate is '{given[:20]}'; give hertz, from {RATES[0]} to {RATES[1]}", param="rate"
        )
    model, language = models[name], query.get("language")
    recognition = RecognitionOptions(
        language=None if language is None else checked_language(language, model),
        hotwords=checked_keywords(query.getlist("keywords")) or None,
    )
    return model, rate, StreamOptions(recognition=recognition)


def _check_finish(content: str) -> None:
    """Raise `MessageError` if a message is not the one that ends a stream."""
    try:
        message = json.loads(content) if len(content) <= LONGEST_TEXT else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or message.get("type") != "finish":
        raise MessageError(
            'a message is neither samples nor {"type": "finish"}; send binary messages of 16-bit '
            "samples",
            "invalid_message",
        )


def _error(error: KeyframeError) -> dict[str, object]:
    return {"type": "error", "error": details(error)}
