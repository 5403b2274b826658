"""Once, a stage whose epochs all scored 100 % averaged its first weights, nearly untrained: of
equal scores the earliest was kept. Before CTC leaves its plateau all scores are equal."""

from __future__ import annotations

from pathlib import Path

import torch

from keyframe_asr.training.checkpoint import Progress, average_weights, keep_best


def test_of_equal_scores_the_latest_are_averaged(tmp_path: Path) -> None:
    progress = Progress()
    for epoch in range(6):
        progress.epoch = epoch
        keep_best(progress, 1.0, {"weight": torch.tensor([float(epoch)])}, tmp_path, count=2)
    kept = average_weights([tmp_path / name for _, name in progress.best])
    assert kept["weight"].item() == 4.5
