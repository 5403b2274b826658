"""Recognise a stream while it is spoken: utterances, what is committed of them, and their ends.

A model that streams reads the current utterance chunk by chunk (`inference.chunk_reading`). Other
encoders look at everything and cannot go on where they stopped: the utterance so far is read anew
every `StreamOptions.step`, and the tokens on which two readings agree are committed
(`inference.local_agreement`). When a pause ends the utterance, it is recognised once more in the
model's best way.

The state of a stream is a value. All that happens, happens at fixed places of the stream, at ends
of the detector's hops of 32 ms, so it does not depend on the division into blocks.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace

import numpy as np

from keyframe_asr.audio.features import first_sample, samples_of_frames
from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.resampling import Resampler
from keyframe_asr.audio.voice_activity import HOP, Memory, SpeechDetector, decibels
from keyframe_asr.config.text_choices import Separation
from keyframe_asr.inference.batch_recognizer import BatchRecognizer
from keyframe_asr.inference.chunk_reading import ChunkReader, Heard
from keyframe_asr.inference.joining import in_stream, later, text_of
from keyframe_asr.inference.local_agreement import Agreement
from keyframe_asr.inference.modes import check_mode
from keyframe_asr.inference.options import RecognitionOptions, StreamOptions
from keyframe_asr.inference.search import stream_mode
from keyframe_asr.inference.segmentation import CUT_HOP, CUT_SMOOTHING, PAUSE, SPEECH
from keyframe_asr.inference.stream_requests import Steps, read
from keyframe_asr.results import Token, Transcript
from keyframe_asr.timing import SAMPLE_RATE

LOUD, QUIET = 0.3, 0.2
"""Sound begins at the first score, and silence below the second, for a detector that only compares
levels: 6 and 4 dB above the quiet level. Lower than for a pause in a recording, since what is
silent here is never recognised."""

HOPS_AT_ONCE = 64
"""Hops that are scored at once: 2 s, which bounds the memory for a long block."""


@dataclass(frozen=True)
class StreamUpdate:
    """What is new after a block of a stream. Times are in seconds since the start of the stream.

    Attributes:
        committed: tokens that are new and never change, in order of time.
        text: text of all committed tokens of the current utterance, "" between utterances.
        partial: what follows it and may still change; `text + partial` is what to show.
        final: transcripts of the utterances that ended within this block: a second, better reading,
            which replaces what was shown of them. Only the duration is that of the utterance.
    """

    committed: tuple[Token, ...] = ()
    text: str = ""
    partial: str = ""
    final: tuple[Transcript, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The update as values for `json.dumps`: what `keyframe stream --json` writes."""
        return {
            "committed": Transcript("", list(self.committed)).to_dict()["tokens"],
            "text": self.text,
            "partial": self.partial,
            "final": [transcript.to_dict() for transcript in self.final],
        }


@dataclass(frozen=True)
class Utterance:
    """The utterance that is being spoken. Places are samples since the start of the stream.

    Attributes:
        start: its first sample.
        sound: place after its last sound.
        heard: place after its latest reading.
        tokens: what is known of its text; times are in the stream's own time.
        chunks: what a model that streams has read; it goes on where an utterance is cut.
    """

    start: int
    sound: int
    heard: int = 0
    tokens: Agreement = field(default_factory=Agreement)
    chunks: Heard | None = None


@dataclass(frozen=True, eq=False)
class StreamState:
    """All that is kept of a stream; made by `Recognizer.start_stream`.

    A value: it can be copied, pickled and continued more than once. Its arrays are never written
    into.

    Attributes:
        model: name of the model.
        options: how the stream is recognised.
        resampler: samples at the stream's own rate that are still needed.
        detector: state of the voice activity detector.
        samples: samples at 16 kHz that are still needed, in whole hops.
        first: place of the first of them, in samples since the start of the stream.
        waiting: samples after them, less than a hop.
        free: place after the last utterance.
        utterance: the current one; None in silence.
    """

    model: str
    options: StreamOptions
    resampler: Resampler
    detector: Memory
    samples: Samples = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    first: int = 0
    waiting: Samples = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    free: int = 0
    utterance: Utterance | None = None

    @property
    def seconds(self) -> float:
        """Seconds of the stream that have been heard."""
        return (self.first + self.samples.size + self.waiting.size) / SAMPLE_RATE


def prepared(recognizer: BatchRecognizer, options: StreamOptions) -> StreamOptions:
    """Fill in the decode modes of the options, and read their files.

    Raises:
        KeyframeError: as `BatchRecognizer.prepare`.
    """
    decode = options.partial_decode or stream_mode(recognizer.config)
    check_mode(recognizer.network, decode, recognizer.config.name)
    return replace(
        options, partial_decode=decode, recognition=recognizer.prepare(options.recognition)
    )


