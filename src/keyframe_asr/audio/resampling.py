"""Resample a stream to 16 kHz, block by block, with a state that is a value.

`soxr.ResampleStream` keeps a hidden state, which cannot be copied or stored. Here each chunk is
resampled by `soxr.resample` together with the samples around it, as many as its filter reaches.
Chunks lie at fixed places of the stream, so the result does not depend on the division into blocks;
it differs from that of the whole recording by less than 1e-4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import soxr

from keyframe_asr.audio.reading import Samples
from keyframe_asr.timing import SAMPLE_RATE

CHUNK_SECONDS = 0.02
"""Duration of a chunk, at least."""

CONTEXT_SECONDS = 0.02
"""Duration of the samples before and after a chunk at the lower of both rates of 16 kHz or more;
longer in proportion for lower rates, whose filters are longer."""


@dataclass(frozen=True, eq=False)
class Resampler:
    """A stream at `rate` hertz that is resampled to 16 kHz.

    Attributes:
        rate: samples per second of the stream.
        samples: those that are still needed.
        first: place of their first one in the stream; samples at 16 kHz begin there, too.
        done: chunks that have been resampled.
    """

    rate: int
    samples: Samples = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    first: int = 0
    done: int = 0

    def push(self, block: Samples) -> tuple[Resampler, Samples]:
        """Return the state after the next samples (S,), and the samples at 16 kHz known by then."""
        if self.rate == SAMPLE_RATE:
            return self, np.clip(block, -1.0, 1.0)
        state = replace(self, samples=np.concatenate((self.samples, block)))
        found = []
        while state.first + state.samples.size >= state._end(state.done) + state._context:
            until = state._end(state.done)
            found.append(state._resampled(until + state._context, until))
            state = state._after_chunk()
        state = replace(state, samples=state.samples.copy())  # not all of the block
        return state, np.concatenate(found) if found else np.empty(0, dtype=np.float32)

    def finish(self) -> Samples:
        """Return the rest of the stream at 16 kHz."""
        if self.rate == SAMPLE_RATE or not self.samples.size:
            return np.empty(0, dtype=np.float32)
        return self._resampled(self.first + self.samples.size, None)

    @property
    def _period(self) -> int:
        """Samples after which both rates have a sample at the same time again."""
        return self.rate // math.gcd(self.rate, SAMPLE_RATE)

    @property
    def _context(self) -> int:
        return math.ceil(CONTEXT_SECONDS * max(self.rate, SAMPLE_RATE))

    def _end(self, chunk: int) -> int:
        """Return the place after a chunk."""
        return (chunk + 1) * math.ceil(CHUNK_SECONDS * self.rate)

    def _resampled(self, heard: int, until: int | None) -> Samples:
        """Resample up to the place `until` (None: all), reading up to the place `heard`."""
        window = self.samples[: heard - self.first]
        found = np.asarray(soxr.resample(window, self.rate, SAMPLE_RATE), dtype=np.float32)
        origin = self.first * SAMPLE_RATE // self.rate
        begin = self._at_16_khz(self._end(self.done - 1)) - origin
        end = None if until is None else self._at_16_khz(until) - origin
        return np.clip(found[begin:end], -1.0, 1.0)

    def _at_16_khz(self, place: int) -> int:
        return -(-place * SAMPLE_RATE // self.rate)

    def _after_chunk(self) -> Resampler:
        """Drop what later chunks do not need, in whole periods."""
        needed = max(0, self._end(self.done) - self._context)
        first = max(self.first, needed // self._period * self._period)
        samples = self.samples[first - self.first :]
        return replace(self, samples=samples, first=first, done=self.done + 1)
