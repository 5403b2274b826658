"""Damage to files as bytes: bits flipped, bytes cut, inserted and swapped, headers that lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

HEADER_BYTES = 256
"""Half of the damage falls within the first so many bytes, which hold most headers."""

TAGS = (
    *(b"RIFF", b"RF64", b"FORM", b"data", b"fmt ", b"fact", b"ds64", b"COMM", b"SSND", b"desc"),
    *(b"kuki", b"pakt", b".snd", b"fLaC", b"OggS", b"OpusHead", b"Xing", b"Info", b"ID3", b"ftyp"),
    *(b"moov", b"mdat", b"stsz", b"stco", b"stts", b"mdhd", b"MThd", b"\x1a\x45\xdf\xa3"),
)
"""Names in headers that are followed by sizes, counts or rates."""

LYING_VALUES = (
    *(b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00"),
    *(b"\x00\x00\x00\x80", b"\x01\x00\x00\x00", b"\x00\x00\x00\x01", b"\xff" * 8, b"\x00" * 8),
    *(b"\xff\xff", b"\x00\x00", b"\x00\x80", b"\x80\x00"),
)


@dataclass(frozen=True)
class Damaged:
    """Bytes after a mutation, and what was done to them.

    Attributes:
        content: the bytes.
        done: what was done, in words.
        kept: fraction of the bytes that is left, if nothing else than a cut at the end was done.
        joined: whether whole files follow each other.
    """

    content: bytes
    done: str
    kept: float | None = None
    joined: bool = False


Mutation = Callable[[bytes, Random], Damaged]


def damage(content: bytes, random: Random, others: Sequence[bytes] = ()) -> Damaged:
    """One to three mutations; `others` are files to join with, or to take a body from."""
    mutations: list[Mutation] = [*MUTATIONS]
    if others:
        mutations += [_joined_with(others), _with_body_of(others)]
    damaged = random.choice(mutations)(content, random)
    if random.random() < 0.3:
        steps = [damaged.done]
        for _ in range(random.randint(1, 2)):
            step = random.choice(MUTATIONS)(damaged.content, random)
            steps.append(step.done)
            damaged = Damaged(step.content, "; ".join(steps))
    return damaged


def flip_bits(content: bytes, random: Random) -> Damaged:
    """Flip 1 to 32 bits."""
    changed = bytearray(content)
    count = random.choice((1, 1, 2, 4, 8, 32)) if content else 0
    for _ in range(count):
        changed[_position(content, random)] ^= 1 << random.randrange(8)
    return Damaged(bytes(changed), f"{count} bits flipped")


def lie_in_header(content: bytes, random: Random) -> Damaged:
    """Overwrite what follows a name in the header, or any bytes, with an extreme value."""
    tags = [tag for tag in TAGS if tag in content]
    value = random.choice(LYING_VALUES)
    if tags and random.random() < 0.7:
        tag = random.choice(tags)
        place = content.index(tag) + len(tag) + random.choice((0, 0, 2, 4, 6, 8, 10, 12, 14, 16))
    else:
        place = _position(content, random)
    changed = content[:place] + value + content[place + len(value) :]
    return Damaged(changed, f"{value.hex()} at byte {place}")


def cut_end(content: bytes, random: Random) -> Damaged:
    """Cut the file off anywhere, as an interrupted copy does."""
    size = random.randrange(len(content)) if content else 0
    kept = size / len(content) if content else 0.0
    return Damaged(content[:size], f"cut after {size} of {len(content)} bytes", kept)


def cut_start(content: bytes, random: Random) -> Damaged:
    """Leave out the first bytes."""
    size = _position(content, random)
    return Damaged(content[size:], f"first {size} bytes missing")


def remove_bytes(content: bytes, random: Random) -> Damaged:
    """Leave out 1 to 4096 bytes in the middle."""
    place, size = _position(content, random), random.choice((1, 2, 3, 4, 17, 256, 4096))
    return Damaged(content[:place] + content[place + size :], f"{size} bytes missing at {place}")


def insert_bytes(content: bytes, random: Random) -> Damaged:
    """Insert 1 to 4096 random bytes."""
    place, size = _position(content, random), random.choice((1, 2, 3, 4, 17, 256, 4096))
    new = random.randbytes(size)
    return Damaged(content[:place] + new + content[place:], f"{size} bytes inserted at {place}")


def blank_bytes(content: bytes, random: Random) -> Damaged:
    """Overwrite a block with zeros, as a failed disk does."""
    place, size = _position(content, random), random.choice((4, 64, 512, 4096))
    size = min(size, len(content) - place)
    changed = content[:place] + bytes(size) + content[place + size :]
    return Damaged(changed, f"{size} zeros at byte {place}")


def swap_blocks(content: bytes, random: Random) -> Damaged:
    """Swap two neighbouring blocks."""
    size = random.choice((4, 64, 512, 2048))
    place = _position(content, random)
    first, second = content[place : place + size], content[place + size : place + 2 * size]
    changed = content[:place] + second + first + content[place + 2 * size :]
    return Damaged(changed, f"blocks of {size} bytes swapped at {place}")


def append_bytes(content: bytes, random: Random) -> Damaged:
    """Add bytes that do not belong to the file."""
    size = random.choice((1, 128, 4096))
    return Damaged(content + random.randbytes(size), f"{size} bytes appended")


def repeat_file(content: bytes, random: Random) -> Damaged:
    """Two copies of the file, one after the other."""
    return Damaged(content + content, "joined with itself", joined=True)


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, flip_bits, lie_in_header, lie_in_header, cut_end, cut_end, cut_start),
    *(remove_bytes, insert_bytes, blank_bytes, swap_blocks, append_bytes, repeat_file),
)


def _joined_with(others: Sequence[bytes]) -> Mutation:
    def join(content: bytes, random: Random) -> Damaged:
        return Damaged(content + random.choice(others), "joined with another file")

    return join


def _with_body_of(others: Sequence[bytes]) -> Mutation:
    def exchange(content: bytes, random: Random) -> Damaged:
        size = random.choice((12, 44, 64, 128, HEADER_BYTES))
        other = random.choice(others)
        return Damaged(content[:size] + other[size:], f"first {size} bytes before another's rest")

    return exchange


def _position(content: bytes, random: Random) -> int:
    """Any position, half of the time within the header; 0 for an empty file."""
    size = len(content)
    if random.random() < 0.5:
        size = min(size, HEADER_BYTES)
    return random.randrange(size) if size else 0
