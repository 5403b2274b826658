"""Recordings of packets within a file: FLAC, Ogg (Vorbis, Opus) and MPEG audio (MP3).

FLAC and Ogg say how much there is: FLAC in its header, Ogg by a last page. MP3 does not have to, so
its frames are counted, and libsndfile is told their number instead of estimating it.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from keyframe_asr.audio.byte_source import ByteSource, Stretch
from keyframe_asr.audio.parts import CutOffError, Part

_LARGEST_JUNK = 1 << 16
"""Bytes between two MPEG frames, beyond which nothing more is looked for."""

_FRAMES_IN_A_ROW = 3
"""MPEG frames of one kind that are no coincidence."""

_TAGS = (b"TAG", b"ID3", b"APE")

_FOLLOWS_FLAC = [
    re.compile(pattern, re.DOTALL)
    for pattern in (rb"fLaC[\0\x80]\0\0\x22", rb"OggS\0\x02", rb"RIFF....WAVE")
]
"""Start of a recording behind a FLAC stream, which does not tell its size in bytes."""

_PAGE = [re.compile(b"OggS")]

_OGG_CODECS = (b"\x01vorbis", b"OpusHead")
"""First bytes of the codecs that libsndfile decodes; FLAC and Speex are left to FFmpeg."""

_FIRST_PAGE, _LAST_PAGE = 2, 4
"""Flags of an Ogg page."""

# kbit/s by index, of MPEG 1 layers I, II and III, and of MPEG 2 layer I and layers II and III
_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)


def id3_size(source: ByteSource, offset: int) -> int:
    """Return the bytes of the ID3v2 tag at `offset`; 0 if there is none."""
    head = source.at(offset, 10)
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 0x7F:
        return 0
    footer = 10 * bool(head[5] & 0x10)
    return 10 + footer + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


def flac_part(source: ByteSource, offset: int) -> list[Part]:
    """Read a FLAC stream, up to the next recording; decoding shows whether it is whole."""
    # metadata may hold a picture, or the header of the WAV file that was compressed
    place, last = offset + 4, False
    while not last and len(head := source.at(place, 4)) == 4:
        last = head[0] >= 0x80
        place += 4 + int.from_bytes(head[1:], "big")
    following = source.search(_FOLLOWS_FLAC, place)
    stop = source.size if following is None else following
    return [Part(((offset, stop),), stop)]


def ogg_part(source: ByteSource, offset: int) -> list[Part]:
    """Read a link of an Ogg chain: pages up to the next link.

    Raises:
        CutOffError: the last page is incomplete, or there are only headers.
    """
    begun: set[bytes] = set()
    ended: set[bytes] = set()
    place, in_header, has_sound = offset, True, False
    while len(head := source.at(place, 27)) == 27:
        if head[:4] != b"OggS":
            found = None if ended else source.search(_PAGE, place)
            if found is None:
                break
            place = found
            continue
        flags, serial = head[5], head[14:18]
        if flags & _FIRST_PAGE:
            if not in_header:
                break
            begun.add(serial)
        else:
            in_header = False
        has_sound |= head[6:14] not in (bytes(8), b"\xff" * 8)  # time at the end of the page
        sizes = source.at(place + 27, head[26])
        place += 27 + head[26] + sum(sizes)
        if len(sizes) < head[26] or place > source.size:
            raise CutOffError("the last page is incomplete")
        if flags & _LAST_PAGE:
            ended.add(serial)
    else:
        if head and not ended:
            raise CutOffError("the last page is incomplete")
    unfinished = not ended & begun
    if unfinished and not has_sound:
        raise CutOffError("nothing follows the header")
    codec = source.at(offset + 27 + source.at(offset + 26, 1)[0], 8)
    by_ffmpeg = not codec.startswith(_OGG_CODECS)
    return [Part(((offset, place),), place, by_ffmpeg=by_ffmpeg, unfinished=unfinished)]


@dataclass(frozen=True)
class _Frame:
    """The header of an MPEG frame; `version` is 1 or 2, `rate` in hertz."""

    head: bytes
    version: int
    layer: int
    rate: int
    mono: bool
    size: int

    @property
    def kind(self) -> tuple[int, int, int, bool]:
        """What must not change within a recording."""
        return self.version, self.layer, self.rate, self.mono

    @property
    def tag_place(self) -> int:
        """Offset of a Xing or Info tag in a frame of layer III."""
        if self.version == 1:
            return 4 + (17 if self.mono else 32)
        return 4 + (9 if self.mono else 17)


def _frame(head: bytes) -> _Frame | None:
    """Read the header of an MPEG frame; None if it is not one, or has no size."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    number = 1 if version == 3 else 2
    hertz = _RATES[rate] >> (3 - version if version else 2)
    bit_rate = 1000 * _BIT_RATES[number, layer][bits - 1]
    padding = head[2] >> 1 & 1
    if layer == 1:
        size = 4 * (12 * bit_rate // hertz + padding)
    else:
        size = (72 if layer == 3 and number == 2 else 144) * bit_rate // hertz + padding
    return _Frame(head[:4], number, layer, hertz, head[3] >> 6 == 3, size)


def are_mpeg_frames(source: ByteSource, offset: int, exact: bool = False) -> bool:
    """True if MPEG frames of one kind are at `offset`: three, or fewer up to a tag or the end.

    Args:
        source: the file.
        offset: place of the first frame.
        exact: fewer than three must fill the file to its last byte.
    """
    place, kind = offset, None
    for _ in range(_FRAMES_IN_A_ROW):
        head = source.at(place, 4)
        frame = _frame(head)
        if frame is None or kind not in (None, frame.kind):
            at_end = place == source.size if exact else len(head) < 4
            return kind is not None and (at_end or head[:3] in _TAGS)
        kind = frame.kind
        place += frame.size
    return True


def first_mpeg_frame(source: ByteSource, offset: int) -> int | None:
    """Return the place of the next MPEG frame behind padding or junk; None if there is none."""
    junk = source.at(offset, _LARGEST_JUNK)
    found = junk.find(b"\xff")
    while found >= 0:
        if are_mpeg_frames(source, offset + found, exact=True):
            return offset + found
        found = junk.find(b"\xff", found + 1)
    return None


@dataclass
class _Run:
    """Frames of one kind.

    Attributes:
        first: the first frame.
        announced: number of frames in its Xing, Info or VBRI tag; None without one.
        tag: the frame with the tag as (place, size); it has no audio.
        is_vbri: the tag is of the kind that libmpg123 does not know.
        frames: number of frames with audio.
        ranges: their places in the file, neighbours merged.
    """

    first: _Frame
    announced: int | None = None
    tag: tuple[int, int] | None = None
    is_vbri: bool = False
    frames: int = 0
    ranges: list[list[int]] = field(default_factory=list)

    def add(self, place: int, size: int) -> None:
        """Add a frame with audio."""
        self.frames += 1
        if self.ranges and self.ranges[-1][1] == place:
            self.ranges[-1][1] += size
        else:
            self.ranges.append([place, place + size])


def mpeg_parts(source: ByteSource, offset: int) -> list[Part]:
    """Read MPEG frames; a part begins at each tag that counts frames.

    Raises:
        CutOffError: there are fewer frames than a tag counts, or none is complete.
    """
    runs: list[_Run] = []
    place, ends_within_frame = offset, False
    while place < source.size:
        frame = _frame(source.at(place, 4))
        if frame is None:
            after = _after_tags(source, place)
            if after is None:
                break
            place = after
            continue
        if place + frame.size > source.size:
            ends_within_frame = True
            break
        tag = _tag(source, place, frame) if frame.layer == 3 else None
        run = runs[-1] if runs else None
        if tag is not None:
            announced, is_vbri = tag
            runs.append(_Run(frame, announced, (place, frame.size), is_vbri))
        else:
            if run is None or run.first.kind != frame.kind or run.frames == run.announced:
                run = _Run(frame)
                runs.append(run)
            run.add(place, frame.size)
        place += frame.size
    for run in runs:
        # some encoders count the frame with the tag
        tolerated = 0 if ends_within_frame and run is runs[-1] else 1
        if run.announced is not None and run.frames < run.announced - tolerated:
            raise CutOffError(f"{run.frames} of {run.announced} frames")
    runs = [run for run in runs if run.frames]
    if not runs:
        if ends_within_frame:
            raise CutOffError("the first frame is incomplete")
        return [Part(((offset, place),), place, known=False)]
    unfinished = ends_within_frame and runs[-1].announced is None
    stop = source.size if ends_within_frame else place
    return [
        Part(_stretches(source, run), stop, unfinished=unfinished and run is runs[-1])
        for run in runs
    ]


def _after_tags(source: ByteSource, place: int) -> int | None:
    """Return where frames go on behind tags or junk; None at the end of the recording."""
    head = source.at(place, 32)
    if size := id3_size(source, place):
        return place + size
    if head[:3] == b"TAG":
        return place + 128
    if head[:8] == b"APETAGEX" and len(head) >= 16:
        return place + 32 + int(struct.unpack("<I", head[12:16])[0])
    if head[:4] in (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff", b".snd"):
        return None
    return first_mpeg_frame(source, place)


def _tag(source: ByteSource, place: int, frame: _Frame) -> tuple[int | None, bool] | None:
    """Number of frames in the tag of a frame, and whether it is VBRI; None without a tag."""
    content = source.at(place, min(frame.size, 64))
    if content[36:40] == b"VBRI" and len(content) >= 54:
        return int(struct.unpack(">I", content[50:54])[0]), True
    name = content[frame.tag_place : frame.tag_place + 12]
    if name[:4] not in (b"Xing", b"Info") or len(name) < 12:
        return None
    flags, count = struct.unpack(">II", name[4:12])
    return (count if flags & 1 and count else None), False


def _stretches(source: ByteSource, run: _Run) -> tuple[Stretch, ...]:
    """Bytes to decode: the frames behind a tag that gives their number."""
    ranges: list[Stretch] = [(start, stop) for start, stop in run.ranges]
    if run.first.layer != 3:
        return tuple(ranges)
    if run.tag is None or run.is_vbri or run.announced is None:
        return (_counting_frame(run), *ranges)
    place, size = run.tag
    head = run.first.tag_place + 8
    count = struct.pack(">I", run.frames)
    return ((place, place + head), count, (place + head + 4, place + size), *ranges)


def _counting_frame(run: _Run) -> bytes:
    """Make a frame without audio whose tag gives the number of frames."""
    head = bytearray(run.first.head)
    head[1] |= 1  # without a checksum
    tag = bytes(head).ljust(run.first.tag_place, b"\0")
    tag += b"Info" + struct.pack(">II", 1, run.frames)
    return tag.ljust(run.first.size, b"\0")
