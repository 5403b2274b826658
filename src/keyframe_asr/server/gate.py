"""What every request passes first: keys, origins, limits, and what is logged and measured of it.

Written as plain ASGI, because the limits must hold while a body is still arriving.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from keyframe_asr.errors import KeyframeError
from keyframe_asr.server.activity import Activity
from keyframe_asr.server.errors import LONGEST_MESSAGE, envelope, on_one_line
from keyframe_asr.server.metrics import OTHER
from keyframe_asr.server.service import (
    AccessError,
    OriginError,
    RecognitionService,
    ServerBusyError,
    ServerFullError,
    SlowClientError,
    TooLongError,
)
from keyframe_asr.server.settings import MEGABYTE, ServerSettings

log = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

GUARDED = ("/v1/", "/metrics")
"""Beginnings of paths that need a key. The page, which asks for one, and health checks do not."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names of this machine, where nothing else can connect."""

KEY_PROTOCOL = "openai-insecure-api-key."
"""Beginning of a WebSocket subprotocol that carries a key, since pages cannot set headers."""

SLOWEST = 4_000
"""Bytes a second that a body must bring on average, after the idle time."""

LINGER_SECONDS, LINGER_BYTES = 5.0, 100 * MEGABYTE
"""How much of a refused body is still read: a client that is cut off while it sends does not see
the answer."""

OWN_CODES = 3000
"""First of the close codes that clients may choose. Counts for all of them, so that they cannot add
labels to the metrics."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Headers of every answer that does not set them itself."""


class Gate:
    """Passes on the requests that are allowed.

    Args:
        app: what answers them.
        service: recognises.
        settings: keys, origins and limits.
        activity: counts them.
    """

    def __init__(
        self, app: App, service: RecognitionService, settings: ServerSettings, activity: Activity
    ) -> None:
        self._app, self._service = app, service
        self._settings, self._activity = settings, activity
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._settings)
        self._activity.metrics.begun()
        began = time.monotonic()
        with self._activity.one_more():
            try:
                await self._pass(scope, exchange)
            except asyncio.CancelledError:
                if not self._activity.draining.is_set():  # else the server ends now
                    raise
            finally:
                seconds = time.monotonic() - began
                route = getattr(scope.get("route"), "path", OTHER)
                self._activity.metrics.answered(route, exchange.status, seconds)
                # without the query, which may hold text
                method = scope.get("method", "WebSocket")
                path = on_one_line(scope["path"], LONGEST_MESSAGE)
                log.info("%s %s %d %.3f s", method, path, exchange.status, seconds)

    async def _pass(self, scope: Scope, exchange: _Exchange) -> None:
        error = self._refusal(scope)
        if error is not None:
            await exchange.refuse(error)
            return
        upload = scope.get("method") == "POST" and scope["path"].startswith(GUARDED)
        self._uploads += upload
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            if exchange.error is None:
                if not exchange.can_refuse:
                    raise
                exchange.error = error
        finally:
            self._uploads -= upload
        if exchange.error is not None:
            await exchange.refuse(exchange.error)

    def _refusal(self, scope: Scope) -> KeyframeError | None:
        """Return why a request is not passed on, or None."""
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        if not scope["path"].startswith(GUARDED):
            return None
        origin = headers.get("origin")
        if origin is not None and not self._is_allowed(origin, headers.get("host", "")):
            return OriginError(
                f"pages of {origin[:100]} are not served; name the origin with --cors-origin"
            )
        if self._settings.api_keys and not self._has_key(headers):
            return AccessError("no valid API key; send it as Authorization: Bearer KEY")
        if scope["path"] == "/metrics":
            return None
        if self._activity.draining.is_set():
            return ServerFullError("the server is about to stop; try another, or again later")
        if not self._service.models:
            return ServerFullError("the models are not loaded yet; try again in a few seconds")
        if scope.get("method") != "POST":
            return None
        if self._uploads >= self._settings.max_requests:
            return ServerBusyError(
                f"{self._uploads} recordings are in progress; try again in a while"
            )
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._settings.max_upload * MEGABYTE:
            return _too_large(self._settings)
        return None

    def _is_allowed(self, origin: str, host: str) -> bool:
        allowed = self._settings.cors_origins
        if origin in allowed or "*" in allowed:
            return True
        try:
            given = urlsplit(origin)
        except ValueError:  # no address
            return False
        # any name may be made to lead to this machine, where there may be no key
        is_local = given.hostname in LOOPBACK or self._settings.host not in LOOPBACK
        return given.netloc == host and is_local

    def _has_key(self, headers: MutableMapping[str, str]) -> bool:
        kind, _, shown = headers.get("authorization", "").partition(" ")
        shown = shown.strip() if kind.lower() == "bearer" else ""
        for protocol in headers.get("sec-websocket-protocol", "").split(","):
            if protocol.strip().startswith(KEY_PROTOCOL):
                shown = protocol.strip().removeprefix(KEY_PROTOCOL)
        # each is compared in constant time, and all are compared
        same = [
            hmac.compare_digest(shown.encode("latin-1"), key.encode())
            for key in self._settings.api_keys
        ]
        return any(same)


