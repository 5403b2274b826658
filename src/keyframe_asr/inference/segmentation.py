"""A stream of samples cut into segments short enough to be recognised at once.

A segment ends at a pause. Speech without a pause is cut where it is least likely: the lowest sum
of speech score and loudness near the greatest length; both segments then hear a second beyond
the cut, and what both of them found there is kept once (`inference.joining`). What a detector
that knows speech finds none in is left out, and digital silence at the ends; else every sample is
in some segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.voice_activity import (
    HOP,
    LoudnessDetector,
    Scores,
    SileroDetector,
    SpeechDetector,
    decibels,
)
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.options import RecognitionOptions, Segmentation, VoiceActivity
from keyframe_asr.timing import SAMPLE_RATE

SPEECH, PAUSE = 0.5, 0.35
"""Speech begins at the first score, and pauses below the second: silero-vad's own defaults."""

SILENT_PEAK = 2.0**-15
"""What never exceeds one step of 16-bit audio holds no speech at all."""

CUT_HOP = 160
"""Samples between two places where speech may be cut."""

CUT_SMOOTHING = 9
"""Such places over which loudness is averaged: a cut wants 90 ms of calm."""


@dataclass(frozen=True)
class SegmentBounds:
    """Places of a segment in its recording, in samples.

    Attributes:
        start: where it begins.
        end: where it ends; the next one begins there or later.
        heard: where the audio of it begins: before `start` if it overlaps the one before, after
            it if it begins with digital silence.
        continued: whether it begins at a cut within speech.
    """

    start: int
    end: int
    heard: int
    continued: bool = False


@dataclass(frozen=True)
class AudioSegment:
    """Part of a recording that is recognised at once: `bounds`, and samples (S,) at 16 kHz."""

    bounds: SegmentBounds
    samples: Samples


def speech_detector(kind: VoiceActivity = "auto") -> SpeechDetector:
    """A fresh detector; `auto` is silero-vad where it is installed, else loudness.

    Raises:
        ModelError: silero-vad is asked for and not installed.
    """
    if kind == "loudness":
        return LoudnessDetector()
    try:
        return SileroDetector()
    except ImportError:
        if kind == "auto":
            return LoudnessDetector()
        raise ModelError(
            "silero-vad is not installed; pip install 'keyframe-asr[vad]', or leave the choice "
            "of voice activity detection to the program"
        ) from None


def audio_segments(
    blocks: Iterable[Samples],
    detector: SpeechDetector,
    segmentation: Segmentation = RecognitionOptions.segmentation,
) -> Iterator[AudioSegment]:
    """Segments of a recording that comes in blocks (S,), in order; what is read is forgotten."""
    segmenter = _Segmenter(detector, segmentation)
    for block in blocks:
        segmenter.push(block)
        yield from segmenter.ready()
    segmenter.finish()
    yield from segmenter.ready()


