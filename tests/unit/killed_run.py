"""A training that is killed at a chosen moment; runs in a process of its own.

The moments are writes of a file that has to be there whole: the n-th one is killed with half of
the file written, or right before or after it takes the place of the old one.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Literal

import torch._dynamo  # noqa: F401  (optimisers import it at their first step, which takes seconds)

from keyframe_asr.config.recipe import Recipe
from keyframe_asr.training.run import train_recipe

Moment = Literal["half", "before", "after"]


def train_and_die(recipe: Recipe, folder: Path, write: int, moment: Moment) -> None:
    """Resume the run and kill this process at its n-th write, n = `write` from 1."""
    rename = os.replace
    writes = 0

    def replace(source: Any, target: Any) -> None:
        nonlocal writes
        writes += 1
        if writes < write:
            rename(source, target)
            return
        if moment == "after":
            rename(source, target)
        elif moment == "half":
            os.truncate(source, os.path.getsize(source) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace
    train_recipe(recipe, folder, resume=True, quiet=True)


def train_until_killed(recipe: Recipe, folder: Path, started: Any) -> None:
    """Resume the run; tell `started` when it begins, so that it can be killed from outside."""
    started.set()
    train_recipe(recipe, folder, resume=True, quiet=True)
    time.sleep(60)
