"""Of files joined by `cat`, only the first was heard."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.containers import KINDS, decoded, encoded, tone
from fixtures.errors import refused
from keyframe_asr.audio.reading import audio_blocks, read_audio, read_channels, read_length
from keyframe_asr.errors import AudioError


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_all_of_joined_files_is_read(kind: str, subtype: str) -> None:
    first, second = encoded(kind, subtype), encoded(kind, subtype, tone(4001))
    expected = np.concatenate((decoded(first), decoded(second), decoded(first)))
    samples, _ = read_channels(first + second + first)
    assert samples.shape == expected.shape
    if subtype != "GSM610":  # libsndfile decodes its padding, which differs each time
        np.testing.assert_array_equal(samples, expected)
    assert read_length(first + second + first).samples == len(expected)


def test_joined_files_of_different_kinds() -> None:
    parts = [encoded("WAV", "PCM_16"), encoded("FLAC", "PCM_16"), encoded("OGG", "OPUS")]
    whole = b"".join(parts)
    expected = np.concatenate([read_audio(part) for part in parts])
    assert abs(read_audio(whole).size - expected.size) <= 2, "each is resampled, or all at once"
    np.testing.assert_allclose(
        np.concatenate(list(audio_blocks(whole, 0.3))), read_audio(whole), rtol=0, atol=1e-6
    )


def test_a_part_that_lies_in_the_second_file() -> None:
    first, second = encoded("FLAC", "PCM_16"), encoded("FLAC", "PCM_16", 0.5 * tone(8000))
    samples = read_audio(first + second, 1.0, 0.5)
    expected = read_audio(second, 0.25, 0.5)
    np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6)


def test_mp3_with_tags_between() -> None:
    content = encoded("MP3", "MPEG_LAYER_III", tone(16_000), 16_000)
    front = b"ID3\x04\0\0\0\0\x20\0" + bytes(4096)
    back = b"TAG" + bytes(125)
    samples = read_audio((front + content + back) * 2)
    np.testing.assert_array_equal(samples, np.tile(read_audio(content), 2))


@pytest.mark.parametrize(
    "other", [encoded("WAV", "PCM_16", tone(), 16_000), None], ids=["rate", "channels"]
)
def test_joined_files_that_do_not_fit_together(other: bytes | None) -> None:
    other = other or encoded("WAV", "PCM_16", tone(4000, 2))
    with refused(AudioError, 8000):
        read_audio(encoded("WAV", "PCM_16") + other)


def test_a_second_file_that_was_cut_off() -> None:
    content = encoded("WAV", "PCM_16")
    with pytest.raises(AudioError):
        read_audio(content + content[:5000])


def test_what_follows_a_recording_and_is_none() -> None:
    for kind, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")):
        content = encoded(kind, subtype)
        np.testing.assert_array_equal(read_audio(content + bytes(100)), read_audio(content))
