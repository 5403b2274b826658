"""Where a sound ends: found in tones with noise, at any gain, and given up where noise hides it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyframe_asr.audio.loudness import LONGEST_SOUND_SECONDS, SpeechLevel
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.timestamps import LONGEST_TOKEN_SECONDS, timed_tokens

RATE = 16_000


def recording(
    sounds: list[tuple[float, float]], seconds: float = 4.0, noise: float = 0.001
) -> npt.NDArray[np.float32]:
    """Tones from and to these seconds in white noise."""
    times = np.arange(round(seconds * RATE)) / RATE
    samples = noise * np.random.default_rng(1).normal(size=times.size)
    for start, end in sounds:
        samples += 0.2 * np.sin(2 * np.pi * 300 * times) * ((times >= start) & (times < end))
    return samples.astype(np.float32)


def level_of(samples: npt.NDArray[np.float32]) -> SpeechLevel:
    level = SpeechLevel.of_samples(samples)
    assert level is not None
    return level


@pytest.mark.parametrize("gain", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("noise", [0.0, 0.001, 0.02])
def test_a_sound_ends_where_it_does(gain: float, noise: float) -> None:
    level = level_of(gain * recording([(1.0, 1.5), (2.5, 3.0)], noise=noise))
    assert level.sound_end(0.95, 2.5) == pytest.approx(1.5, abs=0.02)
    assert level.sound_end(1.2, 2.5) == pytest.approx(1.5, abs=0.02)
    assert level.sound_end(1.2, 1.4) == 1.4
    assert level.sound_end(1.6, 2.4) is None


def test_a_stop_is_no_pause_and_a_pause_ends_the_word() -> None:
    level = level_of(recording([(1.0, 1.2), (1.25, 1.5), (1.65, 2.0)]))
    assert level.sound_end(1.0, 3.0) == pytest.approx(1.5, abs=0.02)


def test_a_sound_without_end_is_cut() -> None:
    level = level_of(recording([(1.0, 3.0)]))
    assert level.sound_end(1.0, 4.0) == pytest.approx(1.0 + LONGEST_SOUND_SECONDS)


def test_no_level_where_nothing_stands_out() -> None:
    assert SpeechLevel.of_samples(np.zeros(RATE, np.float32)) is None
    assert SpeechLevel.of_samples(recording([], noise=0.1)) is None
    assert SpeechLevel.of_samples(np.ones(399, np.float32)) is None
    assert SpeechLevel.of_samples(np.zeros(0, np.float32)) is None


@given(st.lists(st.booleans(), min_size=1, max_size=80), st.floats(0, 1), st.floats(0, 1))
def test_an_end_is_never_out_of_bounds(loud: list[bool], one: float, other: float) -> None:
    start, limit = sorted((one, other))
    end = SpeechLevel(np.array(loud)).sound_end(start, limit)
    assert end is None or start <= end <= limit


def test_tokens_end_with_their_sound() -> None:
    found = Hypothesis((3, 4), -1.0, (25, 50), (0.9, 0.8))
    pieces = {3: "A", 4: "B"}.__getitem__
    level = level_of(recording([(1.0, 1.2), (2.0, 2.6)]))
    heard = timed_tokens(found, range(100), 0.04, 4.0, pieces, 0.0, level)
    assert [token.start for token in heard] == [1.0, 2.0]
    assert [token.end for token in heard] == pytest.approx([1.2, 2.6], abs=0.02)
    hidden = timed_tokens(found, range(100), 0.04, 4.0, pieces)
    ends = [1.0 + LONGEST_TOKEN_SECONDS, 2.0 + LONGEST_TOKEN_SECONDS]
    assert [token.end for token in hidden] == pytest.approx(ends)
