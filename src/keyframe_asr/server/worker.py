"""A process that recognises: it takes orders from the server, and reports what it finds."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import BinaryIO

import numpy as np

from keyframe_asr.errors import KeyframeError, KeyframeWarning
from keyframe_asr.inference.recognizer import Recognizer, load_for
from keyframe_asr.io.model_location import CONFIG_FILE, find_model
from keyframe_asr.server.hot_words import with_prompt
from keyframe_asr.server.messages import (
    BeginStream,
    BeginUpload,
    Cancel,
    EndStream,
    Failed,
    Loaded,
    MoreSamples,
    NotLoaded,
    Order,
    Report,
)
from keyframe_asr.server.service import ModelFacts, WorkerError
from keyframe_asr.server.settings import ServedModel
from keyframe_asr.server.streams import Streams
from keyframe_asr.server.uploads import Uploads
from keyframe_asr.timing import SAMPLE_RATE

log = logging.getLogger(__name__)


def run_worker(connection: Connection, models: Sequence[ServedModel], priority: int) -> None:
    """Recognise until the server is gone.

    Args:
        connection: to the server.
        models: what is loaded.
        priority: added to the niceness of the process; uploads give way to streams.
    """
    for name in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the server decides
        signal.signal(name, signal.SIG_IGN)
    warnings.simplefilter("ignore", KeyframeWarning)
    os.nice(priority)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            recognizers = {model.name: load_for(model.location, model.compute) for model in models}
            facts = [_facts(one, recognizers[one.name]) for one in models]
            for recognizer in recognizers.values():
                recognizer.transcribe(_noise())  # the first recognition takes longer
        except KeyframeError as error:
            connection.send(NotLoaded(error))
            return
        connection.send(Loaded(tuple(facts)))
        _Worker(connection, recognizers).run()


class _Worker:
    """Recognises what is ordered."""

    def __init__(self, connection: Connection, recognizers: dict[str, Recognizer]) -> None:
        self._connection, self._recognizers = connection, recognizers
        self._uploads, self._streams = Uploads(self._tell), Streams(self._tell)
        self._orders: deque[tuple[Order, BinaryIO | None]] = deque()
        self._arrived = threading.Event()
        # the server never waits for a process that is recognising
        threading.Thread(target=self._receive, daemon=True).start()

    def run(self) -> None:
        """Take orders, and recognise in turns."""
        while True:
            if not (self._orders or self._uploads or self._streams):
                self._arrived.wait()
            self._arrived.clear()
            while self._orders:
                self._take(*self._orders.popleft())
            self._streams.turn()
            self._uploads.turn()

    def _receive(self) -> None:
        try:
            while True:
                order: Order = self._connection.recv()
                file = None
                if isinstance(order, BeginUpload) and order.samples is None:
                    file = os.fdopen(reduction.recv_handle(self._connection), "rb")
                    file.seek(0)
                self._orders.append((order, file))
                self._arrived.set()
        except (EOFError, OSError):
            os._exit(0)  # the server is gone
        except BaseException:
            log.exception("orders of the server are not understood")
            os._exit(1)  # the server starts another

    def _take(self, order: Order, file: BinaryIO | None) -> None:
        try:
            if isinstance(order, BeginUpload):
                audio = order.samples if file is None else file
                assert audio is not None
                recognizer = self._recognizers[order.model]
                options = with_prompt(order.options, order.prompt, recognizer)
                self._uploads.begin(replace(order, options=options), recognizer, audio)
            elif isinstance(order, BeginStream):
                recognizer = self._recognizers[order.model]
                options = with_prompt(order.options.recognition, order.prompt, recognizer)
                stream_options = replace(order.options, recognition=options)
                self._streams.begin(replace(order, options=stream_options), recognizer)
            elif isinstance(order, MoreSamples):
                self._streams.add(order.job, order.samples)
            elif isinstance(order, EndStream):
                self._streams.end(order.job)
            elif isinstance(order, Cancel):
                self._uploads.cancel(order.job)
                self._streams.cancel(order.job)
        except Exception as error:
            if not isinstance(error, KeyframeError):
                log.exception("a job could not be begun")
                error = WorkerError("recognition could not begin; try again")
            self._tell(Failed(order.job, error))
            if file is not None:
                file.close()

    def _tell(self, report: Report) -> None:
        self._connection.send(report)


def _facts(model: ServedModel, recognizer: Recognizer) -> ModelFacts:
    config = recognizer.config
    return ModelFacts(
        name=model.name,
        created=int((find_model(model.location) / CONFIG_FILE).stat().st_mtime),
        languages=tuple(config.languages),
        streams=recognizer.network.streaming is not None,
        sample_rate=SAMPLE_RATE,
        frame_seconds=recognizer.network.frame_seconds,
        emission_delay=config.emission_delay_seconds,
    )


def _noise() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return a second of noise."""
    noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE)
    return noise.astype(np.float32)
