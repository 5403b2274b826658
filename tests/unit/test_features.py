"""The fbank front end against Kaldi's definition written out in NumPy."""

from __future__ import annotations

import pickle

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.errors import refused
from fixtures.random_model import noise
from keyframe_asr.audio.features import (
    Fbank,
    fbank_from,
    first_sample,
    num_frames,
    samples_of_frames,
)
from keyframe_asr.audio.whisper_mel import whisper_mel
from keyframe_asr.config.model import FeaturesConfig

WINDOW, SHIFT, FFT = 400, 160, 512


def kaldi_fbank(samples: npt.NDArray[np.float32], num_mel_bins: int) -> npt.NDArray[np.float64]:
    """Kaldi `feature-window.cc` and `mel-computations.cc`, snip_edges=false, dither=0: (T, F)."""
    waveform = samples.astype(np.float64) * 32768.0
    frames = _reflected_frames(waveform)
    frames = frames - frames.mean(axis=1, keepdims=True)
    previous = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    povey = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))) ** 0.85
    spectrum = np.fft.rfft((frames - 0.97 * previous) * povey, FFT, axis=1)
    power = np.abs(spectrum[:, : FFT // 2]) ** 2
    energies = power @ _mel_filters(num_mel_bins).T
    return np.asarray(np.log(np.maximum(energies, np.finfo(np.float32).eps)))


def _reflected_frames(waveform: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    count = (waveform.size + SHIFT // 2) // SHIFT
    starts = SHIFT * np.arange(count) + SHIFT // 2 - WINDOW // 2
    index = starts[:, None] + np.arange(WINDOW)
    while ((index < 0) | (index >= waveform.size)).any():
        index = np.where(index < 0, -index - 1, index)
        index = np.where(index >= waveform.size, 2 * waveform.size - 1 - index, index)
    return np.asarray(waveform[index])


def _mel_filters(num_mel_bins: int) -> npt.NDArray[np.float64]:
    def mel(frequency: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(1127.0 * np.log1p(frequency / 700.0))

    corners = np.linspace(mel(np.array(20.0)), mel(np.array(8000.0)), num_mel_bins + 2)
    bins = mel(np.arange(FFT // 2) * 16000.0 / FFT)
    rising = (bins - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - bins) / (corners[2:] - corners[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rising, falling))


def speech_like(num_samples: int, seed: int = 0) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(seed)
    time = np.arange(num_samples) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 220 * time) * np.sin(2 * np.pi * 3 * time) ** 2
    return np.asarray(tone + 0.01 * random.standard_normal(num_samples), dtype=np.float32)


@pytest.mark.parametrize("num_samples", [80, 100, 240, 399, 400, 401, 1600, 16000, 16079, 16081])
@pytest.mark.parametrize("num_mel_bins", [80, 40])
def test_matches_kaldi_definition(num_samples: int, num_mel_bins: int) -> None:
    samples = speech_like(num_samples, seed=num_samples)
    features = Fbank(FeaturesConfig(num_mel_bins=num_mel_bins, level=None))(samples)
    expected = kaldi_fbank(samples, num_mel_bins)
    assert features.shape == expected.shape
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=2e-3)


@pytest.mark.parametrize(("num_samples", "frames"), [(0, 0), (1, 0), (79, 0), (80, 1), (100, 1)])
def test_lengths_around_zero(num_samples: int, frames: int) -> None:
    features = Fbank(FeaturesConfig())(speech_like(num_samples))
    assert features.shape == (frames, 80)
    assert np.isfinite(features).all()
    assert num_frames(num_samples) == frames


def test_frame_count_depends_on_length_alone() -> None:
    fbank = Fbank(FeaturesConfig())
    for num_samples in range(0, 1000, 37):
        assert len(fbank(speech_like(num_samples))) == num_frames(num_samples)
    assert num_frames(16_000) == 100


def test_silence_is_finite_and_at_the_floor() -> None:
    features = Fbank(FeaturesConfig())(np.zeros(1600, dtype=np.float32))
    np.testing.assert_allclose(features, np.log(np.finfo(np.float32).eps), rtol=1e-5)


def test_is_deterministic_and_survives_pickling() -> None:
    fbank = Fbank(FeaturesConfig())
    samples = speech_like(8000)
    again = pickle.loads(pickle.dumps(fbank))
    np.testing.assert_array_equal(fbank(samples), again(samples))


def test_a_strided_view_gives_the_features_of_its_copy() -> None:
    fbank = Fbank(FeaturesConfig())
    stereo = np.stack([speech_like(8000, 1), speech_like(8000, 2)], axis=1)
    np.testing.assert_array_equal(fbank(stereo[:, 1]), fbank(stereo[:, 1].copy()))


def test_stereo_is_refused() -> None:
    with refused(ValueError, "mono", "(2, 8000)"):
        Fbank(FeaturesConfig())(np.zeros((2, 8000), dtype=np.float32))


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("size", [0, 159, 160, 399, 401, 48_001])
def test_whisper_mel_is_that_of_transformers(bins: int, size: int) -> None:
    samples = noise(4.0)[:size]
    found = whisper_mel(samples, bins)
    assert found.shape == (size // 160, bins) and found.dtype == np.float32
    if found.size:
        from transformers import WhisperFeatureExtractor

        padded = np.pad(samples, (0, max(0, 400 - size)))
        extract = WhisperFeatureExtractor(feature_size=bins)
        made = extract(padded, sampling_rate=16_000, padding="do_not_pad", return_tensors="np")
        np.testing.assert_allclose(found, made["input_features"][0].T[: len(found)], atol=2e-5)


FBANK = Fbank(FeaturesConfig(num_mel_bins=8, level=None))


def complete_frames(num_samples: int) -> int:
    """Number of frames that are complete after so many samples."""
    return sum(samples_of_frames(frames) <= num_samples for frames in range(1, num_samples + 1))


@given(st.integers(0, 2_000), st.integers(1, 600))
@settings(max_examples=60, deadline=None)
def test_complete_frames_stay_when_a_recording_goes_on(known: int, more: int) -> None:
    samples = speech_like(known + more)
    count = complete_frames(known)
    assert np.array_equal(FBANK(samples[:known])[:count], FBANK(samples)[:count])
    assert samples_of_frames(count) <= known < samples_of_frames(count + 1)


def test_no_more_frames_are_complete() -> None:
    samples, other = speech_like(4_000), speech_like(4_000, seed=1)
    for known in range(400, 1_000, 7):
        count = complete_frames(known)
        changed = np.concatenate((samples[:known], other[known:]))
        assert not np.array_equal(FBANK(samples)[count], FBANK(changed)[count])


@given(st.integers(0, 3_000), st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_frames_of_a_part_are_those_of_the_whole(size: int, frame: int) -> None:
    samples = speech_like(size)
    frame = min(frame, num_frames(size))
    part = fbank_from(FBANK, samples[first_sample(frame) :], frame)
    assert np.array_equal(part, FBANK(samples)[frame:])
