"""Divide the batches of each update among processes, so that their number changes no result.

An update consists of `accumulate` batches. With several processes, each trains on some of them. If
the number of batches is not a multiple of the number of processes, the largest are split in two.
The gradient of the update remains the mean over all its utterances.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from lhotse import CutSet
from torch.utils.data import Sampler


@dataclass(frozen=True)
class UpdateBatch:
    """A batch of one process.

    Attributes:
        cuts: utterances.
        fraction: fraction of the utterances of the update; 0 for a placeholder, given to a process
            without batches left, so that all processes take the same number of steps.
        last: True for the last batch of this process in the update.
        epoch: number of the epoch, from 0.
    """

    cuts: CutSet
    fraction: float
    last: bool
    epoch: int = 0


class UpdateBatches(Sampler[UpdateBatch]):
    """The batches of one process, update by update.

    Args:
        batches: all batches of the epoch, the same in every process.
        accumulate: batches per update; the last update of an epoch may have fewer.
        process: index of this process, from 0.
        processes: number of processes.
        epoch: number of the epoch.
        done: number of updates to leave out at the beginning.
        finish: makes what is yielded of a batch, for batches of what stands for cuts.
    """

    def __init__(
        self,
        batches: Iterable[CutSet],
        accumulate: int,
        process: int = 0,
        processes: int = 1,
        epoch: int = 0,
        done: int = 0,
        finish: Callable[[UpdateBatch], UpdateBatch] = lambda batch: batch,
    ) -> None:
        self._batches, self._accumulate, self._epoch = batches, accumulate, epoch
        self._process, self._processes = process, processes
        self._done = done
        self._finish = finish

    def __iter__(self) -> Iterator[UpdateBatch]:
        batches = (cuts for cuts in self._batches)  # lhotse's iterators restart at the end
        for _ in itertools.islice(batches, self._done * self._accumulate):
            pass
        while group := list(itertools.islice(batches, self._accumulate)):
            for part in divide_update(group, self._processes)[self._process]:
                yield self._finish(replace(part, epoch=self._epoch))


def divide_update(group: list[CutSet], processes: int) -> list[list[UpdateBatch]]:
    """Return the batches of each process in one update; every process gets the same number."""
    cuts = [list(batch) for batch in group]
    total = sum(map(len, cuts))
    each = -(-len(cuts) // processes)
    while len(cuts) < each * processes and (largest := max(cuts, key=len))[1:]:
        place = cuts.index(largest)
        middle = len(largest) // 2
        cuts[place : place + 1] = [largest[:middle], largest[middle:]]
    parts = [(part, len(part) / total) for part in cuts]
    placeholder = (cuts[0][:1], 0.0)
    parts += [placeholder] * (each * processes - len(parts))
    return [
        [
            UpdateBatch(CutSet.from_cuts(part), fraction, last=place == each - 1)
            for place, (part, fraction) in enumerate(parts[process::processes])
        ]
        for process in range(processes)
    ]
