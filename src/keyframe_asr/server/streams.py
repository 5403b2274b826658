"""Streams that are recognised at the same time: what they need next forms batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.arrays import checked_block
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.streaming import StreamState, StreamUpdate
from keyframe_asr.server.messages import BeginStream, Failed, Opened, Report, Updated
from keyframe_asr.server.service import LiveUpdate, WorkerError
from keyframe_asr.timing import SAMPLE_RATE

log = logging.getLogger(__name__)

BEHIND, CAUGHT_UP = 0.5, 0.2
"""Seconds of live speech that wait for recognition: beyond the first, utterances are read again
less often, and below the second, more often again."""

LONGEST_STEP = 10.0
"""The largest `StreamOptions.step`."""

LEAST_OFTEN = 4.0
"""Utterances are never read again more rarely than every so many `StreamOptions.step`."""

AT_ONCE = 1.0
"""Seconds of a stream that are recognised at once, so that one that lags does not stop others."""


class Streams:
    """The streams of one process.

    Args:
        tell: takes what is new.
    """

    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._streams: dict[int, _Stream] = {}

    def __bool__(self) -> bool:
        """True if there is work."""
        return any(stream.waits for stream in self._streams.values())

    def begin(self, order: BeginStream, recognizer: Recognizer) -> None:
        """Add a stream. Raises the errors of `Recognizer.start_stream`."""
        state = recognizer.start_stream(order.options, order.sample_rate)
        self._streams[order.job] = _Stream(order.job, recognizer, state, order.sample_rate)
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
        self._streams.pop(job, None)

    def turn(self) -> None:
        """Recognise the next samples of all streams that have some, and end those that are over."""
        waiting = [stream for stream in self._streams.values() if stream.blocks]
        for recognizer in {id(one.recognizer): one.recognizer for one in waiting}.values():
            self._advance([one for one in waiting if one.recognizer is recognizer], recognizer)
        for stream in [one for one in self._streams.values() if one.ending and not one.blocks]:
            try:
                last = stream.recognizer.last_update(stream.state)
            except Exception as error:
                self._fail(stream, error)
                continue
            self._update(stream, last, last=True)
            del self._streams[stream.job]

    def _advance(self, streams: Sequence[_Stream], recognizer: Recognizer) -> None:
        blocks = [stream.next_block() for stream in streams]
        try:
            found = recognizer.accept_batch([stream.paced_state() for stream in streams], blocks)
        except Exception as error:
            if len(streams) == 1:
                self._fail(streams[0], error)
                return
            for stream, block in zip(streams, blocks, strict=True):  # only the bad one fails
                stream.blocks.insert(0, block)
                self._advance([stream], recognizer)
            return
        for stream, (state, update) in zip(streams, found, strict=True):
            stream.state = state
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
        self._streams.pop(stream.job, None)


class _Stream:
    """A stream: its state, and what has not been recognised."""

    def __init__(
        self, job: int, recognizer: Recognizer, state: StreamState, sample_rate: int
    ) -> None:
        self.job, self.recognizer, self.state = job, recognizer, state
        self.blocks: list[npt.NDArray[np.float32]] = []
        self.ending = False
        self._rate = sample_rate
        self._step, self._pace = state.options.step, 1.0
        self._began, self._received = 0.0, 0

    @property
    def waits(self) -> bool:
        """True if there is something to do."""
        return bool(self.blocks) or self.ending

    def add(self, samples: npt.NDArray[np.float32]) -> None:
        """Add the next samples."""
        if not self._received:
            self._began = time.monotonic()
        self._received += samples.size
        self.blocks.append(samples)

    def paced_state(self) -> StreamState:
        """Return the state for the next block, with a step that fits what the processor can do.

        Speech that comes faster than it is spoken, from a file, is read as often as always.
        """
        waiting = sum(block.size for block in self.blocks) / self._rate
        is_live = self._received / self._rate <= time.monotonic() - self._began + BEHIND
        if is_live and waiting > BEHIND:
            self._pace = min(2 * self._pace, LEAST_OFTEN)
        elif waiting < CAUGHT_UP:
            self._pace = max(self._pace / 1.1, 1.0)
        step = min(self._step * self._pace, max(self._step, LONGEST_STEP))
        return replace(self.state, options=replace(self.state.options, step=step))

    def next_block(self) -> npt.NDArray[np.float32]:
        """Take the next samples, `AT_ONCE` at most."""
        samples, most = np.concatenate(self.blocks), round(AT_ONCE * self._rate)
        self.blocks = [samples[most:]] if samples.size > most else []
        return samples[:most]
