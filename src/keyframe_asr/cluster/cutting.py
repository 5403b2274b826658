"""How long recordings are, and where long ones are cut, before any is recognised."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from keyframe_asr.audio.reading import Samples, announced_seconds, opened_recording
from keyframe_asr.cluster.manifest import Recording
from keyframe_asr.cluster.places import opened
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.longform import BLOCK_SECONDS
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.segmentation import audio_segments, speech_detector
from keyframe_asr.timing import SAMPLE_RATE


def durations(recordings: Sequence[Recording]) -> list[float]:
    """Return the seconds of recordings according to their headers.

    0 where the header does not tell them, or the recording cannot be read: recognising it will
    tell.
    """
    found = []
    for recording in recordings:
        seconds = 0.0
        try:
            with opened(recording.uri, pauses=()) as file:
                seconds = announced_seconds(file)
        except Exception:  # of a damaged file, too
            seconds = 0.0
        found.append(seconds)
    return found


def segments_found(recording: Recording, options: RecognitionOptions) -> dict[str, Any] | None:
    """Read a recording in blocks, and find its segments as `inference.longform` does.

    Returns:
        `samples`, its length at 16 kHz, and `segments`: start, end, start of the audio, whether it
        continues, and size of the audio of each, in samples. None if it cannot be read, which
        recognising it whole will tell.
    """
    read = 0

    def counted(blocks: Iterator[Samples]) -> Iterator[Samples]:
        nonlocal read
        for block in blocks:
            read += block.size
            yield block

    try:
        with (
            opened(recording.uri) as file,
            opened_recording(file, channel_of(recording, options)) as sound,
        ):
            sound.skip(recording.start or 0.0)
            blocks = sound.blocks(BLOCK_SECONDS)
            if recording.start is not None and recording.seconds is not None:
                blocks = _first(blocks, recording.seconds)
            detector = speech_detector(options.voice_activity)
            found = audio_segments(counted(blocks), detector, options.segmentation)
            segments = [
                (one.start, one.end, one.audio_start, one.continued, size)
                for one, size in ((part.bounds, part.samples.size) for part in found)
            ]
    except KeyframeError:
        return None
    return {"samples": read, "segments": segments}


def samples_of(
    sound_of: Recording, options: RecognitionOptions, segments: Sequence[tuple[Any, ...]]
) -> list[Samples]:
    """Return the samples of successive segments of a recording.

    It is read from a second before the first one: a resampler needs what comes before, and whole
    seconds are whole samples at every rate.

    Raises:
        AudioError: it cannot be read.
    """
    starts = [segment[2] for segment in segments]
    first = max(0, min(starts) // SAMPLE_RATE - 1)
    last = max(segment[2] + segment[4] for segment in segments)
    seconds = math.ceil(last / SAMPLE_RATE) + 1 - first
    with (
        opened(sound_of.uri) as file,
        opened_recording(file, channel_of(sound_of, options)) as sound,
    ):
        read = sound.part((sound_of.start or 0.0) + first, float(seconds))
    begin = first * SAMPLE_RATE
    return [
        read[start - begin : start - begin + one[4]]
        for start, one in zip(starts, segments, strict=True)
    ]


def channel_of(recording: Recording, options: RecognitionOptions) -> int | None:
    """Return the channel of a recording that is recognised."""
    return options.channel if recording.channel is None else recording.channel


def _first(blocks: Iterator[Samples], seconds: float) -> Iterator[Samples]:
    """Yield blocks up to so many seconds."""
    left = round(seconds * SAMPLE_RATE)
    for block in blocks:
        yield block[:left]
        left -= block.size
        if left <= 0:
            return
