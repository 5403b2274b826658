"""What holds for the keyframes of any log-probabilities."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from keyframe_asr.model.keyframes import Keyframes, SelectionPolicy, select_keyframes

LABELS = 5

policies = st.builds(
    SelectionPolicy,
    keep=st.sampled_from(["peak", "first"]),
    blank_threshold=st.none() | st.floats(0.05, 0.95),
    blank=st.integers(0, LABELS - 1),
)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, U, V) of few distinct values, and lengths (B,) from 0 to U."""
    batch, frames = draw(st.integers(1, 5)), draw(st.integers(1, 14))
    size = batch * frames * LABELS
    logits = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    lengths = draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch))
    log_probs = torch.tensor(logits).float().view(batch, frames, LABELS).log_softmax(-1)
    return log_probs, torch.tensor(lengths)


def rows(keyframes: Keyframes) -> list[list[int]]:
    return [
        row[:length]
        for row, length in zip(keyframes.index.tolist(), keyframes.lengths.tolist(), strict=True)
    ]


@given(batches(), policies)
@settings(deadline=None)
def test_index_is_ascending_inside_and_zero_in_the_padding(
    batch: tuple[Tensor, Tensor], policy: SelectionPolicy
) -> None:
    log_probs, lengths = batch
    keyframes = select_keyframes(log_probs, lengths, policy)
    for row, length in zip(rows(keyframes), lengths.tolist(), strict=True):
        assert row == sorted(set(row))
        assert all(0 <= frame < length for frame in row)
        assert bool(row) == (length > 0)
    assert bool((keyframes.index[~keyframes.mask] == 0).all())
    assert keyframes.index.shape[1] == max(1, int(keyframes.lengths.max()))


@given(batches(), policies, st.data())
@settings(deadline=None)
def test_asking_for_more_only_adds_the_least_blank_frames(
    batch: tuple[Tensor, Tensor], policy: SelectionPolicy, data: st.DataObject
) -> None:
    log_probs, lengths = batch
    wanted = data.draw(st.lists(st.integers(0, 20), min_size=len(lengths), max_size=len(lengths)))
    free = rows(select_keyframes(log_probs, lengths, policy))
    asked = rows(select_keyframes(log_probs, lengths, policy, torch.tensor(wanted)))
    for place, (few, many) in enumerate(zip(free, asked, strict=True)):
        length = int(lengths[place])
        assert set(few) <= set(many)
        assert len(many) == max(len(few), min(wanted[place], length))
        added = set(many) - set(few)
        blank = log_probs[place, :, policy.blank].tolist()
        left_out = set(range(length)) - set(many)
        assert all(blank[frame] <= blank[other] for frame in added for other in left_out)


@given(batches(), policies, st.data())
@settings(deadline=None)
def test_neither_padding_nor_batch_mates_matter(
    batch: tuple[Tensor, Tensor], policy: SelectionPolicy, data: st.DataObject
) -> None:
    log_probs, lengths = batch
    together = rows(select_keyframes(log_probs, lengths, policy))
    place = data.draw(st.integers(0, len(lengths) - 1))
    length = int(lengths[place])
    padding = torch.full((1, data.draw(st.integers(0, 6)), LABELS), float("nan"))
    alone = torch.cat((log_probs[place : place + 1, :length], padding), dim=1)
    assert rows(select_keyframes(alone, lengths[place : place + 1], policy)) == [together[place]]


@given(batches())
@settings(deadline=None)
def test_peak_and_first_keep_one_frame_of_the_same_runs(batch: tuple[Tensor, Tensor]) -> None:
    log_probs, lengths = batch
    labels = log_probs.argmax(-1)
    peaks = rows(select_keyframes(log_probs, lengths, SelectionPolicy(keep="peak")))
    firsts = rows(select_keyframes(log_probs, lengths, SelectionPolicy(keep="first")))
    for place, (peak_row, first_row) in enumerate(zip(peaks, firsts, strict=True)):
        assert len(peak_row) == len(first_row)
        for peak, first in zip(peak_row, first_row, strict=True):
            assert first <= peak
            assert len(set(labels[place, first : peak + 1].tolist())) == 1


@given(batches())
@settings(deadline=None)
def test_keyframes_spell_the_greedy_ctc_text(batch: tuple[Tensor, Tensor]) -> None:
    """With the arg-max rule the labels at the keyframes are the collapsed best path."""
    log_probs, lengths = batch
    labels = log_probs.argmax(-1)
    for place, row in enumerate(rows(select_keyframes(log_probs, lengths))):
        path = labels[place, : int(lengths[place])].tolist()
        collapsed = [
            label
            for label, before in zip(path, [None, *path], strict=False)
            if label != 0 and label != before
        ]
        spelled = [path[frame] for frame in row]
        assert spelled == collapsed or (not collapsed and len(row) == min(1, len(path)))
