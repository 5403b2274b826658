"""Alignment frame by frame in bounded memory against the search that holds everything."""

from __future__ import annotations

import numpy as np
import pytest

from keyframe_asr.decoding.online_alignment import TRACED_FRAMES, OnlineAlignment
from keyframe_asr.decoding.viterbi import Columns, best_paths


@pytest.mark.parametrize("seed", range(40))
def test_short_texts_get_the_path_of_the_whole_search(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    frames, count = int(rng.integers(1, 120)), int(rng.integers(1, 30))
    traced = int(rng.integers(1, 50))
    monkeypatch.setattr("keyframe_asr.decoding.online_alignment.TRACED_FRAMES", traced)
    logits = 2 * rng.normal(size=(frames, 5)).astype(np.float32)
    scores = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    tokens = rng.integers(1, 5, count)
    expected = best_paths(
        Columns(scores[None], np.array([frames]), collapse=True), tokens[None], np.array([count])
    )
    alignment, cut = OnlineAlignment(tokens), int(rng.integers(0, frames + 1))
    alignment.push(scores[:cut])
    alignment.push(scores[cut:])
    found = alignment.finish()
    if not np.isfinite(expected.scores[0]):
        assert found is None
        return
    assert found is not None
    np.testing.assert_array_equal(found.positions, expected.positions[0])
    states = expected.states[0]
    labels = np.zeros(2 * count + 1, dtype=np.int64)
    labels[1::2] = tokens
    emitted = scores[np.arange(frames), labels[states]]
    np.testing.assert_allclose(found.lost, scores.max(axis=1) - emitted)
    np.testing.assert_array_equal(found.speaks, states % 2 == 1)
    chosen = scores[found.positions, tokens]
    np.testing.assert_allclose(found.confidences, np.exp(chosen), rtol=1e-5)


def test_long_texts_in_a_narrow_band_and_bounded_memory() -> None:
    """Spikes at known frames, forty times as many tokens as the band has states."""
    rng = np.random.default_rng(1)
    frames, count, labels, band = 12_000, 1_600, 20, 40
    tokens = rng.integers(1, labels, count)
    places = np.sort(rng.choice(frames // 2, count, replace=False)) * 2
    scores = rng.normal(size=(frames, labels)).astype(np.float32)
    scores[:, 0] += 5
    scores[places, tokens] += 12
    alignment = OnlineAlignment(tokens, band)
    waiting = 0
    for start in range(0, frames, 300):
        alignment.push(scores[start : start + 300])
        assert alignment._history is not None
        waiting = max(waiting, len(alignment._history.first))
    found = alignment.finish()
    assert found is not None
    assert np.mean(found.positions == places) > 0.99
    assert found.lost.shape == found.speaks.shape == (frames,)
    assert waiting < 4 * TRACED_FRAMES
