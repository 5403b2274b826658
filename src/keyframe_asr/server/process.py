"""A process that recognises, as the server sees it: started, given orders, and started again."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import BinaryIO

from keyframe_asr.server.messages import Loaded, NotLoaded, Order, Report
from keyframe_asr.server.service import ModelFacts, WorkerError
from keyframe_asr.server.settings import ServedModel
from keyframe_asr.server.worker import run_worker

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a process is started again; doubled while it dies without finishing anything."""


class ProcessDiedError(WorkerError):
    """A process that recognises has died, and its jobs with it."""

    def __init__(self) -> None:
        super().__init__("the process that recognises has died; try again")


class WorkerProcess:
    """One process that recognises; all methods run in the thread of the event loop.

    Args:
        models: what it loads.
        priority: added to its niceness.
        report: takes what it finds.
        died: called when it has died; its jobs are lost.

    Attributes:
        loaded: set while it can take orders.
        facts: of its models.
        restarts: how often it was started again.
        jobs: numbers of the jobs that it has.
        reserved: it is given no further jobs.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        priority: int,
        report: Callable[[Report], None],
        died: Callable[[WorkerProcess], None],
    ) -> None:
        self._models, self._priority, self._report, self._died = models, priority, report, died
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._pause = FIRST_PAUSE
        self._stopped = False
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.loaded = asyncio.Event()
        self.facts: tuple[ModelFacts, ...] = ()
        self.restarts = 0
        self.jobs: set[int] = set()
        self.reserved = False

    async def start(self) -> None:
        """Start it, and wait until its models are loaded.

        Raises:
            KeyframeError: a model cannot be loaded.
        """
        await self._spawn()
        await self._first

    @property
    def pid(self) -> int | None:
        """Number of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def order(self, order: Order, file: BinaryIO | None = None) -> None:
        """Send an order, and the open file that belongs to it.

        Raises:
            ProcessDiedError: the process has died.
        """
        if self._connection is None or not self.loaded.is_set():
            raise ProcessDiedError
        try:
            self._connection.send(order)
            if file is not None:
                reduction.send_handle(self._connection, file.fileno(), self.pid or 0)
        except OSError:
            self.loaded.clear()  # it has died, which is not noticed yet, or was given half an order
            if self._process is not None:
                self._process.kill()
            raise ProcessDiedError from None

    def stop(self) -> None:
        """End the process."""
        self._stopped = True
        self.loaded.clear()
        if self._process is not None:
            self._process.kill()

    async def _spawn(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=run_worker, args=(theirs, self._models, self._priority), daemon=True
        )
        await asyncio.to_thread(_start, process)
        theirs.close()
        self._process, self._connection = process, ours
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(ours, loop), daemon=True).start()

    def _listen(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Pass on what the process reports, until it ends; runs in a thread of its own."""
        try:
            while True:
                report: Report = connection.recv()
                loop.call_soon_threadsafe(self._take, report)
        except (EOFError, OSError):
            pass
        except RuntimeError:  # the event loop is closed
            return
        try:
            loop.call_soon_threadsafe(self._ended)
        except RuntimeError:
            return

    def _take(self, report: Report) -> None:
        if isinstance(report, Loaded):
            self.facts = report.models
            self.loaded.set()
            if not self._first.done():
                self._first.set_result(None)
        elif isinstance(report, NotLoaded):
            self._stopped = True
            if not self._first.done():
                self._first.set_exception(report.error)
        else:
            self._pause = FIRST_PAUSE
            self._report(report)

    def _ended(self) -> None:
        self.loaded.clear()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None
        if self._stopped:
            return
        log.error("a process that recognises has died; it is started again")
        self.restarts += 1
        self._died(self)
        self._again = asyncio.get_running_loop().create_task(self._start_again())

    async def _start_again(self) -> None:
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        if not self._stopped:
            await self._spawn()


def _start(process: multiprocessing.process.BaseProcess) -> None:
    """Start a process that signals to the whole group never reach, not even while it starts."""
    signals = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # inherited by the process
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
