"""The length in a header decided how much was read, or how much memory was taken."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fixtures.containers import KINDS, decoded, encoded, replaced, tone
from fixtures.errors import refused
from keyframe_asr.audio.reading import audio_blocks, read_audio, read_channels, read_length
from keyframe_asr.errors import AudioError

# name before the size, bytes between, format of the size, bytes that count besides the samples
SIZES = {
    "WAV": (b"data", 0, "<I"),
    "WAVEX": (b"data", 0, "<I"),
    "RF64": (b"ds64", 12, "<Q"),
    "W64": (b"data", 12, "<Q"),
    "AIFF": (b"SSND", 0, ">I"),
    "SVX": (b"BODY", 0, ">I"),
    "CAF": (b"data", 0, ">q"),
    "AU": (b".snd", 4, ">I"),
}
NO_LENGTH_ELSEWHERE = [
    (kind, subtype)
    for kind, subtype in KINDS
    if kind in SIZES and (kind, subtype) != ("AIFF", "GSM610")
]


def with_size(content: bytes, kind: str, size: int) -> bytes:
    name, between, layout = SIZES[kind]
    place = content.index(name) + 4 + between
    return replaced(content, place, struct.pack(layout, size))


@pytest.mark.parametrize(("kind", "subtype"), NO_LENGTH_ELSEWHERE)
def test_a_size_that_was_never_filled_in(kind: str, subtype: str) -> None:
    content = encoded(kind, subtype)
    whole = decoded(content)
    largest = 2 ** (8 * struct.calcsize(SIZES[kind][2])) - 1
    for size in (0, -1 if kind == "CAF" else largest):
        samples, _ = read_channels(with_size(content, kind, size))
        np.testing.assert_array_equal(samples, whole)


@pytest.mark.parametrize(("kind", "subtype"), NO_LENGTH_ELSEWHERE)
def test_a_size_beyond_the_end(kind: str, subtype: str) -> None:
    with refused(AudioError, 20_000_000):
        read_audio(with_size(encoded(kind, subtype), kind, 20_000_000 + 24 * (kind == "W64")))


def test_an_aiff_of_gsm_without_sizes_is_not_silently_empty() -> None:
    content = encoded("AIFF", "GSM610", tone(40_000))
    content = replaced(content, content.index(b"COMM") + 10, bytes(4))  # the number of samples
    with pytest.raises(AudioError):
        read_audio(with_size(content, "AIFF", 0))


def with_flac_length(samples: int) -> bytes:
    content = bytearray(encoded("FLAC", "PCM_16"))
    content[21] = content[21] & 0xF0 | samples >> 32  # the last 36 bits before the checksum
    content[22:26] = (samples & 0xFFFF_FFFF).to_bytes(4, "big")
    return bytes(content)


def test_a_flac_without_a_length() -> None:
    content = with_flac_length(0)
    assert read_length(content).samples == 6000
    samples, _ = read_channels(content)
    np.testing.assert_array_equal(samples, decoded(with_flac_length(6000)))
    assert read_audio(content, 0.25, 0.125).size == 2000
    assert read_audio(content, 9.0).size == 0


@pytest.mark.parametrize("seconds", [1.0, 40.0])
def test_gsm_at_any_length(seconds: float) -> None:
    content = encoded("WAV", "GSM610", tone(round(seconds * 8000)))
    assert read_audio(content).size == pytest.approx(seconds * 16_000, abs=640)
    assert sum(map(len, audio_blocks(content, 7.0))) == read_audio(content).size


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
def test_an_mp3_without_a_table_of_its_frames(mode: str) -> None:
    """The bit rate of its first frames does not tell the length of the others."""
    loud, quiet = tone(40_000), 0.0001 * tone(200_000)
    sound = np.concatenate((loud, quiet, loud))
    content = encoded("MP3", "MPEG_LAYER_III", sound, 16_000, bitrate_mode=mode)
    first = content.find(content[:2], 4)
    samples = read_audio(content[first:])
    assert 280_000 <= samples.size <= 280_000 + 3 * 1152
    assert np.abs(samples[-30_000:-2_000]).max() > 0.2, "the end is there"
    assert read_length(content[first:]).samples == samples.size
    assert sum(map(len, audio_blocks(content[first:], 3.0))) == samples.size


def peak_of(read: Callable[[bytes], object], content: bytes) -> int:
    tracemalloc.start()
    read(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("announced", [0xFFFF_FFFF, 0x7FFF_FFFF])
def test_memory_is_not_taken_for_what_is_announced(announced: int) -> None:
    content = with_size(encoded("WAV", "PCM_U8"), "WAV", announced)
    assert peak_of(read_audio, content) < 50_000_000


def test_memory_of_a_flac_that_announces_days(tmp_path: Path) -> None:
    def read(content: bytes) -> None:
        with pytest.raises(AudioError):
            read_audio(content)

    assert peak_of(read, with_flac_length(2**36 - 1)) < 50_000_000
