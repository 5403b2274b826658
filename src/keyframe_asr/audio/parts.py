"""A recording within a file, and why one cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

from keyframe_asr.audio.byte_source import Stretch


@dataclass(frozen=True)
class Part:
    """A recording within a file, decoded on its own.

    Attributes:
        stretches: the bytes to decode.
        stop: where the part ends in the file.
        payload: bytes of samples; 0 if unknown.
        known: False if only libsndfile knows the container.
        by_ffmpeg: libsndfile does not know the container or codec.
        unfinished: a stream of unknown length lacks the mark of its end, or ends within a frame.
    """

    stretches: tuple[Stretch, ...]
    stop: int
    payload: int = 0
    known: bool = True
    by_ffmpeg: bool = False
    unfinished: bool = False


class CutOffError(Exception):
    """A recording is shorter than its header says; the message is what there is of it."""


class JoinedError(Exception):
    """A file holds recordings that cannot be read as one; the message says what they are."""


class MissingDecoderError(Exception):
    """A container that needs PyAV, which is not installed."""
