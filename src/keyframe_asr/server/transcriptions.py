"""Recordings over HTTP, as the clients of OpenAI's transcription API send them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeAlias

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.datastructures import FormData
from starlette.requests import ClientDisconnect

from keyframe_asr.errors import OptionError
from keyframe_asr.results import Transcript
from keyframe_asr.server.errors import envelope, error_body
from keyframe_asr.server.response_formats import StreamedText, answer, error_event
from keyframe_asr.server.service import (
    PartOfTranscript,
    RecognitionService,
    WorkerError,
)
from keyframe_asr.server.transcription_form import (
    LARGEST_FIELD,
    MOST_FIELDS,
    TranscriptionRequest,
    file_of,
    read_request,
)
from keyframe_asr.server.transcription_schema import (
    ALL_ERRORS,
    ANSWERS,
    REQUEST,
    error_responses,
)

LEFT = 499
"""Status in the log of a request whose client did not wait for the answer."""

News: TypeAlias = AsyncGenerator[PartOfTranscript | Transcript]


def router(service: RecognitionService) -> APIRouter:
    """Return the routes; `service` recognises."""
    routes = APIRouter(prefix="/v1")

    @routes.post(
        "/audio/transcriptions",
        tags=["recordings"],
        responses={200: ANSWERS, **ALL_ERRORS},
        openapi_extra=REQUEST,
        response_class=Response,
    )
    async def transcribe(request: Request) -> Response:
        """Transcribe a recording."""
        try:
            form = await request.form(
                max_files=1, max_fields=MOST_FIELDS, max_part_size=LARGEST_FIELD
            )
        except ClientDisconnect:
            return Response(status_code=LEFT)
        return await _transcribed(service, request, form)

    @routes.post(
        "/audio/translations",
        tags=["recordings"],
        responses=error_responses(400, 401, 403, 408, 413, 429, 503),
        status_code=400,
        response_class=JSONResponse,
    )
    async def translate() -> Response:
        """Refuse to translate a recording: the models write what is spoken."""
        message = "nothing is translated here; use /v1/audio/transcriptions"
        return JSONResponse(error_body(400, message, None, "unsupported"), 400)

    return routes


async def _transcribed(service: RecognitionService, request: Request, form: FormData) -> Response:
    """Answer a request whose form has arrived."""
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(form.close)
        wanted = read_request(form, service.models)
        file = file_of(form).file
        if not file.seek(0, 2):
            raise OptionError("file", "is empty; record or copy it again")
        file.fileno()  # what is in memory becomes a file
        file.flush()
        news = _while_connected(
            request, service.transcribe(wanted.model, file, wanted.options, wanted.prompt)
        )
        stack.push_async_callback(news.aclose)
        try:
            first = await anext(news)  # errors that come before it have a status of their own
            if wanted.stream:
                return _streamed(first, news, wanted, stack.pop_all())
            transcript = first if isinstance(first, Transcript) else await _last(news)
        except ClientDisconnect:
            return Response(status_code=LEFT)
        return await asyncio.to_thread(answer, transcript, wanted, service.models[wanted.model])


async def _last(news: News) -> Transcript:
    async for one in news:
        if isinstance(one, Transcript):
            return one
    raise WorkerError("recognition ended without a transcript; try again")


def _streamed(
    first: PartOfTranscript | Transcript,
    news: News,
    wanted: TranscriptionRequest,
    closing: contextlib.AsyncExitStack,
) -> Response:
    """Return an answer that is sent while the recording is recognised.

    Args:
        first: part of the transcript.
        news: the others.
        wanted: what the client asked for.
        closing: is closed when all is sent.
    """

    async def events() -> AsyncIterator[bytes]:
        text = StreamedText(wanted.logprobs)
        async with closing:
            try:
                yield _event(text, first)
                async for one in news:
                    yield _event(text, one)
            except ClientDisconnect:
                return
            except Exception as error:
                yield error_event(envelope(error)[1])

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # proxies send it at once
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _event(text: StreamedText, news: PartOfTranscript | Transcript) -> bytes:
    return text.last(news) if isinstance(news, Transcript) else text.part(news)


async def _while_connected(
    request: Request, news: News
) -> AsyncGenerator[PartOfTranscript | Transcript]:
    """Yield what is recognised, and stop that when the client leaves.

    Raises:
        ClientDisconnect: the client has left.
    """
    left = asyncio.create_task(_has_left(request))
    following: asyncio.Future[PartOfTranscript | Transcript] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(news))
            await asyncio.wait({following, left}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                raise ClientDisconnect
            try:
                yield following.result()
            except StopAsyncIteration:
                return
    finally:
        left.cancel()
        if following is not None and not following.done():
            following.cancel()  # which ends the recognition
            with contextlib.suppress(asyncio.CancelledError):
                await following
        await news.aclose()


async def _has_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
