"""Run the server until it is told to stop, and let running work end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from keyframe_asr.errors import KeyframeError
from keyframe_asr.server.activity import Activity
from keyframe_asr.server.app import create_app, watch
from keyframe_asr.server.metrics import Metrics
from keyframe_asr.server.settings import MEGABYTE, ServedModel, ServerSettings
from keyframe_asr.server.socket_protocol import SocketProtocol
from keyframe_asr.server.workers import Workers

log = logging.getLogger(__name__)

PING_SECONDS, PONG_SECONDS = 20.0, 60.0
"""Interval of the pings of WebSockets, and how long a busy client may take to answer one."""

BACKLOG = 2048
"""Connections that may wait to be accepted."""

MESSAGES_AHEAD = 2
"""Messages of a WebSocket that are read before they are asked for."""


def serve(
    models: Sequence[ServedModel], settings: ServerSettings, ready: Callable[[str], None]
) -> None:
    """Serve models until SIGINT or SIGTERM.

    Args:
        models: what clients may name; the first is the default.
        settings: of the server.
        ready: called with the address once the models are loaded.

    Raises:
        KeyframeError: a model or the certificate cannot be loaded, or the server cannot listen.
    """
    _check_certificate(settings)
    listening = _listening(settings)
    try:
        asyncio.run(_serve(models, settings, listening, ready))
    finally:
        listening.close()


async def _serve(
    models: Sequence[ServedModel],
    settings: ServerSettings,
    listening: socket.socket,
    ready: Callable[[str], None],
) -> None:
    metrics = Metrics()
    workers = Workers(models, settings, metrics)
    watch(metrics, workers)
    app = create_app(workers, settings, metrics)
    server = _Server(_config(app, settings), app.state.activity, settings.drain_timeout)
    serving = asyncio.create_task(server.serve([listening]))
    try:
        starting = asyncio.create_task(workers.start())
        await asyncio.wait({starting, serving}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and not serving.done():
            starting.result()
            ready(_address(listening, settings))
        starting.cancel()
        await serving
    finally:
        server.should_exit = True
        workers.stop()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await serving


class _Server(uvicorn.Server):
    """Ends after the work that is in progress; a second signal ends it at once."""

    def __init__(self, config: uvicorn.Config, activity: Activity, drain_timeout: float) -> None:
        super().__init__(config)
        self._activity, self._drain_timeout = activity, drain_timeout
        self._draining: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Take signals in the event loop, and none again when the server has ended."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, self.handle_exit, name, None)
        try:
            yield
        finally:
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(name)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let work end at the first signal."""
        del sig, frame
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self._activity.draining.set()
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        if self._activity.open:
            log.info("stopping after %d requests in progress", self._activity.open)
        try:
            await asyncio.wait_for(self._activity.all_finished(), self._drain_timeout)
        except TimeoutError:
            log.warning("stopped with %d requests in progress", self._activity.open)
            self.force_exit = True
        self.should_exit = True


class _PatientProtocol(H11Protocol):
    """Closes connections on which no complete request arrives in time."""

    idle_timeout = ServerSettings.idle_timeout
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        begun = self.cycle is not None and not self.cycle.response_complete
        if begun or self.transport.get_protocol() is not self:  # a WebSocket has its own clock
            self._stop_waiting()
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.idle_timeout, self.transport.close)


def _config(app: Any, settings: ServerSettings) -> uvicorn.Config:
    protocol = type("Protocol", (_PatientProtocol,), {"idle_timeout": settings.idle_timeout})
    return uvicorn.Config(
        app,
        http=protocol,
        ws=SocketProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=round(settings.max_message * MEGABYTE),
        ws_max_queue=MESSAGES_AHEAD,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PONG_SECONDS,
        ws_per_message_deflate=False,  # a small message could become a large one
        timeout_graceful_shutdown=1,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.private_key,
    )


def _check_certificate(settings: ServerSettings) -> None:
    """Raise `KeyframeError` if the certificate cannot be used."""
    if settings.certificate is None:
        return
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate, settings.private_key)
    except OSError as error:
        raise KeyframeError(
            f"{settings.certificate}, {settings.private_key}: are no certificate and its key: "
            f"{error.strerror or error}; give two PEM files that belong together"
        ) from None


def _listening(settings: ServerSettings) -> socket.socket:
    """Return a socket that listens. Raises `KeyframeError` if that is not possible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)  # at once, so that a second server on this port is refused
    except OSError as error:
        reason = error.strerror or str(error)
        raise KeyframeError(
            f"cannot listen on {settings.host} port {settings.port}: {reason}; give another --host "
            "or --port"
        ) from None
    return listening


def _address(listening: socket.socket, settings: ServerSettings) -> str:
    port = listening.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http{'s' * (settings.certificate is not None)}://{host}:{port}"
