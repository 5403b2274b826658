"""uvicorn's WebSockets, but without traces of what clients do wrong."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

NOT_UTF_8 = 1007


class SocketProtocol(WebSocketsSansIOProtocol):
    """A connection that is cut off when its client does not read; else it would never be closed.

    Text that is not UTF-8 only ends the connection, and is no error of the server.
    """

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

    def keepalive_timeout(self) -> None:
        """Close a connection whose client does not answer."""
        super().keepalive_timeout()
        self.transport.abort()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Close a connection whose conversation has ended."""
        super().on_task_complete(task)
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self.close_timeout, self.transport.abort)
