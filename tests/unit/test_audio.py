"""Every format that is promised is read right; every bad file is refused with one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from fixtures.errors import names, refused
from keyframe_asr.audio.reading import AudioLength, read_audio, read_length
from keyframe_asr.errors import AudioError

FORMATS: list[tuple[str, dict[str, Any], float]] = [
    ("pcm8.wav", {"subtype": "PCM_U8"}, 0.01),
    ("pcm16.wav", {"subtype": "PCM_16"}, 1e-4),
    ("pcm24.wav", {"subtype": "PCM_24"}, 1e-6),
    ("pcm32.wav", {"subtype": "PCM_32"}, 1e-6),
    ("float.wav", {"subtype": "FLOAT"}, 0.0),
    ("double.wav", {"subtype": "DOUBLE"}, 0.0),
    ("sound.flac", {}, 1e-4),
    ("sound.mp3", {}, 0.02),
    ("sound.ogg", {}, 0.02),
]


def tone(sample_rate: int = 16000, seconds: float = 1.0) -> npt.NDArray[np.float32]:
    time = np.arange(round(sample_rate * seconds)) / sample_rate
    return (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def refusal(path: Path | str) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert ";" in message, "the line must end with what to do"
    return message


@pytest.mark.parametrize(("name", "options", "tolerance"), FORMATS)
def test_reads_format(tmp_path: Path, name: str, options: dict[str, Any], tolerance: float) -> None:
    soundfile.write(tmp_path / name, tone(), 16000, **options)
    samples = read_audio(tmp_path / name)
    assert samples.shape == (16000,)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, tone(), rtol=0, atol=tolerance)


def test_reads_opus(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.opus", tone(), 16000, format="OGG", subtype="OPUS")
    samples = read_audio(str(tmp_path / "a.opus"))
    assert samples.shape == (16000,)
    assert np.corrcoef(samples, tone())[0, 1] > 0.95


@pytest.mark.parametrize("sample_rate", [8000, 11025, 22050, 44100, 48000])
def test_resamples_to_16_khz(tmp_path: Path, sample_rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(sample_rate), sample_rate, subtype="FLOAT")
    samples = read_audio(path)
    assert abs(len(samples) - 16000) <= 1
    inner = slice(1000, 15000)
    np.testing.assert_allclose(samples[inner], tone()[inner], atol=1e-3)


def test_stereo_becomes_the_mean(tmp_path: Path) -> None:
    left, right = tone(), np.roll(tone(), 5)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


def test_values_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 5 * tone(), 16000, subtype="FLOAT")
    samples = read_audio(tmp_path / "a.wav")
    assert samples.max() == 1.0
    assert samples.min() == -1.0


@pytest.mark.parametrize("sample_rate", [8000, 16000])
@pytest.mark.parametrize("channels", [1, 2])
def test_no_samples_is_legal(tmp_path: Path, sample_rate: int, channels: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((0, channels)), sample_rate)
    samples = read_audio(tmp_path / "a.wav")
    assert samples.shape == (0,)
    assert samples.dtype == np.float32


@pytest.mark.parametrize(("sample_rate", "expected"), [(16000, 1), (8000, 2)])
def test_one_sample(tmp_path: Path, sample_rate: int, expected: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(1, 0.5), sample_rate)
    assert read_audio(tmp_path / "a.wav").shape == (expected,)


def test_missing_file(tmp_path: Path) -> None:
    refusal(tmp_path / "missing.wav")


def test_folder(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path)


def test_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    refusal(tmp_path / "a.wav" / "b.wav")


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg", "opus"])
def test_empty_file(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    path.touch()
    assert "0 bytes" in refusal(path)


@pytest.mark.parametrize("size", [1, 4, 12, 20, 30, 40, 43, 44])
def test_truncated_wav_header(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16000)
    path.write_bytes(path.read_bytes()[:size])
    refusal(path)


@pytest.mark.parametrize("extension", ["flac", "mp3", "ogg"])
def test_truncated_header_of_other_formats(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, tone(), 16000)
    path.write_bytes(path.read_bytes()[:24])
    refusal(path)


def test_wav_cut_within_its_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: 44 + 2 * 4000])
    refusal(path)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg", "raw", "txt"])
def test_text_named_as_audio(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_text("this is no recording\n" * 100)
    refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_samples_that_are_not_finite(tmp_path: Path, value: float, sample_rate: int) -> None:
    samples = np.stack([tone(sample_rate), tone(sample_rate)], axis=1)
    samples[sample_rate // 2, 1] = value
    soundfile.write(tmp_path / "a.wav", samples, sample_rate, subtype="FLOAT")
    assert "0.500 s" in refusal(tmp_path / "a.wav")


def test_absurd_sample_rate(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), 100)
    assert names(refusal(tmp_path / "a.wav"), 100)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_length_is_that_of_what_is_read(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, 0.1 * np.random.default_rng(1).normal(size=9000), 8000)
    assert read_length(path) == AudioLength(9000, 8000)
    assert read_audio(path).size == 18000
    assert read_audio(path, 0.5, 0.25).size == 4000
    assert read_audio(path, 1.0, 5.0).size == 2000
    assert read_audio(path, 7.0).size == 0


def test_length_of_a_wav_whose_header_does_not_know_it(tmp_path: Path) -> None:
    """As ffmpeg and sox write it into a pipe."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(4000), 8000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert read_length(path).samples == 4000
    assert read_audio(path).size == 8000


def test_length_of_a_cut_off_wav(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(4000), 8000)
    path.write_bytes(path.read_bytes()[:-100])
    with refused(AudioError, f"{path}: "):
        read_length(path)
