"""However a recording comes, its segments hold all speech, once, in order and not too long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.voice_activity import HOP, LoudnessDetector, Scores
from keyframe_asr.inference.options import Segmentation
from keyframe_asr.inference.segmentation import (
    PAUSE,
    SILENT_PEAK,
    SPEECH,
    AudioSegment,
    audio_segments,
)

RATE = 16_000
SHORT = Segmentation(longest=3.0, search=1.0, pause=0.3, padding=0.2, overlap=0.4)

parts = st.lists(
    st.tuples(st.floats(0.01, 3.0), st.sampled_from([0.0, 1e-4, 0.01, 0.2])), max_size=5
)
blocks = st.sampled_from([777, 3000, 16_000, 1_000_000])


class Heard:
    """A detector that knows speech: whatever is loud."""

    knows_speech = True

    def push(self, samples: Samples) -> Scores:
        return (np.abs(samples.reshape(-1, HOP)).max(axis=1) > 0.05).astype(np.float32)


def sound(parts: list[tuple[float, float]]) -> Samples:
    random = np.random.default_rng(0)
    pieces = [random.normal(size=round(seconds * RATE)) * level for seconds, level in parts]
    return np.concatenate([np.empty(0), *pieces]).astype(np.float32)


def cut(samples: Samples, detector, size: int, segmentation: Segmentation = SHORT):
    given = (samples[start : start + size] for start in range(0, samples.size, size))
    return list(audio_segments(given, detector, segmentation))


def check(samples: Samples, found: list[AudioSegment]) -> None:
    """What holds for every detector."""
    previous = 0
    for place, segment in enumerate(found):
        bounds = segment.bounds
        assert previous <= bounds.start < bounds.end <= samples.size
        assert bounds.end - bounds.start <= (SHORT.longest + SHORT.overlap) * RATE
        following = found[place + 1].bounds if place + 1 < len(found) else None
        beyond = 0.4 * RATE if following and following.continued else 0
        until = int(min(bounds.end + beyond, samples.size))
        begin = bounds.start - round(0.4 * RATE) * bounds.continued
        until_heard = bounds.audio_start + segment.samples.size
        np.testing.assert_array_equal(segment.samples, samples[bounds.audio_start : until_heard])
        assert begin <= bounds.audio_start and until_heard <= until
        assert np.abs(samples[begin : bounds.audio_start]).max(initial=0) <= SILENT_PEAK
        assert np.abs(samples[until_heard:until]).max(initial=0) <= SILENT_PEAK
        assert not bounds.continued or bounds.start == previous
        previous = bounds.end


@given(parts, blocks)
@settings(max_examples=25)
def test_loudness_leaves_nothing_out(parts, size) -> None:
    samples = sound(parts)
    found = cut(samples, LoudnessDetector(), size)
    check(samples, found)
    assert sum(one.bounds.end - one.bounds.start for one in found) == samples.size


@given(parts, blocks)
@settings(max_examples=25)
def test_all_that_is_speech_is_in_a_segment(parts, size) -> None:
    samples = sound(parts)
    found = cut(samples, Heard(), size)
    check(samples, found)
    inside = np.zeros(samples.size, dtype=bool)
    for one in found:
        inside[one.bounds.start : one.bounds.end] = True
    assert inside[np.abs(samples) > 0.05].all()
    if not (np.abs(samples) > 0.05).any():
        assert found == []


@given(parts, blocks, blocks)
@example([(1.0, 0.0), (1.0, 0.2)], 777, 3000)
@settings(max_examples=20)
def test_blocks_do_not_matter(parts, first, second) -> None:
    samples = sound(parts)
    for detector in (LoudnessDetector, Heard):
        spans = [one.bounds for one in cut(samples, detector(), first)]
        assert spans == [one.bounds for one in cut(samples, detector(), second)]


@pytest.mark.parametrize("samples", [0, 1, 160, 511, 512, 513])
@pytest.mark.parametrize("detector", [LoudnessDetector, Heard])
def test_next_to_nothing(samples: int, detector) -> None:
    found = cut(np.full(samples, 0.3, dtype=np.float32), detector(), 100)
    assert [one.samples.size for one in found] == ([samples] if samples else [])


def test_pauses_and_quiet_places_are_where_it_is_cut() -> None:
    said, pause, dip = (1.0, 0.2), (0.6, 1e-4), (0.1, 1e-3)
    found = cut(sound([said, pause, said, pause, (2.4, 0.2), dip, (2.0, 0.2)]), Heard(), 4000)
    times = [(one.bounds.start / RATE, one.bounds.end / RATE) for one in found]
    expected = [(0.0, 1.2), (1.4, 2.8), (3.0, 5.65), (5.65, 7.7)]
    np.testing.assert_allclose(times, expected, atol=0.06)
    assert [one.bounds.continued for one in found] == [False, False, False, True]
    loud = cut(
        sound([said, pause, said, pause, (2.4, 0.2), dip, (2.0, 0.2)]), LoudnessDetector(), 4000
    )
    ends = [one.bounds.end / RATE for one in loud]
    np.testing.assert_allclose(ends[-2:], [5.65, 7.7], atol=0.06)


def test_little_is_held_of_a_long_recording() -> None:
    held = 0

    def blocks():
        random = np.random.default_rng(0)
        for place in range(120):
            yield (random.normal(size=RATE) * (0.2 if place // 30 % 2 else 1e-4)).astype("f4")

    for detector in (LoudnessDetector(), Heard()):
        for one in audio_segments(blocks(), detector, SHORT):
            held = max(held, one.samples.size)
            assert one.samples.base is None or one.samples.base.size <= 4 * RATE
    assert held <= (SHORT.longest + 2 * SHORT.overlap) * RATE
    assert 0 < PAUSE < SPEECH < 1
