"""Sound of m4a, mp4, webm and others that libsndfile does not know, by PyAV (extra `video`)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.byte_source import ByteSource, Stretches
from keyframe_asr.audio.parts import CutOffError, MissingDecoderError, Part

_MAGIC = (
    b"#!AMR",
    b"FLV\x01",
    b"MAC ",
    b"TTA1",
    b"wvpk",
    b"\x00\x00\x01\xba",  # mpg
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # wma, wmv
)

_BOXES = (b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"meta", b"uuid")
"""Names of boxes that are not within others."""

_EXACT = ("ape", "tta", "wv")
"""FFmpeg's names of lossless formats that count their samples in a header."""

_MATROSKA = b"\x1a\x45\xdf\xa3"
_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"


def video_parts(source: ByteSource, offset: int) -> list[Part] | None:
    """Read a file that libsndfile does not know; None if it is not such a file.

    Raises:
        CutOffError: the file ends within a box of MP4 or an element of Matroska (webm).
    """
    magic = source.at(offset, 16)
    if magic[4:8] == b"ftyp":
        stop = _boxes_end(source, offset)
    elif magic[:4] == _MATROSKA:
        stop = _elements_end(source, offset)
    elif magic.startswith(_MAGIC) or magic[8:12] == b"AVI " or _is_aac(magic):
        stop = source.size
    else:
        return None
    return [Part(((offset, stop),), stop, by_ffmpeg=True)]


def _is_aac(magic: bytes) -> bool:
    """True for a header of ADTS, the frames of AAC without a container."""
    return len(magic) > 1 and magic[0] == 0xFF and magic[1] & 0xF6 == 0xF0


def _boxes_end(source: ByteSource, offset: int) -> int:
    """Return the end of the boxes of an MP4 file, which is the start of the next file if joined."""
    place = offset
    while len(head := source.at(place, 16)) >= 8:
        size, name = struct.unpack(">I4s", head[:8])
        if name == b"ftyp" and place > offset:
            break
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack(">Q", head[8:])
        if size == 0:  # up to the end of the file
            return source.size
        if size < 8:
            break
        if place + size > source.size and name not in _BOXES:
            break  # a tag, or junk
        place += size
        if place > source.size:
            raise CutOffError(f"the box '{name.decode('latin-1')}' is incomplete")
    return place


def _elements_end(source: ByteSource, offset: int) -> int:
    """Return the end of the elements of a Matroska file."""
    place = offset
    while (name := source.at(place, 4)) in (_MATROSKA, _MATROSKA_SEGMENT):
        if name == _MATROSKA and place > offset:
            break
        head = source.at(place + 4, 8)
        width = 9 - head[0].bit_length() if head and head[0] else 9
        if len(head) < width:
            raise CutOffError("an element is incomplete")
        size = int.from_bytes(head[:width], "big") & (1 << 7 * width) - 1
        if size == (1 << 7 * width) - 1:  # unknown, as in a live stream
            return source.size
        place += 4 + width + size
        if place > source.size:
            raise CutOffError("the segment is incomplete")
    return place


@contextmanager
def _ffmpeg_errors() -> Iterator[None]:
    """Turn every error of FFmpeg, some of which are `EOFError` or `LookupError`, into one kind."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise ValueError(error.strerror or str(error)) from None


class FfmpegFile:
    """A part of a file, decoded by FFmpeg.

    Attributes:
        sample_rate: in hertz.
        channels: number of channels.
        announced: number of samples according to the header; 0 if unknown.
    """

    def __init__(self, source: ByteSource, part: Part) -> None:
        try:
            import av
        except ImportError:
            raise MissingDecoderError from None
        self._bytes = Stretches(source, part.stretches)
        with _ffmpeg_errors():
            self._container: Any = av.open(cast(BinaryIO, self._bytes), "r")
        # a stream of an unknown codec has no context
        streams = [one for one in self._container.streams.audio if one.codec_context is not None]
        if not streams:
            self._container.close()
            raise ValueError("it has no sound that FFmpeg can decode")
        self._stream = streams[0]
        self.sample_rate = int(self._stream.rate)
        self.channels = int(self._stream.channels)
        seconds = self._container.duration or 0
        self.announced = max(0, round(seconds / av.time_base * self.sample_rate))
        # the same samples as 32-bit floats
        self._converted = av.AudioResampler(format="fltp", rate=self.sample_rate)
        self._blocks = self._decode()
        self._decoded = 0
        self._left = np.zeros((0, self.channels), np.float32)

    def read(self, frames: int) -> npt.NDArray[np.float32]:
        """Decode the next samples (S, channels); fewer only at the end."""
        blocks, size = [self._left], len(self._left)
        with _ffmpeg_errors():
            while size < frames and (block := next(self._blocks, None)) is not None:
                blocks.append(block)
                size += len(block)
        if self._bytes.error is not None:
            raise self._bytes.error
        self._decoded += size - len(self._left)
        short = size < frames and self._decoded < self.announced
        if short and self._container.format.name in _EXACT:
            raise CutOffError(f"{self._decoded} of {self.announced} samples")
        found = np.concatenate(blocks)
        self._left = found[frames:]
        return found[:frames]

    def seek(self, frames: int) -> bool:
        """Return False: seeking is not exact."""
        return False

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decode(self) -> Iterator[npt.NDArray[np.float32]]:
        for frame in self._container.decode(self._stream):
            # encoders put silence before the start of the recording, which is at time 0
            early = max(0, -round((frame.pts or 0) * frame.time_base * self.sample_rate))
            for one in self._converted.resample(frame):
                samples: npt.NDArray[Any] = one.to_ndarray()
                yield samples.T[early:]
                early = 0
