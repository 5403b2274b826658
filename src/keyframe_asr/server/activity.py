"""What a server is doing now: whether it is about to stop, and what is in progress."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from keyframe_asr.server.metrics import Metrics


class Activity:
    """Shared by all routes, as `app.state.activity`.

    Attributes:
        metrics: of the server.
        draining: set when the server is told to stop: nothing new begins, and streams end.
        open: number of requests and WebSockets that are not finished.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.draining = asyncio.Event()
        self.open = 0
        self._changed = asyncio.Event()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a request while it is answered."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            self._changed.set()

    async def all_finished(self) -> None:
        """Wait until nothing is in progress."""
        while self.open:
            self._changed.clear()
            await self._changed.wait()
