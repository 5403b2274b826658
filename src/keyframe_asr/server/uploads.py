"""Uploads that are recognised at the same time: their segments take turns, and form batches."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.batch_recognizer import BatchRecognizer
from keyframe_asr.inference.joining import RecognisedSegment, join_segments
from keyframe_asr.inference.longform import OpenRecording, segments_of
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.segmentation import AudioSegment
from keyframe_asr.results import Transcript
from keyframe_asr.server.messages import BeginUpload, Failed, MoreText, Recognised, Report
from keyframe_asr.server.service import TooLongError, WorkerError
from keyframe_asr.timing import SAMPLE_RATE

log = logging.getLogger(__name__)

BATCH_SECONDS = 20.0
"""Seconds of audio per turn, including padding, so that others soon have theirs."""


MOST_SEGMENTS = 8
"""Segments per turn: in silence, 20 s that were decoded leave a segment of no samples."""


class Uploads:
    """The uploads of one process.

    Args:
        tell: takes what is new.
    """

    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._uploads: deque[_Upload] = deque()  # in the order of their turns

    def __bool__(self) -> bool:
        """True if there is work."""
        return bool(self._uploads)

    def begin(
        self,
        order: BeginUpload,
        recognizer: BatchRecognizer,
        audio: BinaryIO | npt.NDArray[np.float32],
    ) -> None:
        """Add an upload.

        Raises:
            KeyframeError: the model cannot recognise with these options.
        """
        options = recognizer.prepare(order.options)
        self._uploads.append(_Upload(order, recognizer, options, audio))

    def cancel(self, job: int) -> None:
        """Drop an upload."""
        for upload in [one for one in self._uploads if one.job == job]:
            self._end(upload)

    def turn(self) -> None:
        """Recognise one batch: the next segments of those who waited longest."""
        batch = self._next_batch()
        if not batch:
            return
        recognizer, options = batch[0][0].recognizer, batch[0][0].options
        found = _recognised(recognizer, options, [segment for _, segment in batch])
        for (upload, segment), transcript in zip(batch, found, strict=True):
            if isinstance(transcript, Transcript):
                upload.add(segment, transcript)
            elif upload in self._uploads:
                self._fail(upload, transcript)
        for upload in {id(upload): upload for upload, _ in batch}.values():
            if upload in self._uploads:
                self._report(upload)

    def _report(self, upload: _Upload) -> None:
        """Tell what is new of an upload, and end it if all is recognised."""
        following = self._peeked(upload)
        if upload not in self._uploads:
            return
        if following is None:
            self._tell(Recognised(upload.job, upload.transcript()))
            self._end(upload)
        elif (news := upload.news(following)) is not None:
            self._tell(news)

    def _next_batch(self) -> list[tuple[_Upload, AudioSegment]]:
        """Take segments of uploads that are recognised in the same way, one of each in turn."""
        batch: list[tuple[_Upload, AudioSegment]] = []
        longest, way = 0, None
        passed: list[_Upload] = []
        while self._uploads:
            upload = self._uploads[0]
            segment = self._peeked(upload) if way in (None, upload.way) else None
            if segment is None:
                if self._uploads and self._uploads[0] is upload:
                    passed.append(self._uploads.popleft())
                continue
            longer = max(longest, segment.samples.size)
            too_long = (len(batch) + 1) * longer > BATCH_SECONDS * SAMPLE_RATE
            if batch and (too_long or len(batch) == MOST_SEGMENTS):
                break
            way, longest = upload.way, longer
            batch.append((upload, upload.take()))
            self._uploads.rotate(-1)
        self._uploads.extendleft(reversed(passed))
        return batch

    def _peeked(self, upload: _Upload) -> AudioSegment | None:
        """Return the next segment of an upload; one that cannot be read has failed."""
        try:
            return upload.peek()
        except KeyframeError as error:
            self._fail(upload, error)
        except Exception:
            log.exception("an upload could not be decoded")
            self._fail(upload, WorkerError("the recording could not be decoded; try another"))
        return None

    def _fail(self, upload: _Upload, error: Exception) -> None:
        self._tell(Failed(upload.job, error))
        self._end(upload)

    def _end(self, upload: _Upload) -> None:
        upload.close()
        self._uploads.remove(upload)


class _Upload:
    """An upload: what has been read and recognised of it."""

    def __init__(
        self,
        order: BeginUpload,
        recognizer: BatchRecognizer,
        options: RecognitionOptions,
        audio: BinaryIO | npt.NDArray[np.float32],
    ) -> None:
        self.job, self.recognizer, self.options = order.job, recognizer, options
        self.way = (id(recognizer), options)
        self._longest, self._audio = order.longest, audio
        self._recording = OpenRecording(0, None)
        self._segments: Iterator[AudioSegment] = segments_of(audio, self._recording, options)
        self._next: AudioSegment | None = None
        self._told = 0
        self._before: list[RecognisedSegment] = []

    def peek(self) -> AudioSegment | None:
        """Return the next segment, or None at the end.

        Raises:
            AudioError: the recording cannot be read.
            TooLongError: it is longer than allowed.
        """
        if self._next is None and not self._recording.read:
            self._next = next(self._segments, None)
            self._recording.read = self._next is None
            seconds = max(self._recording.announced, self._recording.samples / SAMPLE_RATE)
            if seconds > self._longest:
                raise TooLongError(
                    f"the recording lasts {seconds:.0f} s or more, but at most {self._longest:g} s "
                    "are recognised; split it"
                )
        return self._next

    def take(self) -> AudioSegment:
        """Return what `peek` returned, and go on."""
        segment, self._next = self._next, None
        assert segment is not None
        return segment

    def add(self, segment: AudioSegment, transcript: Transcript) -> None:
        """Add the transcript of the next segment."""
        self._recording.parts.append(RecognisedSegment(segment.bounds, transcript))

    def transcript(self) -> Transcript:
        """Return the transcript of all."""
        return self._recording.result(self.recognizer.config.text_form).unwrap()

    def news(self, following: AudioSegment) -> MoreText | None:
        """Return what nothing that follows can change: the segments before the last pause."""
        parts = [part for part in self._recording.parts[self._told :] if part is not None]
        if following.bounds.continued or not parts:
            return None
        self._told += len(parts)
        separation = self.recognizer.config.text_form.separation
        end = parts[-1].bounds.end / SAMPLE_RATE
        found = join_segments(parts, end, separation)
        if not found.text:
            return None
        # the text before tells whether a space comes between
        before = join_segments(self._before, end, separation).text
        together = join_segments(self._before + parts, end, separation).text
        self._before = parts
        return MoreText(self.job, together[len(before) :], tuple(found.segments))

    def close(self) -> None:
        """Close the file."""
        if not isinstance(self._audio, np.ndarray):
            self._audio.close()


def _recognised(
    recognizer: BatchRecognizer, options: RecognitionOptions, segments: list[AudioSegment]
) -> list[Transcript | Exception]:
    """Recognise segments together; if that fails, each alone, so that only the bad one fails."""
    try:
        return list(recognizer.recognise([one.samples for one in segments], options))
    except KeyframeError as error:
        if len(segments) == 1:
            return [error]
    except Exception:
        log.exception("recognition failed")
        if len(segments) == 1:
            return [WorkerError("the recording could not be recognised; try another")]
    return [one for segment in segments for one in _recognised(recognizer, options, [segment])]
