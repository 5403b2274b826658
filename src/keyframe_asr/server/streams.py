"""Streams that are recognised at the same time: what they need next forms batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.arrays import checked_block
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.stream_requests import StreamScheduler
from keyframe_asr.inference.streaming import StreamState, StreamUpdate
from keyframe_asr.server.messages import BeginStream, Failed, Opened, Report, Updated
from keyframe_asr.server.service import LiveUpdate, WorkerError
from keyframe_asr.timing import SAMPLE_RATE

log = logging.getLogger(__name__)

BEHIND, CAUGHT_UP = 0.3, 0.1
"""Seconds of live speech that wait for recognition: beyond the first, utterances are read again
less often, and below the second, more often again."""

LONGEST_STEP = 10.0
"""The largest `StreamOptions.step`."""

LEAST_OFTEN = 4.0
"""Utterances are never read again more rarely than every so many `StreamOptions.step`."""

AT_ONCE = 1.0
"""Seconds of a stream that are recognised at once, so that one that lags does not stop others."""


READING_SECONDS = 4.0
"""Seconds of audio that are read at once, or one utterance: chunks of other streams wait for it."""


class Streams:
    """The streams of one process.

    Args:
        tell: takes what is new.
    """

    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._streams: dict[int, _Stream] = {}
        self._schedulers: dict[int, StreamScheduler] = {}

    def __bool__(self) -> bool:
        """True if there is work."""
        return any(self._schedulers.values()) or any(one.waits for one in self._streams.values())

    def begin(self, order: BeginStream, recognizer: Recognizer) -> None:
        """Add a stream. Raises the errors of `Recognizer.start_stream`."""
        state = recognizer.start_stream(order.options, order.sample_rate)
        scheduler = self._schedulers.setdefault(
            id(recognizer), StreamScheduler(recognizer, READING_SECONDS)
        )
        self._streams[order.job] = _Stream(order, recognizer, state, scheduler)
        self._tell(Opened(order.job))

    def add(self, job: int, samples: npt.NDArray[np.generic]) -> None:
        """Add the next samples of a stream, if there is such a stream."""
        stream = self._streams.get(job)
        if stream is None:
            return
        try:
            stream.add(checked_block(samples))
        except KeyframeError as error:
            self._fail(stream, error)

    def end(self, job: int) -> None:
        """Note that nothing follows in a stream."""
        if job in self._streams:
            self._streams[job].ending = True

    def cancel(self, job: int) -> None:
        """Drop a stream."""
        if job in self._streams:
            self._streams.pop(job).scheduler.drop(job)

    def turn(self) -> None:
        """Go on with all streams that have samples, and end those that are over."""
        for stream in [one for one in self._streams.values() if one.waits]:
            stream.go_on()
        for scheduler in self._schedulers.values():
            for job, found in scheduler.turn().items():
                self._take(self._streams[job], found)

    def _take(
        self, stream: _Stream, found: tuple[StreamState, StreamUpdate] | StreamUpdate | Exception
    ) -> None:
        """Take the result of what a stream had to do."""
        stream.running = False
        if isinstance(found, Exception):
            self._fail(stream, found)
        elif isinstance(found, StreamUpdate):
            self._update(stream, found, last=True)
            del self._streams[stream.job]
        else:
            stream.state, update = found
            self._update(stream, update)

    def _update(self, stream: _Stream, update: StreamUpdate, last: bool = False) -> None:
        current = None if last else stream.state.utterance
        began = None if current is None else current.start / SAMPLE_RATE
        self._tell(Updated(stream.job, LiveUpdate(stream.state.seconds, update, began, last)))

    def _fail(self, stream: _Stream, error: Exception) -> None:
        if not isinstance(error, KeyframeError):
            log.error("a stream failed", exc_info=error)
            error = WorkerError("the stream could not be recognised; open another")
        self._tell(Failed(stream.job, error))
        self.cancel(stream.job)


class _Stream:
    """A stream: its state, and what has not been recognised."""

    def __init__(
        self,
        order: BeginStream,
        recognizer: Recognizer,
        state: StreamState,
        scheduler: StreamScheduler,
    ) -> None:
        self.job, self.recognizer, self.state, self.scheduler = (
            order.job,
            recognizer,
            state,
            scheduler,
        )
        self.blocks: list[npt.NDArray[np.float32]] = []
        self.ending = self.running = False
        self._rate = order.sample_rate
        self._step, self._pace = state.options.step, 1.0
        self._began, self._received = 0.0, 0

    @property
    def waits(self) -> bool:
        """True if there is something to begin."""
        return not self.running and (bool(self.blocks) or self.ending)

    def go_on(self) -> None:
        """Begin with the next samples, or the end."""
        self.running = True
        if self.blocks:
            block = self._next_block()
            steps = self.recognizer.accepting(self._paced_state(), block)
            self.scheduler.begin(self.job, steps)
        else:
            self.scheduler.begin(self.job, self.recognizer.finishing(self.state))

    def add(self, samples: npt.NDArray[np.float32]) -> None:
        """Add the next samples."""
        if not self._received:
            self._began = time.monotonic()
        self._received += samples.size
        self.blocks.append(samples)

    def _paced_state(self) -> StreamState:
        """Return the state for the next block, with a step that fits what the processor can do.

        Speech that comes faster than it is spoken, from a file, is read as often as always.
        """
        waiting = sum(block.size for block in self.blocks) / self._rate
        is_live = self._received / self._rate <= time.monotonic() - self._began + BEHIND
        if is_live and waiting > BEHIND:
            self._pace = min(2 * self._pace, LEAST_OFTEN)
        elif waiting < CAUGHT_UP:
            self._pace = max(self._pace / 1.02, 1.0)
        step = min(self._step * self._pace, max(self._step, LONGEST_STEP))
        return replace(self.state, options=replace(self.state.options, step=step))

    def _next_block(self) -> npt.NDArray[np.float32]:
        """Take the next samples, `AT_ONCE` at most."""
        samples, most = np.concatenate(self.blocks), round(AT_ONCE * self._rate)
        self.blocks = [samples[most:]] if samples.size > most else []
        return samples[:most]
