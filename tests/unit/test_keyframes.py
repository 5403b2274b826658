"""Keyframes of hand-made log-probabilities, one rule at a time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from fixtures.errors import refused
from keyframe_asr.model.keyframes import (
    Keyframes,
    SelectionPolicy,
    gather_frames,
    select_keyframes,
)


def log_probs_of(*utterances: Sequence[tuple[float, ...]]) -> Tensor:
    """(B, U, V) from probabilities per frame; every utterance equally long."""
    return torch.tensor(utterances).log()


def chosen(
    probabilities: Sequence[tuple[float, ...]],
    policy: SelectionPolicy | None = None,
    at_least: int | None = None,
) -> list[int]:
    keyframes = select_keyframes(
        log_probs_of(probabilities),
        torch.tensor([len(probabilities)]),
        policy or SelectionPolicy(),
        None if at_least is None else torch.tensor([at_least]),
    )
    return keyframes.index[0, : int(keyframes.lengths[0])].tolist()


BLANK = (0.8, 0.1, 0.1)
RUN = [BLANK, (0.3, 0.6, 0.1), (0.1, 0.8, 0.1), (0.2, 0.7, 0.1), BLANK]


def test_peak_keeps_the_most_probable_frame_of_a_run() -> None:
    assert chosen(RUN) == [2]


def test_first_keeps_the_first_frame_of_a_run() -> None:
    assert chosen(RUN, SelectionPolicy(keep="first")) == [1]


def test_of_equally_probable_frames_the_earliest_is_kept() -> None:
    assert chosen([BLANK, (0.3, 0.6, 0.1), (0.1, 0.8, 0.1), (0.1, 0.8, 0.1)]) == [2]


def test_a_blank_between_equal_labels_starts_a_new_run() -> None:
    spike = (0.1, 0.8, 0.1)
    assert chosen([spike, BLANK, spike, spike]) == [0, 2]


def test_another_label_starts_a_new_run_without_a_blank() -> None:
    assert chosen([(0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.1, 0.1, 0.8), (0.1, 0.8, 0.1)]) == [0, 1, 3]


def test_threshold_finds_the_best_other_label_where_blank_is_the_most_probable() -> None:
    frames = [(0.5, 0.4, 0.1), (0.5, 0.1, 0.4), (0.8, 0.1, 0.1)]
    assert chosen(frames) == [0]  # all blank: only the least blank frame
    assert chosen(frames, SelectionPolicy(blank_threshold=0.6)) == [0, 1]


def test_threshold_drops_a_frame_whose_most_probable_label_is_not_blank() -> None:
    frames = [(0.1, 0.8, 0.1), (0.4, 0.1, 0.5)]
    assert chosen(frames) == [0, 1]
    assert chosen(frames, SelectionPolicy(blank_threshold=0.3)) == [0]


def test_blank_must_exceed_the_threshold() -> None:
    frames = [(0.5, 0.25, 0.25), (0.25, 0.5, 0.25)]
    log_probs = log_probs_of(frames)
    policy = SelectionPolicy(keep="first", blank_threshold=0.5)
    # Not blank, and its label is the first of two equally probable ones: one run of two frames.
    assert select_keyframes(log_probs, torch.tensor([2]), policy).index.tolist() == [[0]]


def test_without_a_spike_the_least_blank_frame_is_kept() -> None:
    assert chosen([(0.9, 0.05, 0.05), (0.7, 0.15, 0.15), (0.7, 0.1, 0.2)]) == [1]


def test_missing_keyframes_are_the_least_blank_frames_in_order() -> None:
    assert chosen(RUN, at_least=2) == [2, 3]
    assert chosen(RUN, at_least=4) == [0, 1, 2, 3]
    assert chosen(RUN, at_least=9) == [0, 1, 2, 3, 4]


def test_blank_may_be_any_label() -> None:
    frames = [tuple(reversed(frame)) for frame in RUN]
    assert chosen(frames, SelectionPolicy(blank=2)) == chosen(RUN)


def test_utterances_without_frames_get_no_keyframes_but_a_column() -> None:
    log_probs = torch.zeros(2, 3, 4).log_softmax(-1)
    keyframes = select_keyframes(
        log_probs, torch.tensor([0, 0]), min_keyframes=torch.tensor([2, 0])
    )
    assert keyframes.lengths.tolist() == [0, 0]
    assert keyframes.index.tolist() == [[0], [0]]
    assert not keyframes.mask.any()
    empty = select_keyframes(log_probs[:, :0], torch.tensor([0, 0]))
    assert empty.index.tolist() == [[0], [0]]
    assert empty.gather(torch.ones(2, 0, 5)).tolist() == torch.zeros(2, 1, 5).tolist()


def test_zero_probabilities_are_legal() -> None:
    assert chosen([(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]) == [0, 2]
    assert chosen([(1.0, 0.0, 0.0), (1.0, 0.0, 0.0)]) == [0]


def test_the_choice_carries_no_gradient_and_the_frames_do() -> None:
    logits = torch.randn(2, 6, 4, requires_grad=True)
    keyframes = select_keyframes(logits.log_softmax(-1), torch.tensor([6, 3]))
    assert not keyframes.index.requires_grad
    frames = torch.randn(2, 6, 3, requires_grad=True)
    keyframes.gather(frames).sum().backward()
    assert frames.grad is not None
    expected = torch.zeros(2, 6)
    for place in range(2):
        expected[place, keyframes.index[place, : int(keyframes.lengths[place])]] = 1
    assert frames.grad.equal(expected.unsqueeze(-1).expand(-1, -1, 3))


def test_gather_takes_the_frames_and_pads_with_zeros() -> None:
    frames = torch.arange(1.0, 13.0).view(2, 3, 2)
    keyframes = Keyframes(torch.tensor([[0, 2], [1, 0]]), torch.tensor([2, 1]))
    assert keyframes.gather(frames).tolist() == [[[1, 2], [5, 6]], [[9, 10], [0, 0]]]


def test_gather_never_reads_where_the_mask_is_false() -> None:
    frames = torch.full((1, 2, 1), float("nan"))
    index, mask = torch.tensor([[7, -3]]), torch.tensor([[False, False]])
    assert gather_frames(frames, index, mask).tolist() == [[[0], [0]]]


def test_all_frames_keeps_every_frame() -> None:
    keyframes = Keyframes.all_frames(torch.tensor([3, 1, 0]), 3)
    assert keyframes.index.tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 0]]
    assert keyframes.lengths.tolist() == [3, 1, 0]
    frames = torch.randn(3, 3, 2)
    assert keyframes.gather(frames)[0].equal(frames[0])
    assert Keyframes.all_frames(torch.tensor([0]), 0).index.tolist() == [[0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_utterance_is_named_by_its_place(value: float) -> None:
    log_probs = torch.zeros(3, 4, 5).log_softmax(-1)
    log_probs[1, 2, 3] = value
    with refused(ValueError, "log_probs", "[1]"):
        select_keyframes(log_probs, torch.tensor([4, 4, 4]))
    select_keyframes(log_probs, torch.tensor([4, 2, 4]))  # in the padding it does not matter
    log_probs[1, 2, 3], log_probs[1, 2, 0] = -1.0, value
    with refused(ValueError, "log_probs", "[1]"):
        select_keyframes(log_probs, torch.tensor([4, 4, 4]), SelectionPolicy(blank_threshold=0.5))


@pytest.mark.parametrize("wrong", [-1, 5])
def test_lengths_that_do_not_fit_are_refused(wrong: int) -> None:
    with refused(ValueError, "lengths", 0, 4, "[1]"):
        select_keyframes(torch.zeros(2, 4, 3), torch.tensor([4, wrong]))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with refused(ValueError, "log_probs", "(batch, frames, vocabulary)", "(4, 3)"):
        select_keyframes(torch.zeros(4, 3), torch.tensor([4]))
    with refused(ValueError, "lengths", "(2,)", "(1,)"):
        select_keyframes(torch.zeros(2, 4, 3), torch.tensor([4]))
    with refused(ValueError, "min_keyframes", torch.float32):
        select_keyframes(torch.zeros(1, 4, 3), torch.tensor([4]), min_keyframes=torch.tensor([1.0]))
    with refused(ValueError, "blank", 3):
        select_keyframes(torch.zeros(1, 4, 3), torch.tensor([4]), SelectionPolicy(blank=3))


def test_policies_out_of_range_are_refused() -> None:
    with refused(ValueError, "blank_threshold", 1.0):
        SelectionPolicy(blank_threshold=1.0)
    with refused(ValueError, "keep", "'peak'", "'first'", "'last'"):
        SelectionPolicy(keep="last")  # type: ignore[arg-type]
    with refused(ValueError, "blank", -1):
        SelectionPolicy(blank=-1)
