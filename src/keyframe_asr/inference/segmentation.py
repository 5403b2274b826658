"""Cut a stream of samples into segments that are short enough to be recognised at once.

A segment ends at a pause. Speech without a pause is cut near the longest duration, where the sum
of speech score and loudness is lowest. Both segments then overlap the cut by a second, and tokens
that both find there are kept once (`inference.joining`). Digital silence at the ends of a segment
is left out, and so is non-speech if the detector recognises speech. Every other sample is in a
segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.voice_activity import (
    HOP,
    MAX_RANGE,
    LoudnessDetector,
    Scores,
    SileroDetector,
    SpeechDetector,
    decibels,
)
from keyframe_asr.inference.options import RecognitionOptions, Segmentation, VoiceActivity
from keyframe_asr.timing import SAMPLE_RATE

SPEECH, PAUSE = 0.5, 0.35
"""Speech begins at the first score, and a pause below the second: the defaults of silero-vad."""

SILENT_PEAK = 2.0**-15
"""Samples that never exceed one step of 16-bit audio are digital silence."""

SILENT_END = 2.0**-14
"""Digital silence at the ends of a quiet segment, relative to its peak."""

CUT_HOP = 160
"""Samples between candidate cuts within speech."""

CUT_SMOOTHING = 9
"""Candidates over which loudness is averaged: 90 ms."""


@dataclass(frozen=True)
class SegmentBounds:
    """Position of a segment in its recording, in samples.

    Attributes:
        start: first sample.
        end: sample after the last; the next segment begins here or later.
        audio_start: first sample of its audio: before `start` if it overlaps the previous segment,
            after `start` if it begins with digital silence.
        continued: True if it begins at a cut within speech.
    """

    start: int
    end: int
    audio_start: int
    continued: bool = False


@dataclass(frozen=True)
class AudioSegment:
    """Part of a recording that is recognised at once: its bounds, and samples (S,) at 16 kHz."""

    bounds: SegmentBounds
    samples: Samples


def speech_detector(kind: VoiceActivity = "auto") -> SpeechDetector:
    """Create a detector; `auto` is loudness, which cuts as well as silero-vad and is faster.

    Raises:
        PackageError: `silero` is requested and silero-vad is not installed.
    """
    return SileroDetector() if kind == "silero" else LoudnessDetector()


def audio_segments(
    blocks: Iterable[Samples],
    detector: SpeechDetector,
    segmentation: Segmentation = RecognitionOptions.segmentation,
) -> Iterator[AudioSegment]:
    """Yield the segments of a recording that is read in blocks (S,), in bounded memory."""
    segmenter = _Segmenter(detector, segmentation)
    for block in blocks:
        segmenter.push(block)
        yield from segmenter.ready()
    segmenter.finish()
    yield from segmenter.ready()


class _Segmenter:
    """Buffers the samples from `_first` on that are not yet in a segment, and their scores."""

    def __init__(self, detector: SpeechDetector, segmentation: Segmentation) -> None:
        self._detector = detector
        self._longest = _samples(segmentation.longest)
        self._search = _samples(min(segmentation.search, segmentation.longest / 2))
        self._padding = _samples(segmentation.padding)
        self._overlap = _samples(segmentation.overlap)
        self._pause_hops = max(1, _samples(segmentation.pause) // HOP)
        self._first = 0  # a multiple of HOP
        self._samples = np.empty(0, dtype=np.float32)
        self._scores: Scores = np.empty(0, dtype=np.float32)
        self._next = 0  # earliest start of the next segment
        self._continued = False
        self._finished = False

    @property
    def _end(self) -> int:
        return self._first + self._samples.size

    def push(self, block: Samples) -> None:
        """Add the next samples (S,)."""
        self._samples = np.concatenate((self._samples, block))
        whole = self._samples.size // HOP * HOP
        self._score(self._samples[self._scores.size * HOP : whole])

    def finish(self) -> None:
        """End the stream, and score its last, incomplete hop."""
        rest = self._samples[self._scores.size * HOP :]
        if rest.size:
            self._score(np.pad(rest, (0, HOP - rest.size)))
        self._finished = True

    def ready(self) -> Iterator[AudioSegment]:
        """Yield the segments whose ends are known."""
        while (bounds := self._find()) is not None:
            until = bounds.end + (self._overlap if self._continued else 0)
            audio = self._samples[bounds.audio_start - self._first : until - self._first]
            self._next = bounds.end
            yield _without_silent_ends(AudioSegment(bounds, audio))
            self._discard()
        self._discard()

    def _score(self, samples: Samples) -> None:
        self._scores = np.concatenate((self._scores, self._detector.push(samples)))

    def _discard(self) -> None:
        """Drop whole hops before the overlap or padding of the next segment."""
        kept = self._next - max(self._overlap, self._padding)
        hops = max(0, (kept - self._first) // HOP)
        self._samples = self._samples[hops * HOP :]
        self._scores = self._scores[hops:]
        self._first += hops * HOP

    def _find(self) -> SegmentBounds | None:
        """Return the next segment, and set `_continued` if it ends within speech."""
        begins = self._begin()
        if begins is None:
            return None
        start, onset = begins
        limit = start + self._longest
        pause = self._pause_after(onset)
        continued, cut = self._continued, None
        if pause is not None and pause * HOP + self._first <= limit:
            until = self._end_of_speech(pause)
            if until is None:
                return None
            end, cut = min(until, limit + self._overlap), False
        elif self._end >= limit + self._overlap:
            end, cut = self._quietest(limit), True
        elif self._finished:
            end, cut = self._last_sound(onset), False
        if cut is None:
            return None
        audio_start = max(start - self._overlap, 0) if continued else start
        self._continued = cut
        return SegmentBounds(start, end, max(audio_start, self._first), continued)

    def _begin(self) -> tuple[int, int] | None:
        """Return the start of the next segment, and the first hop of the buffer with speech."""
        hop = max(0, -(-(self._next - self._first) // HOP))
        if self._continued:
            return (self._next, hop) if self._next < self._end else None
        speech = np.flatnonzero(self._scores[hop:] >= SPEECH)
        if self._detector.knows_speech:
            if not speech.size:
                # count scored samples: a block may end between hops
                scored = self._first + self._scores.size * HOP
                self._next = max(self._next, scored - self._padding)
                return None
            onset = hop + int(speech[0])
            return max(self._next, self._first + onset * HOP - self._padding), onset
        if self._next >= self._end:
            return None
        return self._next, hop + int(speech[0]) if speech.size else self._scores.size

    def _pause_after(self, hop: int) -> int | None:
        """Return the first hop of the first pause after `hop` that is long enough, or None."""
        quiet = self._scores[hop:] < PAUSE
        edges = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0))
        for begin, end in edges.reshape(-1, 2):
            if end - begin >= self._pause_hops:
                return hop + int(begin)
        return None

    def _end_of_speech(self, pause: int) -> int | None:
        """Return the end of a segment at a pause.

        It is after the padding if the detector recognises speech, and the quietest place of the
        pause if not. None if more of the pause has to be read first.
        """
        begin = self._first + pause * HOP
        if self._detector.knows_speech:
            return min(begin + self._padding, self._end)
        scores = self._scores[pause : pause + 2 * self._pause_hops]
        loud = np.flatnonzero(scores >= PAUSE)
        if not loud.size and scores.size < 2 * self._pause_hops and not self._finished:
            return None
        length = int(loud[0]) if loud.size else scores.size
        level = decibels(self._samples[pause * HOP : (pause + length) * HOP], HOP)
        quietest = np.flatnonzero(level <= level.min() + 1.0)
        return begin + int(quietest[quietest.size // 2]) * HOP + HOP // 2

    def _last_sound(self, onset: int) -> int:
        """Return the end of the recording, or of its speech if the detector recognises it."""
        if not self._detector.knows_speech:
            return self._end
        sound = np.flatnonzero(self._scores[onset:] >= PAUSE)
        last = onset + int(sound[-1]) + 1 if sound.size else onset
        return min(self._first + last * HOP + self._padding, self._end)

    def _quietest(self, limit: int) -> int:
        """Return the sample before `limit` at which speech is least likely."""
        begin = limit - self._search
        margin = CUT_SMOOTHING // 2 * CUT_HOP
        around = self._samples[begin - margin - self._first : limit + margin - self._first]
        level = np.convolve(
            decibels(around, CUT_HOP), np.full(CUT_SMOOTHING, 1 / CUT_SMOOTHING), "valid"
        )
        level = np.maximum(level, level.max() - MAX_RANGE)  # digital silence
        level = (level - level.min()) / max(float(np.ptp(level)), 1.0)
        places = begin + CUT_HOP * np.arange(level.size) + CUT_HOP // 2
        scores = self._scores[(places - self._first) // HOP]
        return int(places[np.argmin(level + scores)])


def _without_silent_ends(segment: AudioSegment) -> AudioSegment:
    """Cut off digital silence, in which models that were not trained on it hallucinate words."""
    loudness = np.abs(segment.samples)
    peak = float(loudness.max(initial=0.0))
    silence = min(SILENT_PEAK, SILENT_END * peak) if peak > SILENT_PEAK else SILENT_PEAK
    sound = np.flatnonzero(loudness > silence)
    first, last = (int(sound[0]), int(sound[-1]) + 1) if sound.size else (0, 0)
    bounds = replace(segment.bounds, audio_start=segment.bounds.audio_start + first)
    return AudioSegment(bounds, segment.samples[first:last].copy())  # not all that was read


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