class _Segmenter:
    """The samples that are not yet in a segment, from `_first` on, with the score of each hop."""

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
        self._next = 0  # no segment begins before
        self._continued = False
        self._finished = False

    @property
    def _end(self) -> int:
        return self._first + self._samples.size

    def push(self, block: Samples) -> None:
        """Take in the next samples (S,)."""
        self._samples = np.concatenate((self._samples, block))
        whole = self._samples.size // HOP * HOP
        self._score(self._samples[self._scores.size * HOP : whole])

    def finish(self) -> None:
        """No more samples come: the last hop may be a part of one."""
        rest = self._samples[self._scores.size * HOP :]
        if rest.size:
            self._score(np.pad(rest, (0, HOP - rest.size)))
        self._finished = True

    def ready(self) -> Iterator[AudioSegment]:
        """The segmentes whose ends are known."""
        while (bounds := self._find()) is not None:
            until = bounds.end + (self._overlap if self._continued else 0)
            heard = self._samples[bounds.heard - self._first : until - self._first]
            self._next = bounds.end
            yield _without_silent_ends(AudioSegment(bounds, heard.copy()))
            self._forget()
        self._forget()

    def _score(self, samples: Samples) -> None:
        self._scores = np.concatenate((self._scores, self._detector.push(samples)))

    def _forget(self) -> None:
        """Drop what no segment can need: whole hops before the next one's overlap or padding."""
        kept = self._next - max(self._overlap, self._padding)
        hops = max(0, (kept - self._first) // HOP)
        self._samples = self._samples[hops * HOP :]
        self._scores = self._scores[hops:]
        self._first += hops * HOP

    def _find(self) -> SegmentBounds | None:
        """The next segment; `_continued` tells afterwards whether its end is within speech."""
        begins = self._begin()
        if begins is None:
            return None
        start, spoken = begins
        limit = start + self._longest
        pause = self._pause_after(spoken)
        continued, cut = self._continued, None
        if pause is not None and pause * HOP + self._first <= limit:
            until = self._end_of_speech(pause)
            if until is None:
                return None
            end, cut = min(until, limit + self._overlap), False
        elif self._end >= limit + self._overlap:
            end, cut = self._quietest(limit), True
        elif self._finished:
            end, cut = self._last_sound(spoken), False
        if cut is None:
            return None
        heard = max(start - self._overlap, 0) if continued else start
        self._continued = cut
        return SegmentBounds(start, end, max(heard, self._first), continued)

    def _begin(self) -> tuple[int, int] | None:
        """Where the next segment begins, and from which hop of the buffer there is speech."""
        hop = max(0, -(-(self._next - self._first) // HOP))
        if self._continued:
            return (self._next, hop) if self._next < self._end else None
        spoken = np.flatnonzero(self._scores[hop:] >= SPEECH)
        if self._detector.knows_speech:
            if not spoken.size:
                # of what is scored, not of what is read: that ends with the block, between hops
                scored = self._first + self._scores.size * HOP
                self._next = max(self._next, scored - self._padding)
                return None
            onset = hop + int(spoken[0])
            return max(self._next, self._first + onset * HOP - self._padding), onset
        if self._next >= self._end:
            return None
        return self._next, hop + int(spoken[0]) if spoken.size else self._scores.size

    def _pause_after(self, hop: int) -> int | None:
        """The hop at which the first pause after `hop` begins, if it is long enough."""
        quiet = self._scores[hop:] < PAUSE
        edges = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0))
        for begin, end in edges.reshape(-1, 2):
            if end - begin >= self._pause_hops:
                return hop + int(begin)
        return None

    def _end_of_speech(self, pause: int) -> int | None:
        """After the padding, or where a pause that is only known to be quiet is quietest.

        None if more of the pause has to come first.
        """
        begin = self._first + pause * HOP
        if self._detector.knows_speech:
            return min(begin + self._padding, self._end)
        looked_at = self._scores[pause : pause + 2 * self._pause_hops]
        loud = np.flatnonzero(looked_at >= PAUSE)
        if not loud.size and looked_at.size < 2 * self._pause_hops and not self._finished:
            return None
        length = int(loud[0]) if loud.size else looked_at.size
        level = decibels(self._samples[pause * HOP : (pause + length) * HOP], HOP)
        quietest = np.flatnonzero(level <= level.min() + 1.0)
        return begin + int(quietest[quietest.size // 2]) * HOP + HOP // 2

    def _last_sound(self, spoken: int) -> int:
        """The end of the recording, or of the speech in it."""
        if not self._detector.knows_speech:
            return self._end
        sound = np.flatnonzero(self._scores[spoken:] >= PAUSE)
        last = spoken + int(sound[-1]) + 1 if sound.size else spoken
        return min(self._first + last * HOP + self._padding, self._end)

    def _quietest(self, limit: int) -> int:
        """The place before `limit` at which speech is least likely."""
        begin = limit - self._search
        margin = CUT_SMOOTHING // 2 * CUT_HOP
        around = self._samples[begin - margin - self._first : limit + margin - self._first]
        level = np.convolve(
            decibels(around, CUT_HOP), np.full(CUT_SMOOTHING, 1 / CUT_SMOOTHING), "valid"
        )
        level = (level - level.min()) / max(float(np.ptp(level)), 1.0)
        places = begin + CUT_HOP * np.arange(level.size) + CUT_HOP // 2
        scores = self._scores[(places - self._first) // HOP]
        return int(places[np.argmin(level + scores)])


def _without_silent_ends(segment: AudioSegment) -> AudioSegment:
    """Digital silence holds no speech, and models that never met it hear words in it."""
    sound = np.flatnonzero(np.abs(segment.samples) > SILENT_PEAK)
    first, last = (int(sound[0]), int(sound[-1]) + 1) if sound.size else (0, 0)
    bounds = replace(segment.bounds, heard=segment.bounds.heard + first)
    return AudioSegment(bounds, segment.samples[first:last])


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)