@dataclass(frozen=True)
class Means:
    """What streams are recognised with.

    Attributes:
        detector: of the kind that the options name; its memory is replaced.
        reader: of a model that streams; None where utterances are read again.
        separation: what separates words in the text form of the model.
    """

    detector: SpeechDetector
    reader: ChunkReader | None
    separation: Separation


def advance(
    state: StreamState, block: Samples, means: Means
) -> Steps[tuple[StreamState, StreamUpdate]]:
    """Continue a stream with the next samples (S,), at its own rate; `state` stays as it is."""
    resampler, samples = state.resampler.push(block)
    run = _Run(replace(state, resampler=resampler), means)
    yield from run.hear(samples)
    agreed = Agreement() if run.utterance is None else run.utterance.tokens
    text = text_of(agreed.committed, means.separation)
    shown = text_of(agreed.committed + agreed.rest, means.separation)
    partial = shown.removeprefix(text) if shown.startswith(text) else ""
    return run.state(), StreamUpdate(tuple(run.committed), text, partial, tuple(run.final))


def last_update(state: StreamState, means: Means) -> Steps[StreamUpdate]:
    """Recognise what is left at the end of a stream."""
    rest = np.concatenate((state.waiting, state.resampler.finish()))
    end = state.first + state.samples.size + rest.size
    run = _Run(replace(state, waiting=state.waiting[:0]), means, ending=True)
    yield from run.hear(np.pad(rest, (0, -rest.size % HOP)))
    if run.utterance is not None:
        yield from run.end_utterance(min(run.utterance.sound + run.padding, end))
    return StreamUpdate(tuple(run.committed), final=tuple(run.final))


