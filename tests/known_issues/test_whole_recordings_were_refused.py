"""Recordings that are whole were refused, because of what stands around their samples."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from fixtures.command_line import keyframe
from fixtures.containers import encoded, replaced, tone
from fixtures.random_model import save_random_model
from keyframe_asr.audio.reading import read_channels, read_length
from keyframe_asr.errors import AudioError, UnfinishedWarning

WAV = encoded("WAV", "PCM_16")
FLAC = encoded("FLAC", "PCM_16")
ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0xA000_0000) + bytes(8)
LYRICS = b"LYRICSBEGININD0000210LYR00005hello000033LYRICS200"
JUNK = np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint8).tobytes()


def mp3(with_table: bool = False) -> bytes:
    content = encoded("MP3", "MPEG_LAYER_III", tone(16_000), 16_000)
    return content if with_table else content[content.find(content[:2], 4) :]


def assert_same(content: bytes, whole: bytes) -> None:
    expected, _ = read_channels(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples, _ = read_channels(content)
    np.testing.assert_array_equal(samples, expected)
    assert read_length(content).samples == len(expected)


@pytest.mark.parametrize(
    "size",
    [0x8000_0000, 0x7FFF_F000, 0x7F00_0000, 0xFFFF_FFFF, 0xFFFF_FFFF - 36, len(WAV), len(WAV) - 8],
)
def test_sizes_of_a_wav_that_programs_write_for_unknown_ones(size: int) -> None:
    place = WAV.index(b"data") + 4
    assert_same(replaced(WAV, place, struct.pack("<I", size)), WAV)


@pytest.mark.parametrize(
    "tail",
    [ID3V1, ID3V2, JUNK, b"LIST\x09\0\0\0INFOISFT\0", b"id3 \xff\0\0\0"],
    ids=["id3v1", "id3v2", "junk", "list", "odd chunk"],
)
def test_what_follows_the_samples_of_a_wav(tail: bytes) -> None:
    assert_same(WAV + tail, WAV)


def with_metadata(kind: int, content: bytes) -> bytes:
    """A FLAC file with one more block of metadata, behind the first."""
    head = bytes([FLAC[4] & 0x7F]) + FLAC[5:42]
    block = bytes([kind | FLAC[4] & 0x80]) + struct.pack(">I", len(content))[1:] + content
    return FLAC[:4] + head + block + FLAC[42:]


@pytest.mark.parametrize(
    "inside", [WAV[:44], FLAC[:100], encoded("OGG", "OPUS")[:100]], ids=["wav", "flac", "ogg"]
)
def test_a_flac_with_the_start_of_a_file_in_its_metadata(inside: bytes) -> None:
    """As of the WAV file that `flac --keep-foreign-metadata` compressed."""
    assert_same(with_metadata(2, b"riff" + inside), FLAC)
    assert_same(ID3V2 + with_metadata(2, b"riff" + inside) + ID3V1, FLAC)


@pytest.mark.parametrize("with_table", [True, False])
@pytest.mark.parametrize(
    "front",
    [b"", 3 * ID3V2, bytes(417), ID3V2 + bytes(2000), JUNK[:300]],
    ids=["nothing", "tags", "zeros", "tag and zeros", "junk"],
)
def test_what_comes_before_the_frames_of_an_mp3(front: bytes, with_table: bool) -> None:
    content = mp3(with_table)
    assert_same(front + content, content)


@pytest.mark.parametrize("with_table", [True, False])
@pytest.mark.parametrize(
    "tail",
    [APE + APE + ID3V1, LYRICS + ID3V1, ID3V2, bytes(3000), JUNK],
    ids=["ape", "lyrics", "id3v2", "zeros", "junk"],
)
def test_what_follows_the_frames_of_an_mp3(tail: bytes, with_table: bool) -> None:
    content = mp3(with_table)
    assert_same(content + tail, content)


def pages_of(content: bytes) -> list[bytes]:
    pages = content.split(b"OggS")[1:]
    return [b"OggS" + page for page in pages]


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_an_ogg_stream_that_was_recorded_while_it_was_sent(subtype: str) -> None:
    content = encoded("OGG", subtype, tone(64_000))
    *pages, _ = pages_of(content)
    with pytest.warns(UnfinishedWarning):
        samples, rate = read_channels(b"".join(pages))
    whole, _ = read_channels(content)
    assert 0.5 * len(whole) < len(samples) < len(whole)
    np.testing.assert_allclose(samples[:-rate], whole[: len(samples) - rate], atol=1e-6)
    with pytest.raises(AudioError):
        read_channels(b"".join(pages[:2]))


def test_an_mp3_stream_that_begins_and_ends_within_a_frame() -> None:
    content = mp3()
    whole, _ = read_channels(content)
    with pytest.warns(UnfinishedWarning):
        samples, _ = read_channels(content[50:-50])
    assert len(whole) - 3 * 1152 <= len(samples) < len(whole)


def test_an_unfinished_stream_is_recognised_with_one_line(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    path = tmp_path / "a.ogg"
    noise = np.random.default_rng(0).normal(scale=0.1, size=96_000)
    path.write_bytes(b"".join(pages_of(encoded("OGG", "VORBIS", noise, 16_000))[:-1]))
    ran = keyframe("transcribe", model, path)
    assert ran.exit_code == 0
    assert ran.stdout.strip()
    (line,) = [one for one in ran.stderr.splitlines() if "warning" in one]
    assert str(path) in line
