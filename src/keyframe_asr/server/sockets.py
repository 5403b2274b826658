"""What the WebSocket interfaces have in common: reading, writing, and how conversations end.

Nothing grows: a message is only read while few wait to be used, and only written when the client
has read enough of those before it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NoReturn, TypeAlias

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from keyframe_asr.errors import KeyframeError
from keyframe_asr.server.errors import envelope, error_body
from keyframe_asr.server.service import ServerBusyError, ServerFullError, WorkerError

log = logging.getLogger(__name__)

Message: TypeAlias = Mapping[str, object]

READ_AHEAD = 8_000_000
"""Bytes that may wait to be used, since who leaves is only seen after all that was sent before."""

FINISHED, STOPPING, REFUSED, FAILED, FULL = 1000, 1001, 1008, 1011, 1013
"""Close codes of RFC 6455 and its registry. Others that come from below: 1007 (text that is not
UTF-8) and 1009 (a message that is too large)."""


class MessageError(KeyframeError):
    """A message or a parameter of a client that is wrong.

    Attributes:
        code: a word for programs.
        param: the name of what is wrong.
    """

    def __init__(self, message: str, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


class Closing(Exception):
    """The conversation is over; the connection is closed with this code."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class ClientGoneError(Exception):
    """The client has left, or does not read what it is sent."""


class Client:
    """One client of a WebSocket.

    Args:
        websocket: not accepted yet.
        idle_timeout: seconds without a message, or in which nothing that is sent is read.
    """

    def __init__(self, websocket: WebSocket, idle_timeout: float) -> None:
        self._websocket, self._idle_timeout = websocket, idle_timeout
        self._ahead: deque[str | bytes] = deque()
        self._waiting = 0
        self._arrived, self._taken = asyncio.Event(), asyncio.Event()

    async def accept(self) -> None:
        """Complete the handshake; of the offered subprotocols, the first that is not a key."""
        offered = self._websocket.scope.get("subprotocols", ())
        chosen = [one for one in offered if not one.startswith("openai-")]
        await self._written(self._websocket.accept(chosen[0] if chosen else None))

    async def read_ahead(self) -> NoReturn:
        """Read messages for `next`.

        Raises:
            ClientGoneError: the client has left.
            MessageError: it has sent nothing for too long.
        """
        while True:
            while self._waiting >= READ_AHEAD:
                self._taken.clear()
                await self._taken.wait()
            try:
                async with asyncio.timeout(self._idle_timeout):
                    message = await self._websocket.receive()
            except TimeoutError:
                raise MessageError(
                    f"nothing was received for {self._idle_timeout:g} s; send audio, or connect "
                    "again when there is some",
                    "idle_timeout",
                ) from None
            if message["type"] == "websocket.disconnect":
                raise ClientGoneError
            text = message.get("text")
            content: str | bytes = message["bytes"] if text is None else text
            self._ahead.append(content)
            self._waiting += len(content)
            self._arrived.set()

    async def next(self) -> str | bytes:
        """Return the next message."""
        while not self._ahead:
            self._arrived.clear()
            await self._arrived.wait()
        content = self._ahead.popleft()
        self._waiting -= len(content)
        self._taken.set()
        return content

    async def send(self, message: Message) -> None:
        """Send a message as JSON; waits while the client does not read.

        Raises:
            ClientGoneError: it has left, or has read nothing for too long.
        """
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        # a client may have sent what is no Unicode, such as half of a surrogate pair
        await self._written(self._websocket.send_text(text.encode(errors="replace").decode()))

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection."""
        await self._written(self._websocket.close(code, reason))

    async def _written(self, writing: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._idle_timeout):
                await writing
        except (TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            raise ClientGoneError from None


async def converse(
    websocket: WebSocket,
    idle_timeout: float,
    talk: Callable[[Client], Coroutine[Any, Any, None]],
    event_of: Callable[[KeyframeError], Message],
) -> None:
    """Hold a conversation, and end it with a message about what went wrong, and a close code.

    Args:
        websocket: not accepted yet.
        idle_timeout: as in `Client`.
        talk: the conversation; it ends by raising `Closing` or an error.
        event_of: returns the message of an error.
    """
    client = Client(websocket, idle_timeout)
    try:
        await client.accept()
        try:
            await together(client.read_ahead(), talk(client))
        except Closing as end:
            await client.close(end.code, end.reason)
        except ClientGoneError:
            raise
        except Exception as error:
            if not isinstance(error, KeyframeError):
                log.error("a conversation failed", exc_info=error)
                error = WorkerError("the server made a mistake; connect again")
            await client.send(event_of(error))
            await client.close(close_code(error))
    except ClientGoneError:
        pass


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all at the same time; the first that raises ends the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def close_code(error: KeyframeError) -> int:
    """Return the code with which a connection is closed after an error."""
    if isinstance(error, WorkerError):
        return FAILED
    return FULL if isinstance(error, ServerFullError | ServerBusyError) else REFUSED


def details(error: KeyframeError) -> Mapping[str, object]:
    """Return an error as clients see it: its message, type, code and param."""
    if isinstance(error, MessageError):
        content = error_body(400, str(error), error.param, error.code)
    else:
        content = envelope(error)[1]
    found = content["error"]
    assert isinstance(found, dict)
    return found
