"""A list of paths on standard input, as `find` or a text editor writes it."""

from __future__ import annotations

import codecs
import os
import sys

from keyframe_asr.errors import AudioError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_RECORDINGS = {
    b"RIFF": "a WAV file",
    b"RF64": "a WAV file",
    b"riff": "a Wave64 file",
    b"FORM": "an AIFF file",
    b".snd": "an AU file",
    b"NIST": "a NIST SPHERE file",
    b"caff": "a CAF file",
    b"fLaC": "a FLAC file",
    b"OggS": "an Ogg file",
    b"ID3": "an MP3 file",
    b"\xff\xfb": "an MP3 file",
    b"\xff\xf3": "an MP3 file",
    b"\x1aE\xdf\xa3": "a WebM file",
}
"""First bytes of recordings."""

_CHECKED_BYTES = 4096


def paths_on_standard_input() -> list[str]:
    """Read paths, one per line or, as by `find -print0`, separated by zeros.

    Blank lines, a byte order mark and the CR of CRLF are no part of them. Bytes that are no UTF-8
    are kept, since file names may hold any. UTF-16 with a byte order mark is read, too.

    Raises:
        AudioError: there are no paths, or something else than a list, such as audio.
    """
    if sys.stdin is None:
        raise AudioError("standard input is closed; give a list of paths, one per line")
    beginning = sys.stdin.buffer.read(_CHECKED_BYTES)
    if other := _other_content(beginning):
        raise AudioError(
            f"standard input holds {other} instead of a list of paths; give one path per line, or "
            "/dev/stdin as the recording"
        )
    content = beginning + sys.stdin.buffer.read()
    if content.startswith(_UTF_16):
        content = content.decode("utf-16", "replace").encode("utf-8", "surrogatepass")
    content = content.removeprefix(codecs.BOM_UTF8)
    separator = b"\0" if b"\0" in content else b"\n"
    lines = (
        line if separator == b"\0" else line.rstrip(b"\r") for line in content.split(separator)
    )
    paths = [os.fsdecode(line) for line in lines if line.strip()]
    if not paths:
        raise AudioError("standard input lists no recordings; give one path per line")
    return paths


def _other_content(beginning: bytes) -> str | None:
    """Name what the first bytes are if they are not from a list of paths."""
    if beginning.startswith(_UTF_16):
        return None
    for magic, name in _RECORDINGS.items():
        if beginning.startswith(magic) and _is_binary(beginning[len(magic) :]):
            return name
    if beginning[4:8] == b"ftyp":
        return "an MP4 file"
    return "binary data" if _is_binary(beginning) else None


def _is_binary(content: bytes) -> bool:
    """True for control characters, or for zeros that do not end names."""
    controls = set(range(32)) - set(b"\0\t\n\r")
    return not controls.isdisjoint(content) or b"\0\0" in content
