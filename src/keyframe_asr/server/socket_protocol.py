"""uvicorn's WebSockets, but without traces of what clients do wrong."""

from __future__ import annotations

import asyncio
import select
import socket

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

NOT_UTF_8 = 1007

LOOK_SECONDS = 0.5
"""How often to look for the client of a connection from which nothing is read at the moment."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """A connection that is cut off when its client does not read; else it would never be closed.

    Text that is not UTF-8 only ends the connection, and is no error of the server.
    """

    _look: asyncio.TimerHandle | None = None
    _cut_off: asyncio.TimerHandle | None = None

    def send_receive_event_to_app(self) -> None:
        """Pass on a message."""
        if self.curr_msg_data_type == "text":
            content = b"".join(self.frames)
            self.frames = [content]
            try:
                content.decode()
            except UnicodeDecodeError:
                self.frames = []
                if not self.close_sent:
                    self.conn.send_close(NOT_UTF_8)
                    self.handle_parser_exception()
                return
        super().send_receive_event_to_app()
        if self._look is None:
            self._look = self.loop.call_later(LOOK_SECONDS, self._look_for_client)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that there is no connection any more."""
        for timer in (self._look, self._cut_off):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _look_for_client(self) -> None:
        """Abort a connection that its client has left before all was read."""
        self._look = None
        if not self.read_paused:
            return
        if _has_left(self.transport.get_extra_info("socket")):
            self.transport.abort()
        else:
            self._look = self.loop.call_later(LOOK_SECONDS, self._look_for_client)

    def keepalive_timeout(self) -> None:
        """Close a connection whose client does not answer."""
        super().keepalive_timeout()
        self.transport.abort()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Close a connection whose conversation has ended."""
        super().on_task_complete(task)
        # with TLS, it is not told whether something waits to be read
        self._cut_off = self.loop.call_later(self.close_timeout, self.transport.abort)


def _has_left(connection: socket.socket) -> bool:
    """True if the other side is closed; where the system does not tell, it is only seen later."""
    if not hasattr(select, "POLLRDHUP"):
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
