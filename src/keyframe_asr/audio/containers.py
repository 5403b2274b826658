"""What a file contains, before anything is decoded: its recordings, and whether they are whole.

A length in a header is not trusted. A recording that is shorter than its header says was cut off,
and is refused. A size that was never filled in, as by a recorder that crashed or a program that
writes to a pipe, is corrected. Files joined by `cat` give one part each.

This module knows containers of chunks and of plain samples; `audio.packets` knows FLAC, Ogg and
MP3, `audio.video` what FFmpeg decodes. Any other container is one part, and libsndfile decides.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keyframe_asr.audio.byte_source import ByteSource, Stretch
from keyframe_asr.audio.packets import (
    are_mpeg_frames,
    first_mpeg_frame,
    flac_part,
    id3_size,
    mpeg_parts,
    ogg_part,
)
from keyframe_asr.audio.parts import CutOffError, Part
from keyframe_asr.audio.video import video_parts

_W64_TAIL = bytes.fromhex("2e91cf11a5d628db04c10000")
"""End of the GUID at the start of a Wave64 file."""

_LARGEST_GAP = 8
"""Bytes between two joined files."""


def parts_of(source: ByteSource) -> list[Part]:
    """Find the recordings in a file, in order; there is at least one.

    Raises:
        CutOffError: a recording is shorter than its header says.
    """
    start = id3_size(source, 0)
    found = _parts_at(source, start)
    if not found and (place := first_mpeg_frame(source, start)) is not None:
        found = mpeg_parts(source, place)
    while found and found[-1].stop < source.size:
        # an odd size may be followed by padding
        gaps = range(min(_LARGEST_GAP + 1, source.size - found[-1].stop))
        places = (found[-1].stop + gap for gap in gaps)
        following = next(filter(None, (_parts_at(source, place) for place in places)), None)
        if following is None:
            break
        found += following
    return found or [Part(((0, source.size),), source.size, known=False)]


def _parts_at(source: ByteSource, offset: int) -> list[Part]:
    """Read the container at `offset`; empty if it is not known."""
    offset += id3_size(source, offset)
    reader = _reader(source, offset) or video_parts
    return reader(source, offset) or []


def _reader(
    source: ByteSource, offset: int
) -> Callable[[ByteSource, int], list[Part] | None] | None:
    """Return the function that reads the container at `offset`; None if it is not known."""
    magic = source.at(offset, 40)
    if magic[:4] in _LAYOUTS and magic[8:12] in (b"WAVE", b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        return _chunked
    if magic[:4] == b"caff" or (magic[:4] == b"riff" and magic[4:16] == _W64_TAIL):
        return _chunked
    if magic[:4] in (b".snd", b"dns."):
        return _sun
    if magic[:7] == b"NIST_1A":
        return _sphere
    if magic[:4] == b"fLaC":
        return flac_part
    if magic[:4] == b"OggS":
        return ogg_part
    return mpeg_parts if are_mpeg_frames(source, offset) else None


@dataclass(frozen=True)
class _Layout:
    """How a container of chunks is laid out.

    Attributes:
        head: bytes before the first chunk.
        size: format of the size of a chunk for `struct`, which follows its name.
        name: bytes of the name of a chunk.
        counts_header: the size includes name and size.
        alignment: chunks start at multiples of this.
        data: name of the chunk with the samples.
        inner: bytes of that chunk before the samples.
    """

    head: int
    size: str
    name: int = 4
    counts_header: bool = False
    alignment: int = 2
    data: bytes = b"data"
    inner: int = 0


_WAV = _Layout(head=12, size="<I")
_LAYOUTS: dict[bytes, _Layout] = {
    b"RIFF": _WAV,
    b"RF64": _WAV,
    b"BW64": _WAV,
    b"RIFX": _Layout(head=12, size=">I"),
    b"FORM": _Layout(head=12, size=">I", data=b"SSND", inner=8),
    b"caff": _Layout(head=8, size=">q", alignment=1, inner=4),
    b"riff": _Layout(head=40, size="<Q", name=16, counts_header=True, alignment=8),
}


_MAGIC = frozenset({*_LAYOUTS, b"fLaC", b"OggS", b".snd", b"dns.", b"NIST"})
"""First bytes of containers, of which none is the name of a chunk."""


@dataclass(frozen=True)
class _Chunk:
    """A chunk: its name, the places of its header and content, and the size that it gives."""

    name: bytes
    header: int
    start: int
    size: int


def _chunks(source: ByteSource, offset: int, layout: _Layout) -> Iterator[_Chunk]:
    """Yield the chunks of the container at `offset`, up to the first that is not one."""
    width = layout.name + struct.calcsize(layout.size)
    place = offset + layout.head
    while len(header := source.at(place, width)) == width:
        name = header[:4]
        (size,) = struct.unpack(layout.size, header[layout.name :])
        if layout.counts_header:
            size -= width
        plausible = re.fullmatch(rb"[ -~]{4}", name) and (size >= 0 or name == layout.data)
        if not plausible or name in _MAGIC:
            return
        yield _Chunk(name, place, place + width, size)
        after = place + width + size - offset
        place = offset + after + -after % layout.alignment


def _chunked(source: ByteSource, offset: int) -> list[Part]:
    """Read a container of chunks: WAV, RF64, Wave64, AIFF, 8SVX or CAF."""
    kind = source.at(offset, 12)
    layout = _LAYOUTS[kind[:4]]
    if kind[8:] in (b"8SVX", b"16SV"):
        layout = _Layout(head=12, size=">I", data=b"BODY")
    long_sizes: _Chunk | None = None
    stop, payload = offset, 0
    edits: list[tuple[int, bytes]] = []
    for chunk in _chunks(source, offset, layout):
        available = source.size - chunk.start
        size = chunk.size
        if chunk.name == b"ds64":
            long_sizes = chunk
        if chunk.name == layout.data:
            if size == 0xFFFF_FFFF and long_sizes is not None:
                size = _long_size(source, long_sizes)
            if _is_unfilled(source, chunk, size, layout):
                edits = _size_edits(chunk, available, layout, long_sizes)
                size = available
            elif size > available:
                raise CutOffError(f"{available} of {size} bytes of samples")
            payload = size - layout.inner
        elif size > available and kind[:4] == b"caff":
            # the table of packets, which may follow the samples
            raise CutOffError(f"the chunk '{chunk.name.decode()}' is incomplete")
        stop = min(chunk.start + size, source.size)
        if size >= available:
            break
    if stop == offset:
        stop = source.size
    return [Part(_edited(offset, stop, edits), stop, payload)]


def _long_size(source: ByteSource, chunk: _Chunk) -> int:
    """Return the size of the samples in the chunk for sizes beyond 4 GB (RF64)."""
    (size,) = struct.unpack("<Q", source.at(chunk.start + 8, 8).ljust(8, b"\0"))
    return int(size)


def _is_unfilled(source: ByteSource, chunk: _Chunk, size: int, layout: _Layout) -> bool:
    """True if the size of the samples was not known when the header was written."""
    available = source.size - chunk.start
    if size <= layout.inner:
        # a recording without samples ends here, or goes on with another chunk
        if available <= layout.inner + 1:
            return False
        after = next(_chunks(source, chunk.start + max(size, 0) - layout.head, layout), None)
        return after is None or after.size > source.size - after.start
    # beyond 4 GB, some programs write the size modulo 2 ** 32
    wrapped = size < available and (available - size) % 2**32 == 0
    # some write the size of the file, with or without the 8 bytes before the size of the whole
    is_of_file = size in (source.size, source.size - 8)
    return wrapped or is_of_file or _is_placeholder(size)


def _is_placeholder(size: int) -> bool:
    """True for the sizes that programs write into a pipe, since they do not know the size.

    For instance 0x7F000000 and 0x7FFFF000 (SoX), 2 ** 31 (arecord) and 2 ** 32 - 1 (FFmpeg).
    """
    return 0x7F00_0000 <= size <= 2**31 or 0xFFFF_0000 <= size < 2**32 or size >= 2**62


def _size_edits(
    chunk: _Chunk, size: int, layout: _Layout, long_sizes: _Chunk | None
) -> list[tuple[int, bytes]]:
    """Return places and contents of the corrected size of the samples, in order."""
    edits = []
    if long_sizes is not None:
        edits.append((long_sizes.start + 8, struct.pack("<Q", size)))
    width = struct.calcsize(layout.size)
    if layout.counts_header:
        size += layout.name + width
    most = 2 ** (8 * width) - 1 if width == 4 else 2**63 - 1
    edits.append((chunk.header + layout.name, struct.pack(layout.size, min(size, most))))
    return edits


def _edited(start: int, stop: int, edits: list[tuple[int, bytes]]) -> tuple[Stretch, ...]:
    """Return the range of a file with some bytes replaced."""
    stretches: list[Stretch] = []
    for place, content in edits:
        stretches += [(start, place), content]
        start = place + len(content)
    return (*stretches, (start, stop))


def _sun(source: ByteSource, offset: int) -> list[Part]:
    """Read a file of Sun or NeXT (AU): a header with offset and size of the samples."""
    order = ">" if source.at(offset, 4) == b".snd" else "<"
    header = source.at(offset + 4, 8)
    if len(header) < 8:
        raise CutOffError("a part of the header")
    first, size = struct.unpack(f"{order}II", header)
    available = max(0, source.size - offset - first)
    if size == 0 or _is_placeholder(size):
        edits = [(offset + 8, struct.pack(f"{order}I", min(available, 0xFFFF_FFFE)))]
        return [Part(_edited(offset, source.size, edits), source.size)]
    if size > available:
        raise CutOffError(f"{available} of {size} bytes of samples")
    stop = offset + first + size
    return [Part(((offset, stop),), stop)]


def _sphere(source: ByteSource, offset: int) -> list[Part]:
    """Read a NIST SPHERE file: a text header of which the second line gives its size."""
    lines = source.at(offset, 16).split(b"\n")
    head = int(lines[1]) if len(lines) > 1 and lines[1].strip().isdigit() else 1024
    text = source.at(offset, head).decode("latin-1")
    found = dict(re.findall(r"(\w+) -i (\d+)", text))
    if "sample_count" not in found or "shorten" in text:
        return [Part(((offset, source.size),), source.size, known=False)]
    size = int(found["sample_count"]) * int(found.get("sample_n_bytes", 1))
    size *= int(found.get("channel_count", 1))
    available = source.size - offset - head
    if size > available:
        raise CutOffError(f"{max(0, available)} of {size} bytes of samples")
    stop = offset + head + size if size else source.size
    return [Part(((offset, stop),), stop)]
