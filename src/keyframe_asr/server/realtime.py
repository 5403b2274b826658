"""`/v1/realtime`: live transcription as OpenAI's Realtime API does it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fastapi import APIRouter, WebSocket
from starlette.datastructures import QueryParams

from keyframe_asr.audio.arrays import checked_samples
from keyframe_asr.errors import KeyframeError
from keyframe_asr.results import Transcript
from keyframe_asr.server import realtime_events as events
from keyframe_asr.server.realtime_events import Event
from keyframe_asr.server.realtime_session import (
    Configuration,
    Transcription,
    audio_of,
    kind_of,
    parsed,
)
from keyframe_asr.server.realtime_turns import Conversation, Item, Turns
from keyframe_asr.server.service import (
    LiveStream,
    RecognitionService,
    ServerBusyError,
    ServerFullError,
    WorkerError,
)
from keyframe_asr.server.settings import ServerSettings
from keyframe_asr.server.sockets import (
    STOPPING,
    Client,
    Closing,
    MessageError,
    converse,
    details,
    together,
)

LARGEST_BUFFER = 30 * 2**20
"""Bytes of audio that wait for a commit: 10.9 minutes at 24 kHz."""

SHORTEST_COMMIT = 0.1
"""Seconds of audio in an item, at least."""


def router(service: RecognitionService, settings: ServerSettings) -> APIRouter:
    """Return the route."""
    found = APIRouter()
    sessions: set[WebSocket] = set()

    @found.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        """Transcribe live speech, as OpenAI's Realtime API does with `intent=transcription`."""

        async def talk(client: Client) -> None:
            if len(sessions) >= service.max_streams:
                raise ServerFullError(
                    f"all {service.max_streams} streams are taken; try again in a while"
                )
            sessions.add(websocket)
            try:
                configuration = _asked(websocket.query_params, service)
                draining = websocket.app.state.activity.draining
                await _Session(client, service, configuration, draining).run()
            finally:
                sessions.discard(websocket)

        await converse(websocket, settings.idle_timeout, talk, _error)

    return found


def _asked(query: QueryParams, service: RecognitionService) -> Configuration:
    """Return the first configuration. Raises `KeyframeError`."""
    intent = query.get("intent", "transcription")
    if intent != "transcription":
        raise MessageError(
            f"intent is '{intent[:50]}'; this server only transcribes: intent=transcription",
            param="intent",
        )
    model = query.get("model", next(iter(service.models)))
    configuration = Configuration(Transcription(model))
    asked = {"type": "transcription", "audio": {"input": {"transcription": {"model": model}}}}
    return configuration.updated(asked, service.models)


@dataclass
class _Live:
    """A stream whose items the server ends.

    Attributes:
        stream: what recognises it.
        turns: its items.
        cleared: nothing more is told of it.
        commit: identifier of the event with which the client ended it.
    """

    stream: LiveStream
    turns: Turns
    cleared: bool = False
    commit: str | None = None


@dataclass(frozen=True)
class _Recording:
    """Audio that the client has committed: samples of 16 bits, and how they are recognised."""

    item: str
    audio: bytes
    configuration: Configuration