class _Exchange:
    """One request and its answer.

    Attributes:
        status: of the answer; of a WebSocket, the code with which it was closed.
        error: a limit that was exceeded, or a fault of the server.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, settings: ServerSettings
    ) -> None:
        self._scope, self._receive, self._send, self._settings = scope, receive, send, settings
        self._started = False
        self._is_http = scope["type"] == "http"
        self._more_body = self._is_http
        self._received, self._began = 0, time.monotonic()
        self.status = 500
        self.error: Exception | None = None

    async def receive(self) -> Message:
        """Return the next message of the client; a disconnect once a limit is exceeded."""
        if self.error is not None:
            return {"type": "http.disconnect"}
        if not self._more_body:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self.status = min(message.get("code", 1005), OWN_CODES)
            return message
        idle = self._settings.idle_timeout
        spent = time.monotonic() - self._began
        left = min(idle, idle + self._received / SLOWEST - spent)
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, left))
        except TimeoutError:
            self.error = SlowClientError("the request did not arrive in time; send it faster")
            return {"type": "http.disconnect"}
        self._received += len(message.get("body", b""))
        self._more_body = message.get("more_body", False)
        if self._received > self._settings.max_upload * MEGABYTE:
            self.error = _too_large(self._settings)
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """Pass on a message of the answer, with the headers that all have."""
        if self.error is not None and not self._started:
            return  # `refuse` answers
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self._started, self.status = True, message["status"]
            message["headers"] = _with_usual(message.get("headers", ()))
        elif message["type"] == "websocket.close":
            self.status = message.get("code", 1000)
        elif self._more_body and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {**message, "body": b""}
        if not self._is_http:
            await self._send(message)
            return
        try:
            async with asyncio.timeout(self._settings.idle_timeout):
                await self._send(message)
        except TimeoutError:
            self.error = SlowClientError("the answer is not read")
            raise

    @property
    def can_refuse(self) -> bool:
        """True if a request of HTTP can still be answered with an error."""
        return self._is_http and not self._started

    async def refuse(self, error: Exception) -> None:
        """Answer with an error, unless an answer has begun."""
        if self._started:
            return
        self.error = None
        status, content, headers = envelope(error)
        kind = "http" if self._is_http else "websocket.http"
        if not self._is_http and "websocket.http.response" not in self._scope.get("extensions", {}):
            await self.send({"type": "websocket.close", "code": 1008, "reason": str(error)[:100]})
            return
        body = json.dumps(content).encode()
        named = {
            **headers,
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
        }
        encoded = [(key.lower().encode(), value.encode()) for key, value in named.items()]
        await self.send({"type": f"{kind}.response.start", "status": status, "headers": encoded})
        await self.send({"type": f"{kind}.response.body", "body": body})

    async def _linger(self) -> None:
        """Read on for a while what the client still sends."""
        read = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._more_body and read < LINGER_BYTES:
                    message = await self._receive()
                    read += len(message.get("body", b""))
                    self._more_body = message.get("more_body", False)
        except TimeoutError:
            pass


def _with_usual(headers: Any) -> list[tuple[bytes, bytes]]:
    given = [(bytes(key), bytes(value)) for key, value in headers]
    names = {key.lower() for key, _ in given}
    usual = {**HEADERS, "x-request-id": uuid.uuid4().hex}
    return given + [
        (key.encode(), value.encode()) for key, value in usual.items() if key.encode() not in names
    ]


def _too_large(settings: ServerSettings) -> TooLongError:
    return TooLongError(
        f"the upload is larger than {settings.max_upload:g} MB; compress or split the recording"
    )
