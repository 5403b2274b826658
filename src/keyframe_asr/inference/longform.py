"""Recognise recordings of any length in bounded memory.

A recording of up to 30 s is recognised whole. A longer one is read in blocks and cut into segments
(`inference.segmentation`). Segments of all recordings are batched by length, recognised, and joined
(`inference.joining`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keyframe_asr.audio.arrays import checked_samples, refuse_rate
from keyframe_asr.audio.band import highest_frequency
from keyframe_asr.audio.byte_source import is_audio_file
from keyframe_asr.audio.reading import Samples, opened_recording
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.errors import KeyframeError, NarrowBandWarning
from keyframe_asr.inference.batch_recognizer import (
    AudioInput,
    BatchRecognizer,
    batches_by_length,
)
from keyframe_asr.inference.joining import RecognisedSegment, join_segments
from keyframe_asr.inference.normal_texts import with_normal_texts
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.segmentation import (
    AudioSegment,
    SegmentBounds,
    audio_segments,
    speech_detector,
)
from keyframe_asr.io.malloc import return_freed_memory
from keyframe_asr.results import RecognitionResult
from keyframe_asr.timing import SAMPLE_RATE

BATCHES_AHEAD = 2
"""Number of batches that are read before segments are sorted by length."""

WHOLE_SECONDS = 30.0
"""Recordings up to this duration are not segmented."""

BLOCK_SECONDS = 10.0
"""Duration of the blocks in which longer recordings are read."""

LEAST_SECONDS = 0.1
"""Shorter segments count as this long, which limits how many are held in memory."""

NARROW = (0.3, 0.6)
"""Shares of the model's band: a warning is given for recordings that end between them. What ends
lower is not speech but a hum or a tone."""

RecordingProgress = Callable[[int, float], None]
"""Called with the index of a recording and the fraction of it that is done."""


@dataclass
class OpenRecording:
    """A recording in progress.

    Attributes:
        index: its position among several.
        path: its file, if it has a path.
        parts: its segments so far; None for each that is not yet recognised.
        waiting: number of those.
        samples: samples at 16 kHz that have been read.
        announced: seconds according to its header.
        whole: it is recognised as one segment.
        error: that ended it.
        read: it has been read to its end.
    """

    index: int
    path: Path | None
    parts: list[RecognisedSegment | None] = field(default_factory=list)
    waiting: int = 0
    samples: int = 0
    announced: float = 0.0
    whole: bool = False
    error: KeyframeError | None = None
    read: bool = False

    def result(self, form: TextForm) -> RecognitionResult:
        """Return the transcript or the error, once all segments are recognised."""
        if self.error is not None:
            return RecognitionResult(self.index, self.path, error=self.error)
        parts = [part for part in self.parts if part is not None]
        if self.whole:
            return RecognitionResult(self.index, self.path, parts[0].transcript)
        transcript = join_segments(parts, self.samples / SAMPLE_RATE, form.separation)
        if any(part.transcript.normal is not None for part in parts):
            transcript = with_normal_texts(transcript, form)
        return RecognitionResult(self.index, self.path, transcript)

    def fraction_done(self) -> float:
        """Return the fraction that is recognised, in [0, 1]."""
        if self.read and not self.waiting:
            return 1.0
        done = [part.bounds.end for part in self.parts if part is not None]
        return min(max(done, default=0) / (self.announced * SAMPLE_RATE or 1.0), 1.0)


def recognise_each(
    recognizer: BatchRecognizer,
    audio: Iterable[AudioInput],
    options: RecognitionOptions,
    progress: RecordingProgress | None = None,
    sample_rate: int | None = None,
) -> Iterator[RecognitionResult]:
    """Yield one result per recording, in order; an error in one does not stop the others.

    Args:
        recognizer: recognises batches of segments.
        audio: recordings, as `Recognizer.transcribe` takes them.
        options: how recordings are segmented, batched and recognised.
        progress: called for the recordings in progress after every few batches.
        sample_rate: of samples in hertz; None for files, and for samples at 16 kHz.

    Raises:
        ModelError: the options ask for silero-vad, which is not installed.
    """
    if options.voice_activity == "silero":
        speech_detector("silero")  # fail before the work
    queue = _Queue(recognizer, options, progress)
    for source in audio:
        recording = queue.begin(Path(source) if isinstance(source, str | os.PathLike) else None)
        try:
            for segment in segments_of(source, recording, options, sample_rate):
                queue.add(recording, segment)
                if queue.full:
                    yield from queue.recognise()
        except KeyframeError as error:
            recording.error = error
        recording.read = True
        yield from queue.finished()
    yield from queue.recognise()


class _Queue:
    """Segments waiting for a batch, and recordings waiting for earlier ones to finish."""

    def __init__(
        self,
        recognizer: BatchRecognizer,
        options: RecognitionOptions,
        progress: RecordingProgress | None,
    ) -> None:
        self._recognizer = recognizer
        self._options = options
        self._progress = progress
        self._recordings: dict[int, OpenRecording] = {}
        self._segments: list[tuple[OpenRecording, int, AudioSegment]] = []
        self._seconds = 0.0
        self._begun = 0
        self._yielded = 0
        self._warned = False

    @property
    def full(self) -> bool:
        """True if there are enough segments to sort by length."""
        return self._seconds >= BATCHES_AHEAD * self._options.batch_seconds

    def begin(self, path: Path | None) -> OpenRecording:
        """Add a recording."""
        recording = self._recordings[self._begun] = OpenRecording(self._begun, path)
        self._begun += 1
        return recording

    def add(self, recording: OpenRecording, segment: AudioSegment) -> None:
        """Add a segment of a recording that is being read."""
        if not recording.parts and not self._warned:
            self._warned = _warn_if_narrow(recording, segment, self._recognizer)
        self._segments.append((recording, len(recording.parts), segment))
        recording.parts.append(None)
        recording.waiting += 1
        self._seconds += max(segment.samples.size / SAMPLE_RATE, LEAST_SECONDS)

    def recognise(self) -> Iterator[RecognitionResult]:
        """Recognise all waiting segments, and yield the results that are complete."""
        waiting = [entry for entry in self._segments if entry[0].error is None]
        self._segments, self._seconds = [], 0.0
        sizes = {index: segment.samples.size for index, (_, _, segment) in enumerate(waiting)}
        for batch in batches_by_length(sizes, self._options.batch_seconds):
            samples = [waiting[index][2].samples for index in batch]
            found = self._recognizer.recognise(samples, self._options)
            for index, transcript in zip(batch, found, strict=True):
                recording, part, segment = waiting[index]
                recording.parts[part] = RecognisedSegment(segment.bounds, transcript)
                recording.waiting -= 1
        if self._progress is not None:
            for recording in self._recordings.values():
                self._progress(recording.index, recording.fraction_done())
        yield from self.finished()

    def finished(self) -> Iterator[RecognitionResult]:
        """Yield complete results, in order."""
        while (recording := self._recordings.get(self._yielded)) is not None:
            if not recording.read or (recording.waiting and recording.error is None):
                return
            del self._recordings[self._yielded]
            self._yielded += 1
            yield recording.result(self._recognizer.config.text_form)


def _warn_if_narrow(
    recording: OpenRecording, segment: AudioSegment, recognizer: BatchRecognizer
) -> bool:
    """Warn of a recording with much less than the band that the model was trained on."""
    highest, wanted = highest_frequency(segment.samples), recognizer.config.features.band
    narrow = NARROW[0] * wanted < highest < NARROW[1] * wanted
    if narrow:
        warnings.warn(
            f"{recording.path or 'samples'}: nothing above {highest / 1000:.1f} kHz, as in "
            f"telephone speech, but model '{recognizer.config.name}' was trained on speech up to "
            f"{wanted / 1000:g} kHz; expect more errors in such recordings",
            NarrowBandWarning,
            stacklevel=2,
        )
    return narrow


def segments_of(
    audio: AudioInput,
    recording: OpenRecording,
    options: RecognitionOptions,
    sample_rate: int | None = None,
) -> Iterator[AudioSegment]:
    """Yield the segments of a recording, and update its length while it is read.

    Raises:
        AudioError: as `Recognizer.transcribe`, when it comes to the fault.
    """
    if is_audio_file(audio):
        refuse_rate(audio, sample_rate)
        # opened once, since a pipe cannot be read again
        with opened_recording(audio, options.channel) as opened:
            recording.announced = opened.announced_seconds
            whole = opened.whole(WHOLE_SECONDS)
            if whole is not None:
                yield _whole(recording, whole)
            else:
                yield from _of_blocks(opened.blocks(BLOCK_SECONDS), recording, options)
        return
    samples = checked_samples(audio, sample_rate, options.channel)
    recording.announced = samples.size / SAMPLE_RATE
    if recording.announced <= WHOLE_SECONDS:
        yield _whole(recording, samples)
        return
    size = round(BLOCK_SECONDS * SAMPLE_RATE)
    blocks = (samples[start : start + size] for start in range(0, samples.size, size))
    yield from _of_blocks(blocks, recording, options)


def _of_blocks(
    blocks: Iterable[Samples], recording: OpenRecording, options: RecognitionOptions
) -> Iterator[AudioSegment]:
    return_freed_memory()
    detector = speech_detector(options.voice_activity)
    yield from audio_segments(_counted(blocks, recording), detector, options.segmentation)


def _whole(recording: OpenRecording, samples: Samples) -> AudioSegment:
    recording.whole = True
    recording.samples = samples.size
    return AudioSegment(SegmentBounds(0, samples.size, 0), samples)


def _counted(blocks: Iterable[Samples], recording: OpenRecording) -> Iterator[Samples]:
    for block in blocks:
        recording.samples += block.size
        yield block
