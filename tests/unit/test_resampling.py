"""Resampling block by block equals resampling the whole recording."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.resampling import Resampler

RATES = [8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 44_101]


def streamed(samples: Samples, rate: int, sizes: list[int]) -> Samples:
    state, found, start, turn = Resampler(rate), [], 0, 0
    while start < samples.size:
        size = sizes[turn % len(sizes)]
        state, new = state.push(samples[start : start + size])
        found.append(new)
        start, turn = start + size, turn + 1
    return np.concatenate([*found, state.finish()])


def sound(seconds: float, rate: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, round(seconds * rate)).astype("f4")


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seconds", [0.0, 0.003, 0.5, 2.3])
def test_blocks_equal_the_whole(rate: int, seconds: float) -> None:
    samples = sound(seconds, rate)
    expected = soxr.resample(samples, rate, 16_000) if samples.size else samples
    found = streamed(samples, rate, [1_000, 37])
    assert found.shape == expected.shape
    assert np.abs(found - np.clip(expected, -1, 1)).max(initial=0) < 1e-4


@given(st.sampled_from(RATES), st.floats(0, 0.3), st.lists(st.integers(1, 5_000), min_size=1))
@settings(max_examples=40, deadline=None)
def test_any_division_gives_the_same_samples(rate: int, seconds: float, sizes: list[int]) -> None:
    samples = sound(seconds, rate, seed=1)
    assert np.array_equal(streamed(samples, rate, sizes), streamed(samples, rate, [1 << 30]))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_little_is_kept(rate: int) -> None:
    state = Resampler(rate)
    for _ in range(20):
        state, _ = state.push(sound(0.5, rate))
    assert state.samples.size < 0.2 * rate
