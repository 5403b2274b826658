"""Where sound begins after a pause, and how far spikes are from it."""

from __future__ import annotations

import numpy as np
import pytest

from keyframe_asr.evaluation.times import EmissionDelays, Onset, onsets

RATE = 16_000


def loudness(*parts: tuple[bool, float]) -> np.ndarray:
    return np.concatenate([np.full(round(100 * seconds), loud) for loud, seconds in parts])


def recording(*parts: tuple[bool, float]) -> np.ndarray:
    """Tones at full level where loud, faint noise elsewhere."""
    rng = np.random.default_rng(1)
    return np.concatenate(
        [
            rng.normal(0, 0.3 if loud else 0.001, round(seconds * RATE)).astype(np.float32)
            for loud, seconds in parts
        ]
    )


def test_onsets_are_after_pauses_only() -> None:
    loud = loudness((False, 0.2), (True, 0.5), (False, 0.1), (True, 0.4), (False, 0.4), (True, 0.3))
    assert [one.seconds for one in onsets(loud)] == pytest.approx([0.2, 1.6])
    assert [one.before for one in onsets(loud)] == pytest.approx([-np.inf, 1.2])


def test_a_click_is_no_onset_and_ends_no_pause() -> None:
    loud = loudness((False, 0.3), (True, 0.03), (False, 0.2), (True, 0.5))
    assert onsets(loud) == [Onset(0.53, -np.inf)]
    assert onsets(loudness((False, 0.3), (True, 0.03))) == []


def test_what_begins_with_sound_has_no_onset_there() -> None:
    assert onsets(loudness((True, 0.5))) == []
    assert onsets(loudness((True, 0.5), (False, 0.2), (True, 0.5))) == []
    assert onsets(np.zeros(0, dtype=bool)) == []


def test_the_last_token_before_a_short_pause_is_not_the_first_after_it() -> None:
    delays = EmissionDelays()
    sound = recording((False, 0.5), (True, 1.0), (False, 0.35), (True, 1.0), (False, 0.5))
    delays.add(sound, [0.7, 1.4, 2.05])
    assert delays.values == pytest.approx([0.2, 0.2], abs=0.03)


def test_the_delay_is_that_of_the_first_spike_at_each_onset() -> None:
    delays = EmissionDelays()
    sound = recording((False, 0.5), (True, 1.0), (False, 0.6), (True, 1.0), (False, 0.5))
    delays.add(sound, [0.7, 1.1, 2.3, 2.8])
    assert delays.values == pytest.approx([0.2, 0.2], abs=0.03)
    delays.add(sound, [0.4, 1.1])  # the second is nobody's
    assert delays.values[2:] == pytest.approx([-0.1], abs=0.03)
    delays.add(sound, [])
    delays.add(np.zeros(RATE, dtype=np.float32), [0.5])
    assert len(delays.values) == 3 and delays.median is None
    for _ in range(14):
        delays.add(sound, [0.7, 2.3])
    assert delays.median == pytest.approx(0.2, abs=0.03)
    assert delays.report()["count"] == 31
