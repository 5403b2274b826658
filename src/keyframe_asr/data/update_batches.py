"""The batches of each update, divided among processes so that their number changes nothing.

An update is made of `accumulate` batches. With several processes, each trains on some of them;
where there are fewer batches than processes, or one more than they can divide evenly, the largest
are cut in two. The gradient of the update stays that of the mean over all its utterances.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lhotse import CutSet
from torch.utils.data import Sampler


@dataclass(frozen=True)
class UpdateBatch:
    """What one process trains on at a time.

    Attributes:
        cuts: utterances.
        share: of the utterances of the update; 0 for a stand-in, given to a process for which
            none are left, so that all processes take equally many steps.
        last: true for the last batch that this process has in the update.
    """

    cuts: CutSet
    share: float
    last: bool


class UpdateBatches(Sampler[UpdateBatch]):
    """The batches of one process, update by update.

    Args:
        batches: the whole epoch's batches, the same in every process.
        accumulate: batches of one update; the last update of an epoch may have fewer.
        process: number of this process, from 0.
        processes: how many there are.
    """

    def __init__(
        self, batches: Iterable[CutSet], accumulate: int, process: int = 0, processes: int = 1
    ) -> None:
        self._batches, self._accumulate = batches, accumulate
        self._process, self._processes = process, processes

    def __iter__(self) -> Iterator[UpdateBatch]:
        batches = (cuts for cuts in self._batches)  # lhotse's own iterators begin again at the end
        while group := list(itertools.islice(batches, self._accumulate)):
            yield from divide_update(group, self._processes)[self._process]


def divide_update(group: list[CutSet], processes: int) -> list[list[UpdateBatch]]:
    """The batches of each process in one update; every process gets equally many."""
    cuts = [list(batch) for batch in group]
    total = sum(map(len, cuts))
    each = -(-len(cuts) // processes)
    while len(cuts) < each * processes and (largest := max(cuts, key=len))[1:]:
        place = cuts.index(largest)
        middle = len(largest) // 2
        cuts[place : place + 1] = [largest[:middle], largest[middle:]]
    parts = [(part, len(part) / total) for part in cuts]
    stand_in = (cuts[0][:1], 0.0)
    parts += [stand_in] * (each * processes - len(parts))
    return [
        [
            UpdateBatch(CutSet.from_cuts(part), share, last=place == each - 1)
            for place, (part, share) in enumerate(parts[process::processes])
        ]
        for process in range(processes)
    ]
