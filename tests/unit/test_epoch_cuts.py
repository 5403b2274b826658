"""Batches chosen by durations alone are those that lhotse makes of the cuts themselves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.config.augment import AugmentConfig
from keyframe_asr.data import epoch_cuts
from keyframe_asr.data.augment import Augmentation, Draws
from keyframe_asr.data.dataset import training_sampler
from keyframe_asr.data.epoch_cuts import EpochCuts
from keyframe_asr.data.manifest import make_cut
from keyframe_asr.data.packed_cuts import PackedCuts
from keyframe_asr.data.update_batches import UpdateBatch

SECONDS = 20.0


@pytest.fixture(scope="module")
def augmentation(tmp_path_factory: pytest.TempPathFactory) -> Augmentation:
    folder = tmp_path_factory.mktemp("noise")
    soundfile.write(folder / "noise.wav", np.full(8000, 0.1), 16_000)
    noise = {"folder": str(folder), "share": 0.1, "seconds": [0.5, 2.0]}
    config = AugmentConfig.model_validate({"speeds": [0.9, 1.0, 1.1], "non_speech": noise})
    return Augmentation(config, seed=4)


def some(count: int) -> list[Cut]:
    sizes = np.random.default_rng(count).integers(3_000, 60_000, size=count)
    rates = [(8_000, 16_000, 44_100)[number % 3] for number in range(count)]
    return [
        make_cut(f"u{n}", "", "a", Path("a.wav"), int(size), rate, (17, int(size)))
        for n, (size, rate) in enumerate(zip(sizes, rates, strict=True))
    ]


def batches_of(cuts: EpochCuts, epoch: int = 2) -> list[list[Cut]]:
    drawn = cuts.batches(SECONDS, 7, epoch)
    return [list(cuts.cuts(UpdateBatch(batch, 1.0, True)).cuts) for batch in drawn]


@pytest.mark.parametrize("count", [1, 40, 400])
def test_batches_are_those_of_the_cuts(count: int, augmentation: Augmentation) -> None:
    draws = Draws(1, 0, 2)
    eager = augmentation.cuts(CutSet.from_cuts(some(count)), draws)
    expected = [list(batch) for batch in training_sampler(eager, SECONDS, 7, 2)]
    found = batches_of(EpochCuts(PackedCuts.of(some(count)), augmentation, draws))
    for cut in (cut for batch in expected for cut in batch):
        del cut.custom["dataloading_info"]  # lhotse's samplers leave it
        cut.custom = cut.custom or None
    assert found == expected


def test_batches_are_counted_or_estimated(
    augmentation: Augmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = EpochCuts(PackedCuts.of(some(2000)), augmentation, Draws(1, 0, 0))
    batches = len(batches_of(cuts))
    assert cuts.batch_count(SECONDS, 7, 2) == batches
    monkeypatch.setattr(epoch_cuts, "COUNTED_CUTS", 1000)
    assert cuts.batch_count(SECONDS, 7, 2) == pytest.approx(batches, rel=0.15)


def test_more_than_are_bucketed_at_a_time_are_mixed(
    augmentation: Augmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_cuts, "BUCKETED_CUTS", 150)
    packed, orders = PackedCuts.of(some(200)), []
    for epoch in (0, 1, 1):
        cuts = EpochCuts(packed, augmentation, Draws(1, 0, epoch))
        orders.append([[cut.id for cut in batch] for batch in batches_of(cuts, epoch)])
    names = [re.sub(r"_sp[\d.]+$", "", name) for batch in orders[0] for name in batch]
    assert {f"u{number}" for number in range(200)} <= {*names}
    assert len(names) == len({*names})
    assert orders[0] != orders[1] == orders[2]