class _Run:
    """A stream while it is continued: a working copy of its state, and what is new.

    At its end (`ending`), nothing is read but what `end_utterance` reads.
    """

    def __init__(self, state: StreamState, means: Means, ending: bool = False) -> None:
        self._state, self._reader = state, means.reader
        self._detector = copy(means.detector)  # another thread may use it for another stream
        self._ending = ending
        self._memory = state.detector
        self._samples, self._first = state.samples, state.first
        self._free = state.free
        self._end = state.first + state.samples.size  # place after the last hop that is behind
        options = state.options
        self._step, self._longest = _samples(options.step), options.longest * SAMPLE_RATE
        self._silence = _samples(options.silence), _samples(options.silence_after_text)
        self._partial = _fast(options)
        segmentation = options.recognition.segmentation
        self.padding = _samples(segmentation.padding)
        self._search = _samples(min(max(segmentation.search, 0.5), options.longest / 2))
        knows = means.detector.knows_speech
        self._begins, self._ceases = (SPEECH, PAUSE) if knows else (LOUD, QUIET)
        self.waiting, self.utterance = state.waiting, state.utterance
        self.committed: list[Token] = []
        self.final: list[Transcript] = []

    def state(self) -> StreamState:
        """Return the state of the stream."""
        return replace(
            self._state,
            detector=self._memory,
            samples=self._samples,
            first=self._first,
            waiting=self.waiting,
            free=self._free,
            utterance=self.utterance,
        )

    def hear(self, samples: Samples) -> Steps[None]:
        """Take the next samples (S,) at 16 kHz."""
        known = np.concatenate((self.waiting, samples))
        whole = known.size // HOP * HOP
        self.waiting = known[whole:].copy()
        for start in range(0, whole, HOPS_AT_ONCE * HOP):
            chunk = known[start : min(whole, start + HOPS_AT_ONCE * HOP)]
            self._detector.memory = self._memory
            scores = self._detector.push(chunk)
            self._memory = self._detector.memory
            self._samples = np.concatenate((self._samples, chunk))
            for score in scores.tolist():
                self._end += HOP
                yield from self._hop(score)
            self._discard()

    def end_utterance(self, until: int) -> Steps[None]:
        """End the current utterance at a place, or after what has been read of it if that is later.

        All of its tokens are committed, and it is recognised in the best way.
        """
        current = self.utterance
        assert current is not None
        if current.chunks is not None:
            read_until = current.chunks.begin + samples_of_frames(current.chunks.features)
            until = max(until, read_until)
            yield from self._read_chunk(current, until, last=True)
        yield from self._recognise_until(until)

    def _recognise_until(self, until: int) -> Steps[None]:
        """Recognise the current utterance up to a place in the best way; then there is none."""
        current, best = self.utterance, self._state.options.recognition
        assert current is not None
        seconds = current.start / SAMPLE_RATE
        samples = self._between(current.start, until)
        if current.chunks is not None:
            (final,) = yield from read(samples, best)
        else:
            partial, final = yield from read(samples, self._partial, best)
            before = current.tokens.committed
            if not before or before[-1].start * SAMPLE_RATE < until:  # else all before is committed
                agreed = current.tokens.with_reading(later(partial.tokens, seconds)).all_committed()
                self.committed += agreed.committed[len(before) :]
        if final.text:
            self.final.append(in_stream(final, seconds))
        self.utterance, self._free = None, until

    def _hop(self, score: float) -> Steps[None]:
        """Do what is due after a hop with this score."""
        current = self.utterance
        if current is None:
            if score >= self._begins:
                start = max(self._free, self._end - HOP - self.padding)
                chunks = None if self._reader is None else self._reader.start(start)
                self.utterance = Utterance(start, self._end, chunks=chunks)
            return
        if score >= self._ceases:
            current = self.utterance = replace(current, sound=self._end)
        if self._ending:
            return
        if self._reader is not None:
            current = yield from self._read_chunks(self._reader, current)
        has_text = bool(current.tokens.committed or current.tokens.rest)
        if self._end - current.sound >= self._silence[has_text]:
            yield from self.end_utterance(min(current.sound + self.padding, self._end))
        elif self._end - current.start >= self._longest:
            yield from self._cut()
        elif self._reader is None and self._steps(self._end) > self._steps(self._end - HOP):
            yield from self._read_again()

    def _steps(self, place: int) -> int:
        assert self.utterance is not None
        return (place - self.utterance.start) // self._step

    def _read_again(self) -> Steps[None]:
        """Read the current utterance so far, and commit what agrees with the reading before."""
        current = self.utterance
        assert current is not None
        before = len(current.tokens.committed)
        if current.sound + self.padding <= current.heard:
            # nothing but silence since then: another reading would be the same
            tokens = current.tokens.all_committed()
        else:
            (partial,) = yield from read(self._between(current.start, self._end), self._partial)
            reading = later(partial.tokens, current.start / SAMPLE_RATE)
            tokens = current.tokens.with_reading(reading)
            current = replace(current, heard=self._end)
        self.committed += tokens.committed[before:]
        self.utterance = replace(current, tokens=tokens)

    def _read_chunks(self, reader: ChunkReader, current: Utterance) -> Steps[Utterance]:
        """Read the chunks that are complete.

        None is read in silence, once all sound with its padding has been read.
        """
        while current.chunks is not None:
            needed = reader.end_of_chunk(current.chunks)
            heard = current.chunks.begin + samples_of_frames(current.chunks.features)
            silent = heard - reader.look_ahead >= current.sound + self.padding
            if needed > self._end or silent:
                break
            current = yield from self._read_chunk(current, needed)
        return current

    def _read_chunk(self, current: Utterance, until: int, last: bool = False) -> Steps[Utterance]:
        """Read the next chunk, or all that is left, and commit what is certain then."""
        assert current.chunks is not None and self._reader is not None
        start = current.chunks.begin + first_sample(current.chunks.features)
        chunks, certain, rest = yield from self._reader.read(
            current.chunks, self._between(start, until), last=last
        )
        self.committed += certain
        tokens = Agreement(current.tokens.committed + certain, rest)
        current = self.utterance = replace(current, tokens=tokens, chunks=chunks)
        return current

    def _cut(self) -> Steps[None]:
        """End the current utterance at its quietest place, and let another begin there."""
        current = self.utterance
        assert current is not None
        place = self._quietest()
        if current.sound <= place:
            yield from self.end_utterance(place)
            return
        yield from self._recognise_until(place)
        after = [one for one in current.tokens.committed if one.start * SAMPLE_RATE >= place]
        tokens = Agreement(tuple(after), current.tokens.rest if current.chunks else ())
        self.utterance = Utterance(place, current.sound, tokens=tokens, chunks=current.chunks)

    def _quietest(self) -> int:
        """Return the quietest place of the last part of what has been heard."""
        last = self._samples[self._end - self._search - self._first : self._end - self._first]
        window = np.full(CUT_SMOOTHING, 1 / CUT_SMOOTHING)
        level = np.convolve(decibels(last, CUT_HOP), window, "valid")
        middle = int(np.argmin(level)) + CUT_SMOOTHING // 2
        return self._end - self._search + middle * CUT_HOP + CUT_HOP // 2

    def _between(self, start: int, end: int) -> Samples:
        return self._samples[start - self._first : end - self._first].copy()

    def _discard(self) -> None:
        """Drop whole hops before the current utterance, or before where the next may begin."""
        needed, current = self._end - self.padding, self.utterance
        if current is not None:
            needed = current.start
            if current.chunks is not None:
                read_next = current.chunks.begin + first_sample(current.chunks.features)
                needed = min(needed, read_next)
        hops = max(0, (max(needed, self._first) - self._first) // HOP)
        self._samples = self._samples[hops * HOP :].copy() if hops else self._samples
        self._first += hops * HOP


def _fast(options: StreamOptions) -> RecognitionOptions:
    """Return how an utterance is read while it is spoken."""
    best = options.recognition
    return RecognitionOptions(
        decode=options.partial_decode,
        greedy=True,
        batch_seconds=best.batch_seconds,
        language=best.language,
    )


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
