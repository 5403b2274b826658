"""Once, two trainings with the same `--out` overwrote each other's checkpoints."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from fixtures.errors import refused
from fixtures.killed_run import train_until_killed
from fixtures.processes import forking
from fixtures.tone_corpus import small_corpus, stage, tone_recipe
from keyframe_asr.errors import TrainingError
from keyframe_asr.training.run import LOCK_FILE, train


def test_the_second_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    recipe = tone_recipe(small_corpus(tmp_path), [stage("only", 1)])
    folder = tmp_path / "run"
    started = forking().Event()
    long = tone_recipe(tmp_path / "corpus.tsv", [stage("only", 10_000)])
    first: Any = forking().Process(target=train_until_killed, args=(long, folder, started))
    first.start()
    try:
        assert started.wait(60)
        while not (folder / "tokenizer.txt").exists():  # written under the lock
            first.join(0.05)
            assert first.is_alive()
        assert (folder / LOCK_FILE).exists()
        with refused(TrainingError, folder, "--out"):
            train(recipe, folder, resume=True, quiet=True)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.join(60)
    train(long.model_copy(update={"stages": recipe.stages}), folder, resume=True, quiet=True)
    assert (folder / "only" / "model" / "config.yaml").is_file()
