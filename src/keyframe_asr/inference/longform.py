"""Recordings of any length to text, in memory that does not grow with their length.

Up to 30 s are recognised whole. A longer recording is read in blocks and cut into stretches
(`inference.segmentation`), recognised together with those of its neighbours in batches of similar
length, and put together again (`inference.joining`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from keyframe_asr.audio.reading import Samples, announced_seconds, audio_blocks, read_audio
from keyframe_asr.audio.voice_activity import VoiceActivity, speech_detector
from keyframe_asr.errors import AudioError, KeyframeError
from keyframe_asr.inference.joining import Recognised, join_stretches, segment_of
from keyframe_asr.inference.segmentation import (
    DEFAULT_SEGMENTATION,
    Segmentation,
    Span,
    Stretch,
    stretches,
)
from keyframe_asr.io.malloc import give_freed_memory_back
from keyframe_asr.results import Transcript
from keyframe_asr.timing import SAMPLE_RATE

BATCH_SECONDS = 30.0
"""Seconds of audio, padding included, that are recognised at once: as long as one long stretch."""

BATCHES_AHEAD = 2
"""So many batches are read before their stretches are sorted by length."""

WHOLE_SECONDS = 30.0
"""A recording up to this long is recognised at once."""

BLOCK_SECONDS = 10.0
"""Seconds of a longer one that are read at once."""

LEAST_SECONDS = 0.1
"""What a shorter recording counts as, so that not too many of them are held."""

Recognise = Callable[[Sequence[Samples]], list[Transcript]]
"""Transcripts of a batch of samples (S,)."""

Progress = Callable[[int, float], None]
"""Is told the place of a recording among those given, and the share of it that is done."""


@dataclass(frozen=True)
class LongForm:
    """How recordings are cut and batched.

    Attributes:
        voice_activity: `silero`, `loudness`, or `auto`: the first where it is installed.
        segmentation: where stretches end.
        batch_seconds: audio that is recognised at once, padding included.
    """

    voice_activity: VoiceActivity = "auto"
    segmentation: Segmentation = DEFAULT_SEGMENTATION
    batch_seconds: float = BATCH_SECONDS


DEFAULT_LONG_FORM = LongForm()


@dataclass
class _Recording:
    """A recording on its way; `parts` has a None for each stretch not yet recognised."""

    parts: list[Recognised | None] = field(default_factory=list)
    waiting: int = 0
    samples: int = 0
    announced: float = 0.0
    whole: bool = False
    error: KeyframeError | None = None
    read: bool = False

    def result(self) -> Transcript | KeyframeError:
        """The transcript, once all stretches are recognised, or what is wrong."""
        if self.error is not None:
            return self.error
        parts = [part for part in self.parts if part is not None]
        if self.whole:
            return _with_segment(parts[0].transcript)
        return join_stretches(parts, self.samples / SAMPLE_RATE)

    def share(self) -> float:
        """How much of it is recognised, in [0, 1]."""
        if self.read and not self.waiting:
            return 1.0
        done = [part.span.end for part in self.parts if part is not None]
        return min(max(done, default=0) / (self.announced * SAMPLE_RATE or 1.0), 1.0)


def recognise_each(
    audio: Iterable[str | Path | Samples],
    recognise: Recognise,
    long_form: LongForm = DEFAULT_LONG_FORM,
    progress: Progress | None = None,
) -> Iterator[Transcript | KeyframeError]:
    """One result per recording, in order; a bad one gives its error and the others go on.

    Args:
        audio: files, or samples (S,) in [-1, 1] at 16 kHz.
        recognise: transcripts of a batch.
        long_form: how recordings are cut and batched.
        progress: is told how far recordings are, after every few batches.

    Raises:
        ModelError: `long_form` asks for silero-vad, which is not installed.
    """
    if long_form.voice_activity == "silero":
        speech_detector("silero")  # said before the work, not in the middle of it
    waiting = _Waiting(recognise, long_form, progress)
    for one in audio:
        recording = waiting.begin()
        try:
            for stretch in _stretches(one, recording, long_form):
                waiting.add(recording, stretch)
                if waiting.full:
                    yield from waiting.recognise()
        except KeyframeError as error:
            recording.error = error
        recording.read = True
        yield from waiting.finished()
    yield from waiting.recognise()


class _Waiting:
    """Stretches that wait for their batch, and recordings that wait for their turn."""

    def __init__(
        self, recognise: Recognise, long_form: LongForm, progress: Progress | None
    ) -> None:
        self._recognise = recognise
        self._batch_seconds = long_form.batch_seconds
        self._progress = progress
        self._recordings: dict[int, _Recording] = {}
        self._stretches: list[tuple[_Recording, int, Stretch]] = []
        self._seconds = 0.0
        self._begun = 0
        self._given = 0

    @property
    def full(self) -> bool:
        """Whether enough is here to sort by length."""
        return self._seconds >= BATCHES_AHEAD * self._batch_seconds

    def begin(self) -> _Recording:
        """The next recording, of which nothing is known yet."""
        recording = self._recordings[self._begun] = _Recording()
        self._begun += 1
        return recording

    def add(self, recording: _Recording, stretch: Stretch) -> None:
        """A stretch of a recording that is still being read."""
        self._stretches.append((recording, len(recording.parts), stretch))
        recording.parts.append(None)
        recording.waiting += 1
        self._seconds += max(stretch.samples.size / SAMPLE_RATE, LEAST_SECONDS)

    def recognise(self) -> Iterator[Transcript | KeyframeError]:
        """Recognise all that waits, and give the recordings that are complete."""
        wanted = [one for one in self._stretches if one[0].error is None]
        self._stretches, self._seconds = [], 0.0
        sizes = {place: one[2].samples.size for place, one in enumerate(wanted)}
        for batch in batches_by_length(sizes, self._batch_seconds):
            found = self._recognise([wanted[place][2].samples for place in batch])
            for place, transcript in zip(batch, found, strict=True):
                recording, part, stretch = wanted[place]
                recording.parts[part] = Recognised(stretch.span, transcript)
                recording.waiting -= 1
        if self._progress is not None:
            for place, recording in self._recordings.items():
                self._progress(place, recording.share())
        yield from self.finished()

    def finished(self) -> Iterator[Transcript | KeyframeError]:
        """Results that are complete and whose turn it is."""
        while (recording := self._recordings.get(self._given)) is not None:
            if not recording.read or (recording.waiting and recording.error is None):
                return
            del self._recordings[self._given]
            self._given += 1
            yield recording.result()


def batches_by_length(sizes: dict[int, int], seconds: float = BATCH_SECONDS) -> list[list[int]]:
    """Keys grouped by similar size in samples, `seconds` of audio in each group at most.

    Padding counts; a recording longer than that is a group of its own.
    """
    batches: list[list[int]] = []
    longest = 0
    for place in sorted(sizes, key=lambda key: (-sizes[key], key)):
        if not batches or (len(batches[-1]) + 1) * longest > seconds * SAMPLE_RATE:
            batches.append([])
            longest = sizes[place]
        batches[-1].append(place)
    return batches


def checked_samples(samples: Samples) -> Samples:
    """Samples (S,) within [-1, 1] as `read_audio` gives them. Raises `AudioError` for others."""
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(
            f"samples must be mono floats (S,) in [-1, 1] at 16 kHz, found {samples.dtype} "
            f"{samples.shape}; convert them first"
        )
    if not np.isfinite(samples).all():
        raise AudioError("samples hold NaN or infinite values; record or convert them again")
    # as `read_audio` does, so that a file and its samples give the same text
    clipped: Samples = np.clip(samples, -1.0, 1.0).astype(np.float32)
    return np.ascontiguousarray(clipped)


def _stretches(
    audio: str | Path | Samples, recording: _Recording, long_form: LongForm
) -> Iterator[Stretch]:
    """The stretches of a recording, whose length is noted as it is read."""
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
    detector = speech_detector(long_form.voice_activity)
    yield from stretches(_counted(blocks, recording), detector, long_form.segmentation)


def _whole(recording: _Recording, samples: Samples) -> Stretch:
    recording.whole = True
    recording.samples = samples.size
    return Stretch(Span(0, samples.size, 0), samples)


def _counted(blocks: Iterable[Samples], recording: _Recording) -> Iterator[Samples]:
    for block in blocks:
        recording.samples += block.size
        yield block


def _with_segment(transcript: Transcript) -> Transcript:
    """A recording that was recognised at once is one segment, if anything was said in it."""
    if transcript.segments or not transcript.tokens:
        return transcript
    segment = segment_of(transcript.text, transcript.tokens, transcript.words)
    return replace(transcript, segments=[segment])
