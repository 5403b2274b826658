"""Feature statistics (CMVN): mean and inverse standard deviation for normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from lhotse.cut import Cut

from keyframe_asr.config.strict import parse_json
from keyframe_asr.data.feature_store import Store
from keyframe_asr.errors import KeyframeError, ManifestError

STATISTICS_CUTS = 2000
"""CMVN is estimated on at most this many utterances."""

STATISTICS_FILE = "cmvn.json"


class Statistics(TypedDict):
    """`mean` and `inverse_std`, each (F,), of features at a level of the recordings.

    `level` is `features.level` of the recipe.
    """

    mean: list[float]
    inverse_std: list[float]
    level: float | None


def measure_statistics(
    cuts: Sequence[Cut],
    store: Store,
    *,
    level: float | None,
    unreadable: Callable[[Cut, KeyframeError], None] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda message: None,
) -> Statistics:
    """Measure mean and inverse standard deviation of each feature over (some of) the cuts.

    Args:
        cuts: training set.
        store: computes the features.
        level: the level to which the store brings recordings.
        unreadable: called with each cut that cannot be read, which is then skipped.
        progress: called with the number of cuts done and the total.
        say: logs the progress of the store.

    Raises:
        AudioError, ManifestError: a cut cannot be read, and `unreadable` is not given.
    """
    every = max(1, math.ceil(len(cuts) / STATISTICS_CUTS))
    chosen = list(cuts)[::every]
    store.prepare(chosen, say)
    total, squares, frames = np.zeros(store.width), np.zeros(store.width), 0
    for done, cut in enumerate(chosen, start=1):
        try:
            features = store(cut).double().numpy()
        except KeyframeError as error:
            if unreadable is None:
                raise
            unreadable(cut, error)
            continue
        total += features.sum(axis=0)
        squares += (features**2).sum(axis=0)
        frames += len(features)
        progress(done, len(chosen))
    mean = total / max(1, frames)
    deviation = np.sqrt(np.maximum(squares / max(1, frames) - mean**2, 1e-4))
    return {"mean": mean.tolist(), "inverse_std": (1 / deviation).tolist(), "level": level}


def load_statistics(folder: Path) -> Statistics:
    """Read `cmvn.json`. Raises `ManifestError` if it is missing or damaged."""
    path = folder / STATISTICS_FILE
    try:
        data = parse_json(path.read_text(encoding="utf-8-sig"))
        mean, inverse = ([float(x) for x in data[name]] for name in ("mean", "inverse_std"))
        level = data.get("level")  # files from before there was a level do not have it
        level = None if level is None else float(level)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ManifestError(
            f"{path}: cannot be read ({error}); copy its folder again, or prepare the corpus again"
        ) from None
    return {"mean": mean, "inverse_std": inverse, "level": level}
