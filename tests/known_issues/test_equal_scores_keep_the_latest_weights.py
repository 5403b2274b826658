"""Once, a stage whose epochs all scored 100 % averaged its first weights, nearly untrained: of
equal scores the earliest was kept. Before CTC leaves its plateau all scores are equal."""

from __future__ import annotations

from pathlib import Path

import torch

from keyframe_asr.training.checkpoint import RunState, average_weights, rank, save_weights


def test_of_equal_scores_the_latest_are_averaged(tmp_path: Path) -> None:
    state = RunState()
    for epoch in range(6):
        state.epoch = epoch
        if name := rank(state, 1.0, count=2):
            save_weights({"weight": torch.tensor([float(epoch)])}, tmp_path / name)
    kept = average_weights([tmp_path / name for _, name in state.best])
    assert kept["weight"].item() == 4.5
