"""Updates divided among processes: every utterance once, equally many steps for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from lhotse import CutSet

from keyframe_asr.data.manifest import make_cut
from keyframe_asr.data.update_batches import UpdateBatch, UpdateBatches, divide_update


def batch(*names: str) -> CutSet:
    return CutSet.from_cuts(make_cut(name, "", "A", Path(f"{name}.wav"), 16000) for name in names)


def names(part: UpdateBatch) -> list[str]:
    return [cut.id for cut in part.cuts]


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(
    "group", [["abc"], ["abcdefg", "hi"], ["a", "b", "c"], ["ab", "c", "defgh", "ij", "k"]]
)
def test_every_utterance_is_in_one_part(group: list[str], processes: int) -> None:
    shared = divide_update([batch(*one) for one in group], processes)
    assert len(shared) == processes
    assert len({len(parts) for parts in shared}) == 1
    real = [part for parts in shared for part in parts if part.fraction > 0]
    assert sorted(name for part in real for name in names(part)) == sorted("".join(group))
    assert sum(part.fraction for part in real) == pytest.approx(1.0)
    total = sum(map(len, group))
    assert all(part.fraction == len(names(part)) / total for part in real)
    assert all(len(names(part)) > 0 for parts in shared for part in parts)
    for parts in shared:
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]


def test_one_process_gets_the_batches_as_they_are() -> None:
    group = [batch("a", "b"), batch("c")]
    (parts,) = divide_update(group, 1)
    assert [names(part) for part in parts] == [["a", "b"], ["c"]]


def test_batches_that_come_out_even_are_not_cut() -> None:
    shared = divide_update([batch("a", "b"), batch("c"), batch("d", "e"), batch("f")], 2)
    assert [[names(part) for part in parts] for parts in shared] == [
        [["a", "b"], ["d", "e"]],
        [["c"], ["f"]],
    ]


def test_a_process_without_utterances_gets_a_stand_in_that_does_not_count() -> None:
    shared = divide_update([batch("a")], 2)
    assert names(shared[1][0]) == ["a"]
    assert (shared[0][0].fraction, shared[1][0].fraction) == (1.0, 0.0)


def test_epochs_end_with_a_smaller_update() -> None:
    batches = [batch("a"), batch("b"), batch("c", "d")]
    parts = [list(UpdateBatches(batches, 2, process, 2)) for process in range(2)]
    assert [[names(part) for part in mine] for mine in parts] == [[["a"], ["c"]], [["b"], ["d"]]]
    assert [[part.fraction for part in mine] for mine in parts] == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("done", [0, 1, 2, 3, 9])
def test_updates_that_are_done_are_left_out(done: int) -> None:
    batches = [batch(*one) for one in ("ab", "c", "d", "ef", "g")]
    parts = [names(part) for part in UpdateBatches(batches, 2, done=done)]
    assert parts == [["a", "b"], ["c"], ["d"], ["e", "f"], ["g"]][2 * done :]
