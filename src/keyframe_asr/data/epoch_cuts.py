"""Utterances of an epoch: which, at which speed, in which batch; made into cuts batch by batch.

Batches are chosen by durations alone. So the start of an epoch, and skipping its first batches,
cost little more than drawing random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.utils import compute_num_samples, perturb_num_samples

from keyframe_asr.data.augment import Augmentation, Draws, at_speed
from keyframe_asr.data.dataset import MIN_BUCKETED_CUTS, training_sampler
from keyframe_asr.data.packed_cuts import PackedCuts
from keyframe_asr.data.update_batches import UpdateBatch

BUCKETED_CUTS = 20_000
"""Utterances that lhotse sorts into buckets at a time.

Of more, the order is drawn first: those of a speaker, or of a part of the corpus, often stand
together."""

COUNTED_CUTS = 100_000
"""Utterances whose batches are counted before an epoch, which takes seconds."""


@dataclass(slots=True)
class Drawn:
    """An utterance of an epoch: its place, speed, and duration in seconds at this speed."""

    place: int
    speed: float
    duration: float
    dataloading_info: Any = None
    """Written by lhotse's samplers."""


class EpochCuts:
    """Utterances and noise examples of an epoch, which depend on the draws only.

    Args:
        cuts: training set of the stage.
        augmentation: draws speeds and noise examples.
        draws: random numbers of the epoch.
    """

    def __init__(self, cuts: PackedCuts, augmentation: Augmentation, draws: Draws) -> None:
        self._cuts, self._augmentation, self._draws = cuts, augmentation, draws
        self._noise = PackedCuts.of(augmentation.noise_examples(len(cuts), draws))

    def batch_count(self, batch_seconds: float, seed: int, epoch: int) -> int:
        """Count the batches; of more than `COUNTED_CUTS`, estimate their number from so many."""
        total = len(self._cuts) + len(self._noise)
        counted = sum(1 for _ in self.batches(batch_seconds, seed, epoch, COUNTED_CUTS))
        return round(counted * max(1.0, total / COUNTED_CUTS))

    def batches(
        self, batch_seconds: float, seed: int, epoch: int, most: int | None = None
    ) -> Iterable[CutSet]:
        """Sample batches of all utterances, or of some; they hold `Drawn` instead of cuts."""
        total = len(self._cuts) + len(self._noise)
        order = np.arange(total)
        if total > BUCKETED_CUTS:
            order = np.random.default_rng([abs(seed), epoch]).permutation(total)
        places = order[:most].tolist()
        drawn = _Lazily(len(places), lambda: map(self._draw, places))
        few = len(places) < MIN_BUCKETED_CUTS
        given = CutSet.from_cuts(drawn) if few else CutSet(drawn)
        sampler: Iterable[CutSet] = training_sampler(given, batch_seconds, seed, epoch)
        return sampler

    def cuts(self, batch: UpdateBatch) -> UpdateBatch:
        """Replace what was drawn by the cuts."""
        return replace(batch, cuts=CutSet.from_cuts(map(self._cut, batch.cuts)))

    def _draw(self, place: int) -> Drawn:
        speech = len(self._cuts)
        if place >= speech:
            return Drawn(place, 1.0, float(self._noise.durations[place - speech]))
        duration = float(self._cuts.durations[place])
        speed = self._augmentation.speed(self._cuts.id_at(place), self._draws)
        if speed != 1.0:
            duration = perturbed_duration(duration, float(self._cuts.rates[place]), speed)
        return Drawn(place, speed, duration)

    def _cut(self, drawn: Drawn) -> Cut:
        speech = len(self._cuts)
        if drawn.place >= speech:
            return self._noise[drawn.place - speech]
        return at_speed(self._cuts[drawn.place], drawn.speed)


def perturbed_duration(seconds: float, rate: float, speed: float) -> float:
    """Duration of a cut at another speed, rounded as lhotse's `perturb_speed` does."""
    samples = perturb_num_samples(compute_num_samples(seconds, rate), speed)
    return float(samples / rate)


class _Lazily(Sized):
    """An iterable of known length that is made anew each time."""

    def __init__(self, size: int, make: Callable[[], Iterator[Drawn]]) -> None:
        self._size, self._make = size, make

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Drawn]:
        return self._make()
