"""Distortions do what they say, and the same to every system that hears them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import signal

from fixtures.random_model import noise
from keyframe_asr.timing import SAMPLE_RATE
from research.definition import StressName
from research.stress.distortion import Distortion

LEVELS: dict[StressName, float] = {
    "noise": 5.0,
    "room": 0.3,
    "speed": 1.25,
    "telephone": 3400.0,
    "clipping": 12.0,
}


@pytest.fixture
def noises(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.wav" for number in range(3)]
    for number, path in enumerate(paths):
        soundfile.write(path, noise(0.5, seed=number + 5), SAMPLE_RATE)
    return paths


@pytest.mark.parametrize("kind", LEVELS)
def test_alike_for_every_system(kind: StressName, noises: list[Path]) -> None:
    samples = noise(1.0)
    before = samples.copy()
    first, second = (Distortion(kind, LEVELS[kind], noises)(samples, "a") for _ in range(2))
    assert np.array_equal(first, second)
    assert first.dtype == np.float32
    assert np.array_equal(samples, before)
    assert not np.array_equal(first, samples)
    assert len(first) == (pytest.approx(0.8 * len(samples), abs=2) if kind == "speed" else 16_000)


def test_the_same_noise_at_every_level(noises: list[Path]) -> None:
    samples = noise(1.0)
    loud, soft = (
        Distortion("noise", level, noises)(samples, "a").astype(np.float64) - samples
        for level in (0.0, 20.0)
    )
    assert np.allclose(loud, 10 * soft, atol=1e-4)
    assert np.mean(loud**2) == pytest.approx(np.mean(samples.astype(np.float64) ** 2), rel=1e-3)


def test_a_telephone_passes_its_band_only() -> None:
    white = np.random.default_rng(0).normal(size=4 * SAMPLE_RATE).astype(np.float32)
    heard = Distortion("telephone", 3400.0, [])(white, "a")
    frequency, power = signal.welch(heard, SAMPLE_RATE, nperseg=1024)
    inside = power[(frequency > 500) & (frequency < 3000)].mean()
    assert power[frequency > 4200].max() < 1e-4 * inside
    assert power[frequency < 100].max() < 1e-2 * inside


def test_clipping_is_that_far_below_the_peak() -> None:
    samples = noise(1.0)
    peak = np.abs(samples).max()
    heard = Distortion("clipping", 20.0, [])(samples, "a")
    assert np.abs(heard).max() == pytest.approx(0.1 * peak, rel=1e-5)
    soft = np.abs(samples) < 0.1 * peak
    assert np.array_equal(heard[soft], samples[soft])


def test_nothing_stays_nothing(noises: list[Path]) -> None:
    empty = np.zeros(0, dtype=np.float32)
    assert all(Distortion(k, level, noises)(empty, "a").size == 0 for k, level in LEVELS.items())
