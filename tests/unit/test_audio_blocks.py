"""Reading by blocks gives what reading at once gives, and refuses what that refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fixtures.errors import refused
from fixtures.random_model import noise
from keyframe_asr.audio.reading import announced_seconds, audio_blocks, read_audio
from keyframe_asr.errors import AudioError

FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("sound.wav", {}),
    ("float.wav", {"subtype": "FLOAT"}),
    ("sound.flac", {}),
    ("sound.mp3", {}),
    ("sound.ogg", {}),
    ("sound.opus", {"format": "OGG", "subtype": "OPUS"}),
]


@pytest.mark.parametrize(("name", "options"), FORMATS)
@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_blocks_are_the_whole(tmp_path: Path, name: str, options: Any, rate: int) -> None:
    path = tmp_path / name
    soundfile.write(path, noise(3.21, rate=rate), rate, **options)
    whole = read_audio(path)
    for seconds in (0.37, 1.0, 100.0):
        blocks = list(audio_blocks(path, seconds))
        assert all(0 < block.size <= (seconds + 0.2) * 16_000 for block in blocks)
        assert all(block.dtype == np.float32 for block in blocks)
        joined = np.concatenate(blocks)
        assert joined.shape == whole.shape
        np.testing.assert_allclose(joined, whole, rtol=0, atol=1e-6)
    assert announced_seconds(path) == pytest.approx(3.21, abs=0.1)


@pytest.mark.parametrize("rate", [11_025, 22_050, 44_100])
@pytest.mark.parametrize("seconds", [0.001, 0.0625, 0.5, 1.7])
def test_resampling_by_blocks(tmp_path: Path, rate: int, seconds: float) -> None:
    stereo = np.stack((noise(2.0, 1, rate), noise(2.0, 2, rate)), axis=1)
    soundfile.write(tmp_path / "a.wav", 20 * stereo, rate, subtype="FLOAT")
    joined = np.concatenate(list(audio_blocks(tmp_path / "a.wav", seconds)))
    assert np.abs(joined).max() == 1.0
    np.testing.assert_allclose(joined, read_audio(tmp_path / "a.wav"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("samples", [0, 1, 2, 160, 16_000])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_any_length(tmp_path: Path, samples: int, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1.0, rate=rate)[:samples], rate)
    whole = read_audio(tmp_path / "a.wav")
    blocks = [np.empty(0), *audio_blocks(tmp_path / "a.wav", 1.0)]  # 16,000: just one block
    np.testing.assert_allclose(np.concatenate(blocks), whole, rtol=0, atol=1e-6)


def refusals(path: Path) -> tuple[str, str]:
    with pytest.raises(AudioError) as whole:
        read_audio(path)
    with pytest.raises(AudioError) as blocks:
        list(audio_blocks(path, 1.0))
    return str(whole.value), str(blocks.value)


def test_what_is_damaged_in_the_middle_is_refused_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(10.0), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    whole, blocks = refusals(path)
    assert whole == blocks and str(path) in blocks

    soundfile.write(tmp_path / "cut.wav", noise(10.0), 16_000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:-1000])
    whole, blocks = refusals(tmp_path / "cut.wav")
    assert whole == blocks and "cut.wav" in blocks

    broken = noise(10.0)
    broken[100_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", broken, 16_000, subtype="FLOAT")
    whole, blocks = refusals(tmp_path / "nan.wav")
    assert whole == blocks and "at 6.250 s" in blocks


@pytest.mark.parametrize("content", [None, b"", b"this is no recording\n" * 100, b"RIFF"])
def test_what_is_no_recording_is_refused_alike(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    whole, blocks = refusals(path)
    assert whole == blocks


def flac_announcing(path: Path, seconds: float, frames: int) -> None:
    soundfile.write(path, noise(seconds), 16_000)
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | frames >> 32  # the last 36 bits before the checksum
    content[22:26] = (frames & 0xFFFF_FFFF).to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("announced", [17_000, 40_000, 2**36 - 1])
def test_more_announced_than_there_is(tmp_path: Path, announced: int) -> None:
    flac_announcing(tmp_path / "a.flac", 1.0, announced)
    with refused(AudioError, f"{tmp_path / 'a.flac'}: "):
        list(audio_blocks(tmp_path / "a.flac"))
