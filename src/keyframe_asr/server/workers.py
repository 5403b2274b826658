"""Recognition for many clients by a few processes: some for uploads, some for streams.

A long upload and a stream are never in the same process, and uploads have a lower priority, so that
no upload delays a stream.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from keyframe_asr.inference.options import RecognitionOptions, StreamOptions
from keyframe_asr.io.threads import openmp_threads
from keyframe_asr.results import Transcript
from keyframe_asr.server.messages import (
    BeginStream,
    BeginUpload,
    Cancel,
    EndStream,
    Failed,
    MoreSamples,
    MoreText,
    Opened,
    Recognised,
    Report,
    Updated,
)
from keyframe_asr.server.metrics import Metrics
from keyframe_asr.server.process import ProcessDiedError, WorkerProcess
from keyframe_asr.server.service import (
    LiveUpdate,
    ModelFacts,
    PartOfTranscript,
    ServerBusyError,
    ServerFullError,
    UnknownModelError,
    WorkerError,
)
from keyframe_asr.server.settings import ServedModel, ServerSettings

log = logging.getLogger(__name__)

UPLOAD_PRIORITY = 5
"""Added to the niceness of processes for uploads."""

STREAMS_OF_A_CORE, READINGS_OF_A_CORE = 64, 8
"""Streams that a process carries: of models that stream, and of those that read again."""

MOST_AHEAD = 4.0
"""Seconds of a stream that may wait for recognition before the client has to wait."""

MOST_UNREAD = 200
"""Updates that a client may leave unread before its stream waits."""

POLL_SECONDS = 0.05

NO_JOB = -1
"""Number of an order that no process has yet."""


class Workers:
    """A `RecognitionService` of processes on this machine.

    Args:
        models: what clients may name; the first is the default.
        settings: numbers of processes and limits.
        metrics: takes what is measured.

    Attributes:
        uploads: processes that recognise uploads.
        streams: processes that recognise streams.
        uploads_open: number of uploads in progress.
    """

    def __init__(
        self, models: Sequence[ServedModel], settings: ServerSettings, metrics: Metrics
    ) -> None:
        self._served, self._settings, self._metrics = models, settings, metrics
        self._numbers = itertools.count()
        self._jobs: dict[int, _Job] = {}
        self.uploads: list[WorkerProcess] = []
        self.streams: list[WorkerProcess] = []
        self.models: Mapping[str, ModelFacts] = {}
        self.uploads_open = 0

    async def start(self) -> None:
        """Start the processes, and wait until the models are loaded.

        Raises:
            KeyframeError: a model cannot be loaded.
        """
        settings = self._settings
        left = max(1, openmp_threads(os.environ) - settings.stream_workers)
        self.uploads = [
            self._process(max(1, left // settings.workers), UPLOAD_PRIORITY)
            for _ in range(settings.workers)
        ]
        self.streams = [self._process(1, 0) for _ in range(settings.stream_workers)]
        await asyncio.gather(*(one.start() for one in self.processes))
        self.models = {one.name: one for one in self.uploads[0].facts}

    @property
    def processes(self) -> list[WorkerProcess]:
        """All processes."""
        return [*self.uploads, *self.streams]

    @property
    def ready(self) -> bool:
        """True if the models are loaded and one recognition has been done."""
        return bool(self.models) and all(one.loaded.is_set() for one in self.processes)

    @property
    def max_streams(self) -> int:
        """See `RecognitionService`."""
        if self._settings.max_streams is not None:
            return self._settings.max_streams
        streaming = all(one.streams for one in self.models.values())
        most = STREAMS_OF_A_CORE if streaming else READINGS_OF_A_CORE
        return most * self._settings.stream_workers

    @property
    def streams_open(self) -> int:
        """Number of open streams."""
        return sum(len(one.jobs) for one in self.streams)

    def stop(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.stop()

    async def transcribe(
        self,
        model: str,
        audio: BinaryIO | npt.NDArray[np.float32],
        options: RecognitionOptions,
        prompt: Sequence[str] = (),
    ) -> AsyncGenerator[PartOfTranscript | Transcript]:
        """See `RecognitionService`."""
        self._check_model(model)
        if self.uploads_open >= self._settings.max_requests:
            raise ServerBusyError(
                f"{self._settings.max_requests} recordings are in progress; try again in a while"
            )
        self.uploads_open += 1
        try:
            samples, file = (audio, None) if isinstance(audio, np.ndarray) else (None, audio)
            longest = self._settings.max_audio
            order = BeginUpload(NO_JOB, model, options, longest, samples, tuple(prompt))
            async with aclosing(self._news(order, file)) as several:
                async for news in several:
                    yield news
        finally:
            self.uploads_open -= 1

    async def _news(
        self, order: BeginUpload, file: BinaryIO | None
    ) -> AsyncGenerator[PartOfTranscript | Transcript]:
        began, told = time.monotonic(), ""
        for attempt in range(2):
            async with (
                self._process_for_upload(alone=attempt > 0) as process,
                aclosing(self._reports(process, order, file)) as reports,
            ):
                try:
                    async for report in reports:
                        if isinstance(report, Recognised):
                            seconds = time.monotonic() - began
                            self._metrics.recognised(order.model, report.transcript, seconds)
                            self._log(order.model, report.transcript)
                            yield report.transcript
                            return
                        told += report.text
                        yield PartOfTranscript(told, report.segments)
                except ProcessDiedError:
                    # another recording may have brought the process down: once more, and alone
                    if attempt or told:
                        raise

    async def _reports(
        self, process: WorkerProcess, order: BeginUpload, file: BinaryIO | None
    ) -> AsyncGenerator[MoreText | Recognised]:
        """Let a process recognise an upload, and yield what it reports."""
        with self._job(process) as job:
            process.order(replace(order, job=job.number), file)
            while True:
                report = await job.reports.get()
                if isinstance(report, Failed):
                    raise report.error
                assert isinstance(report, MoreText | Recognised)
                yield report
                if isinstance(report, Recognised):
                    return

    async def open_stream(
        self, model: str, options: StreamOptions, sample_rate: int, prompt: Sequence[str] = ()
    ) -> _Stream:
        """See `RecognitionService`."""
        self._check_model(model)
        process = await self._least_busy(self.streams)
        if self.streams_open >= self.max_streams:
            raise ServerFullError(f"all {self.max_streams} streams are taken; try again in a while")
        with ExitStack() as stack:
            job = stack.enter_context(self._job(process))
            process.order(BeginStream(job.number, model, options, sample_rate, tuple(prompt)))
            report = await job.reports.get()
            if isinstance(report, Failed):
                raise report.error
            assert isinstance(report, Opened)
            return _Stream(job, sample_rate, stack.pop_all(), partial(self._heard, model))

    def _process(self, threads: int, priority: int) -> WorkerProcess:
        models = [
            replace(one, compute=replace(one.compute, threads=one.compute.threads or threads))
            for one in self._served
        ]
        return WorkerProcess(models, priority, self._take, self._lost)

    @asynccontextmanager
    async def _process_for_upload(self, *, alone: bool) -> AsyncIterator[WorkerProcess]:
        """Yield the process with the fewest jobs; with `alone`, one that has no other."""
        process = await self._least_busy(self.uploads)
        process.reserved = alone
        try:
            while (alone and process.jobs) or not process.loaded.is_set():
                await asyncio.sleep(POLL_SECONDS)
            yield process
        finally:
            if alone:
                process.reserved = False

    async def _least_busy(self, processes: list[WorkerProcess]) -> WorkerProcess:
        """Wait for a process that takes jobs; return the one with the fewest."""
        while not (ready := [one for one in processes if one.loaded.is_set() and not one.reserved]):
            await asyncio.sleep(POLL_SECONDS)
        return min(ready, key=lambda one: len(one.jobs))

    @contextmanager
    def _job(self, process: WorkerProcess) -> Iterator[_Job]:
        """Yield a new job of a process; it is cancelled if it has not ended by itself."""
        job = _Job(next(self._numbers), process)
        self._jobs[job.number] = job
        process.jobs.add(job.number)
        try:
            yield job
        finally:
            del self._jobs[job.number]
            process.jobs.discard(job.number)
            if not job.ended:
                with suppress(WorkerError):
                    process.order(Cancel(job.number))

    def _check_model(self, model: str) -> None:
        if model not in self.models:
            raise UnknownModelError.of(model, self.models)

    def _take(self, report: Report) -> None:
        job = self._jobs.get(getattr(report, "job", -1))
        if job is not None:
            job.take(report)

    def _lost(self, process: WorkerProcess) -> None:
        for number in process.jobs:
            self._jobs[number].take(Failed(number, ProcessDiedError()))

    def _heard(self, model: str, seconds: float, update: LiveUpdate) -> None:
        self._metrics.heard(model, seconds)
        for transcript in update.update.final:
            self._log(model, transcript)

    def _log(self, model: str, transcript: Transcript) -> None:
        if self._settings.log_text:
            log.info("%s: %s", model, transcript.text)


class _Job:
    """An upload or a stream that a process has.

    Attributes:
        number: of the job.
        process: that has it.
        reports: of the process.
        ended: nothing follows.
    """

    def __init__(self, number: int, process: WorkerProcess) -> None:
        self.number, self.process = number, process
        self.reports: asyncio.Queue[Report] = asyncio.Queue()
        self.ended = False

    def take(self, report: Report) -> None:
        """Take the next report."""
        over = isinstance(report, Updated) and report.update.last
        self.ended = self.ended or over or isinstance(report, Failed | Recognised)
        self.reports.put_nowait(report)


class _Stream:
    """A `LiveStream`."""

    def __init__(
        self,
        job: _Job,
        sample_rate: int,
        closing: ExitStack,
        note: Callable[[float, LiveUpdate], None],
    ) -> None:
        self._job, self._rate = job, sample_rate
        self._closing, self._note = closing, note
        self._sent, self._heard = 0.0, 0.0
        self._progress = asyncio.Event()

    async def send(self, samples: npt.NDArray[Any]) -> None:
        """See `LiveStream`."""
        for start in range(0, len(samples), self._rate):  # a second at a time
            while not self._job.ended and (
                self._sent - self._heard > MOST_AHEAD or self._job.reports.qsize() > MOST_UNREAD
            ):
                self._progress.clear()
                await self._progress.wait()
            block = samples[start : start + self._rate]
            if not self._job.ended:
                self._job.process.order(MoreSamples(self._job.number, block))
            self._sent += len(block) / self._rate

    async def updates(self) -> AsyncGenerator[LiveUpdate]:
        """See `LiveStream`."""
        last = False
        while not last:
            report = await self._job.reports.get()
            self._progress.set()
            if isinstance(report, Failed):
                raise report.error
            assert isinstance(report, Updated)
            self._note(report.update.seconds - self._heard, report.update)
            self._heard, last = report.update.seconds, report.update.last
            yield report.update

    async def finish(self) -> None:
        """See `LiveStream`."""
        if not self._job.ended:
            self._job.process.order(EndStream(self._job.number))

    def close(self) -> None:
        """See `LiveStream`."""
        self._closing.close()