class _Session:
    """One client's session.

    What it says is heard by one task, and recognised by another in the same order, which is at most
    one item behind.
    """

    def __init__(
        self,
        client: Client,
        service: RecognitionService,
        configuration: Configuration,
        draining: asyncio.Event,
    ) -> None:
        self._client, self._service, self._draining = client, service, draining
        self._configuration = configuration
        self._id = events.new_id("sess")
        self._conversation = Conversation()
        self._buffer = bytearray()
        self._live: _Live | None = None
        self._seconds = 0.0
        self._work: asyncio.Queue[_Live | _Recording] = asyncio.Queue(1)
        self._streams: set[LiveStream] = set()
        self._handlers: Mapping[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "session.update": self._update,
            "transcription_session.update": self._update_by_beta,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }

    async def run(self) -> None:
        """Hold the session; ends by raising."""
        session = self._configuration.to_dict(self._id)
        await self._send([events.event("session.created", session=session)])
        try:
            await together(self._hear(), self._recognise(), self._drain())
        finally:
            for stream in self._streams:
                stream.close()

    async def _hear(self) -> None:
        while True:
            content = await self._client.next()
            if self._draining.is_set():
                continue
            cause = None
            try:
                event = parsed(content)
                cause = _identifier(event)
                await self._handlers[kind_of(event, self._handlers)](event)
            except (ServerFullError, ServerBusyError, WorkerError):
                raise
            except KeyframeError as error:
                await self._send([events.error(details(error), cause)])

    async def _update(self, event: dict[str, Any]) -> None:
        changed = self._configuration.updated(event.get("session"), self._service.models)
        await self._change(changed)
        session = changed.to_dict(self._id)
        await self._send([events.event("session.updated", session=session)])

    async def _update_by_beta(self, event: dict[str, Any]) -> None:
        session, models = event.get("session"), self._service.models
        changed = self._configuration.updated_by_beta(session, models)
        await self._change(changed)
        session = changed.to_beta_dict(self._id)
        await self._send([events.event("transcription_session.updated", session=session)])

    async def _change(self, changed: Configuration) -> None:
        before, self._configuration = self._configuration, changed
        self._conversation.probabilities = changed.probabilities
        if before != replace(changed, probabilities=before.probabilities):
            self._buffer.clear()
            await self._end_stream()

    async def _append(self, event: dict[str, Any]) -> None:
        audio, rate = audio_of(event), self._configuration.rate
        if self._configuration.turns is None:
            if len(self._buffer) + len(audio) > LARGEST_BUFFER:
                raise MessageError(
                    f"the buffer has {len(self._buffer) / 2 / rate:.1f} s of audio, and there is "
                    f"room for {LARGEST_BUFFER / 2 / rate:.0f} s; commit or clear it",
                    "input_audio_buffer_full",
                    "audio",
                )
            self._buffer += audio
        elif audio:
            live = self._live or await self._open()
            await live.stream.send(np.frombuffer(audio, "<i2"))
        self._seconds += len(audio) / 2 / rate

    async def _open(self) -> _Live:
        await self._work.join()  # a session takes the place of one stream
        configuration = self._configuration
        stream = await self._service.open_stream(
            configuration.transcription.model,
            configuration.stream,
            configuration.rate,
            configuration.prompt,
        )
        self._streams.add(stream)
        live = self._live = _Live(stream, Turns(self._conversation, self._seconds))
        await self._work.put(live)
        if self._draining.is_set():  # meanwhile
            await self._end_stream()
        return live

    async def _commit(self, event: dict[str, Any]) -> None:
        if self._configuration.turns is not None:
            if self._live is None:
                raise _nothing_to_commit(0.0)
            self._live.turns.stopped_by_client = True
            self._live.commit = _identifier(event) or ""
            await self._end_stream()
            return
        seconds = len(self._buffer) / 2 / self._configuration.rate
        if seconds < SHORTEST_COMMIT:
            raise _nothing_to_commit(seconds)
        item = events.new_id("item")
        recording = _Recording(item, bytes(self._buffer), self._configuration)
        self._buffer.clear()
        await self._send(self._conversation.committed(item))
        await self._work.put(recording)

    async def _clear(self, event: dict[str, Any]) -> None:
        del event
        self._buffer.clear()
        if self._live is not None:
            self._live.cleared = True
            await self._end_stream()
        await self._send([events.event("input_audio_buffer.cleared")])

    async def _end_stream(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            await live.stream.finish()

    async def _recognise(self) -> None:
        while True:
            work = await self._work.get()
            if isinstance(work, _Live):
                await self._follow(work)
            else:
                await self._transcribe(work)
            self._work.task_done()

    async def _follow(self, live: _Live) -> None:
        """Tell what is new in a stream until it ends."""
        found: list[Event] = []
        async for update in live.stream.updates():
            found = live.turns.events(update)
            if not live.cleared:
                await self._send(found)
        if live.commit is not None and not found:
            await self._send([events.error(details(_nothing_to_commit(0.0)), live.commit or None)])
        live.stream.close()
        self._streams.discard(live.stream)

    async def _transcribe(self, recording: _Recording) -> None:
        configuration = recording.configuration
        item = Item(self._conversation, recording.item)
        try:
            audio = np.frombuffer(recording.audio, "<i2")
            samples = await asyncio.to_thread(checked_samples, audio, configuration.rate)
            model, options = configuration.transcription.model, configuration.recognition
            news = self._service.transcribe(model, samples, options, configuration.prompt)
            async with aclosing(news):
                async for one in news:
                    if isinstance(one, Transcript):
                        await self._send(item.completed(one))
                    else:
                        await self._send(item.grown(one.text))
        except KeyframeError as error:
            await self._send([events.failed(recording.item, details(error))])

    async def _drain(self) -> None:
        await self._draining.wait()
        await self._end_stream()
        await self._work.join()
        raise Closing(STOPPING, "the server is about to stop")

    async def _send(self, several: Iterable[Event]) -> None:
        for one in several:
            await self._client.send(one)


def _identifier(event: Mapping[str, Any]) -> str | None:
    found = event.get("event_id")
    return found[:512] if isinstance(found, str) else None


def _nothing_to_commit(seconds: float) -> MessageError:
    return MessageError(
        f"the buffer has {1000 * seconds:.0f} ms of audio that is not committed; send at least "
        f"{1000 * SHORTEST_COMMIT:.0f} ms before a commit",
        "input_audio_buffer_commit_empty",
    )


def _error(error: KeyframeError) -> Event:
    return events.error(details(error), None)
