"""Keyframes that commit while an utterance goes on are those of the whole utterance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keyframe_asr.config.model import KeyframesConfig
from keyframe_asr.model.keyframes import SelectionPolicy, select_keyframes
from keyframe_asr.streams.keyframe_commits import Spikes, commit_keyframes

LABELS = 4

rules = st.builds(
    KeyframesConfig,
    keep=st.sampled_from(["peak", "first"]),
    blank_threshold=st.none() | st.floats(0.05, 0.95),
)


@st.composite
def utterances(draw: st.DrawFn) -> np.ndarray:
    """Log-probabilities (U, V) of few distinct values, so that runs and ties are frequent."""
    frames = draw(st.integers(0, 16))
    size = frames * LABELS
    logits = draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))
    return torch.tensor(logits).float().view(frames, LABELS).log_softmax(-1).numpy()


def committed(
    log_probs: np.ndarray, config: KeyframesConfig, cuts: list[int]
) -> list[tuple[int, int]]:
    """Keyframes, and how many frames had been heard when each became certain; -1: at the end."""
    spikes, found, start = Spikes(), [], 0
    for cut in [*sorted(cuts), len(log_probs)]:
        spikes, certain = commit_keyframes(spikes, log_probs[start:cut], config)
        found += [(one, cut) for one in certain]
        start = cut
    spikes, certain = commit_keyframes(spikes, log_probs[:0], config, last=True)
    return found + [(one, -1) for one in certain]


@given(utterances(), rules, st.data())
@settings(deadline=None, max_examples=3000)
def test_any_division_gives_the_keyframes_of_the_whole(
    log_probs: np.ndarray, config: KeyframesConfig, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(log_probs)), max_size=5))
    policy = SelectionPolicy(config.keep, config.blank_threshold)
    whole = select_keyframes(torch.from_numpy(log_probs)[None], [len(log_probs)], policy)
    expected = whole.index[0, : int(whole.lengths)].tolist()
    assert [keyframe for keyframe, _ in committed(log_probs, config, cuts)] == expected


@given(utterances(), rules)
@settings(deadline=None)
def test_a_keyframe_is_certain_as_early_as_it_can_be(
    log_probs: np.ndarray, config: KeyframesConfig
) -> None:
    """`first` with its own frame; `peak` with the first frame that is not of its run."""
    one_by_one = committed(log_probs, config, list(range(len(log_probs))))
    for keyframe, heard in one_by_one:
        if heard < 0:
            continue
        if config.keep == "first":
            assert heard == keyframe + 1
            continue
        shorter, _ = commit_keyframes(Spikes(), log_probs[: heard - 1], config)
        assert keyframe in shorter.candidates(config)
        assert shorter.label is not None


@given(utterances(), rules)
@settings(deadline=None)
def test_candidates_hold_every_later_keyframe(
    log_probs: np.ndarray, config: KeyframesConfig
) -> None:
    every = [keyframe for keyframe, _ in committed(log_probs, config, [])]
    for heard in range(len(log_probs)):
        spikes, certain = commit_keyframes(Spikes(), log_probs[:heard], config)
        later = {one for one in every if one < heard} - set(certain)
        assert later <= set(spikes.candidates(config))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_values_that_are_no_log_probabilities_are_refused(value: float, place: int) -> None:
    log_probs = np.full((3, LABELS), -1.0, np.float32)
    log_probs[1, place] = value
    with pytest.raises(ValueError, match="NaN"):
        commit_keyframes(Spikes(), log_probs, KeyframesConfig())
