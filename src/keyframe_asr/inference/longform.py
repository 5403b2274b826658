"""Recordings of any length to text, in memory that does not grow with their length.

Up to 30 s are recognised whole. A longer recording is read in blocks and cut into segments
(`inference.segmentation`), recognised together with those of its neighbours in batches of similar
length, and put together again (`inference.joining`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keyframe_asr.audio.reading import Samples, announced_seconds, audio_blocks, read_audio
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.batch_recognizer import (
    BatchRecognizer,
    batches_by_length,
    checked_samples,
)
from keyframe_asr.inference.joining import RecognisedSegment, join_segments
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.segmentation import (
    AudioSegment,
    SegmentBounds,
    audio_segments,
    speech_detector,
)
from keyframe_asr.io.malloc import give_freed_memory_back
from keyframe_asr.results import RecognitionResult
from keyframe_asr.timing import SAMPLE_RATE

BATCHES_AHEAD = 2
"""So many batches are read before their segments are sorted by length."""

WHOLE_SECONDS = 30.0
"""A recording up to this long is recognised at once."""

BLOCK_SECONDS = 10.0
"""Seconds of a longer one that are read at once."""

LEAST_SECONDS = 0.1
"""What a shorter recording counts as, so that not too many of them are held."""

RecordingProgress = Callable[[int, float], None]
"""Is told the place of a recording among those given, and the share of it that is done."""


@dataclass
class _Recording:
    """A recording on its way; `parts` has a None for each segment not yet recognised."""

    index: int
    path: Path | None
    parts: list[RecognisedSegment | None] = field(default_factory=list)
    waiting: int = 0
    samples: int = 0
    announced: float = 0.0
    whole: bool = False
    error: KeyframeError | None = None
    read: bool = False

    def result(self) -> RecognitionResult:
        """The transcript, once all segments are recognised, or what is wrong."""
        if self.error is not None:
            return RecognitionResult(self.index, self.path, error=self.error)
        parts = [part for part in self.parts if part is not None]
        whole = parts[0].transcript if self.whole else None
        transcript = whole or join_segments(parts, self.samples / SAMPLE_RATE)
        return RecognitionResult(self.index, self.path, transcript)

    def share(self) -> float:
        """How much of it is recognised, in [0, 1]."""
        if self.read and not self.waiting:
            return 1.0
        done = [part.bounds.end for part in self.parts if part is not None]
        return min(max(done, default=0) / (self.announced * SAMPLE_RATE or 1.0), 1.0)


def recognise_each(
    recognizer: BatchRecognizer,
    audio: Iterable[str | Path | Samples],
    options: RecognitionOptions,
    progress: RecordingProgress | None = None,
) -> Iterator[RecognitionResult]:
    """One result per recording, in order; a bad one holds its error and the others go on.

    Args:
        recognizer: recognises batches of segments.
        audio: files, or samples (S,) in [-1, 1] at 16 kHz.
        options: how recordings are recognised, cut and batched.
        progress: is told how far recordings are, after every few batches.

    Raises:
        ModelError: the options ask for silero-vad, which is not installed.
    """
    if options.voice_activity == "silero":
        speech_detector("silero")  # said before the work, not in the middle of it
    waiting = _Waiting(recognizer, options, progress)
    for one in audio:
        recording = waiting.begin(Path(one) if isinstance(one, str | Path) else None)
        try:
            for segment in _segments(one, recording, options):
                waiting.add(recording, segment)
                if waiting.full:
                    yield from waiting.recognise()
        except KeyframeError as error:
            recording.error = error
        recording.read = True
        yield from waiting.finished()
    yield from waiting.recognise()


class _Waiting:
    """Segments that wait for their batch, and recordings that wait for their turn."""

    def __init__(
        self,
        recognizer: BatchRecognizer,
        options: RecognitionOptions,
        progress: RecordingProgress | None,
    ) -> None:
        self._recognizer = recognizer
        self._options = options
        self._progress = progress
        self._recordings: dict[int, _Recording] = {}
        self._segments: list[tuple[_Recording, int, AudioSegment]] = []
        self._seconds = 0.0
        self._begun = 0
        self._given = 0

    @property
    def full(self) -> bool:
        """Whether enough is here to sort by length."""
        return self._seconds >= BATCHES_AHEAD * self._options.batch_seconds

    def begin(self, path: Path | None) -> _Recording:
        """The next recording, of which nothing is known yet."""
        recording = self._recordings[self._begun] = _Recording(self._begun, path)
        self._begun += 1
        return recording

    def add(self, recording: _Recording, segment: AudioSegment) -> None:
        """A segment of a recording that is still being read."""
        self._segments.append((recording, len(recording.parts), segment))
        recording.parts.append(None)
        recording.waiting += 1
        self._seconds += max(segment.samples.size / SAMPLE_RATE, LEAST_SECONDS)

    def recognise(self) -> Iterator[RecognitionResult]:
        """Recognise all that waits, and give the recordings that are complete."""
        wanted = [one for one in self._segments if one[0].error is None]
        self._segments, self._seconds = [], 0.0
        sizes = {place: one[2].samples.size for place, one in enumerate(wanted)}
        for batch in batches_by_length(sizes, self._options.batch_seconds):
            samples = [wanted[place][2].samples for place in batch]
            found = self._recognizer.recognise(samples, self._options)
            for place, transcript in zip(batch, found, strict=True):
                recording, part, segment = wanted[place]
                recording.parts[part] = RecognisedSegment(segment.bounds, transcript)
                recording.waiting -= 1
        if self._progress is not None:
            for recording in self._recordings.values():
                self._progress(recording.index, recording.share())
        yield from self.finished()

    def finished(self) -> Iterator[RecognitionResult]:
        """Results that are complete and whose turn it is."""
        while (recording := self._recordings.get(self._given)) is not None:
            if not recording.read or (recording.waiting and recording.error is None):
                return
            del self._recordings[self._given]
            self._given += 1
            yield recording.result()


def _segments(
    audio: str | Path | Samples, recording: _Recording, options: RecognitionOptions
) -> Iterator[AudioSegment]:
    """The segments of a recording, whose length is noted as it is read."""
    if isinstance(audio, str | Path):
        recording.announced = announced_seconds(audio)
        if recording.announced <= WHOLE_SECONDS:
            yield _whole(recording, read_audio(audio))
            return
        blocks = audio_blocks(audio, BLOCK_SECONDS)
    else:
        samples = checked_samples(audio)
        recording.announced = samples.size / SAMPLE_RATE
        if recording.announced <= WHOLE_SECONDS:
            yield _whole(recording, samples)
            return
        size = round(BLOCK_SECONDS * SAMPLE_RATE)
        blocks = (samples[start : start + size] for start in range(0, samples.size, size))
    give_freed_memory_back()
    detector = speech_detector(options.voice_activity)
    yield from audio_segments(_counted(blocks, recording), detector, options.segmentation)


def _whole(recording: _Recording, samples: Samples) -> AudioSegment:
    recording.whole = True
    recording.samples = samples.size
    return AudioSegment(SegmentBounds(0, samples.size, 0), samples)


def _counted(blocks: Iterable[Samples], recording: _Recording) -> Iterator[Samples]:
    for block in blocks:
        recording.samples += block.size
        yield block
