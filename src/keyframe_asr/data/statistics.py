"""Feature statistics (CMVN): mean and inverse standard deviation for normalisation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from lhotse.cut import Cut

from keyframe_asr.config.strict import parse_json
from keyframe_asr.data.feature_store import Store
from keyframe_asr.data.parallel import each
from keyframe_asr.errors import KeyframeError, ManifestError

STATISTICS_CUTS = 2000
"""CMVN is estimated on at most this many utterances."""

STATISTICS_FILE = "cmvn.json"


Sums = npt.NDArray[np.float64]
"""(F,) of each feature."""


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
    jobs: int = 1,
) -> Statistics:
    """Measure mean and inverse standard deviation of each feature over (some of) the cuts.

    Args:
        cuts: training set.
        store: computes the features.
        level: the level to which the store brings recordings.
        unreadable: called with each cut that cannot be read, which is then skipped.
        progress: called with the number of cuts done and the total.
        say: logs the progress of the store.
        jobs: processes that compute features; the store is sent to each.

    Raises:
        AudioError, ManifestError: a cut cannot be read, and `unreadable` is not given.
    """
    every = max(1, math.ceil(len(cuts) / STATISTICS_CUTS))
    chosen = list(cuts[::every])
    store.prepare(chosen, say)
    total, squares, frames = np.zeros(store.width), np.zeros(store.width), 0
    sums = each(functools.partial(_sums, store), chosen, jobs, chunk=16)
    for done, (cut, found) in enumerate(zip(chosen, sums, strict=True), start=1):
        if isinstance(found, KeyframeError):
            if unreadable is None:
                raise found
            unreadable(cut, found)
            continue
        total += found[0]
        squares += found[1]
        frames += found[2]
        progress(done, len(chosen))
    mean = total / max(1, frames)
    deviation = np.sqrt(np.maximum(squares / max(1, frames) - mean**2, 1e-4))
    return {"mean": mean.tolist(), "inverse_std": (1 / deviation).tolist(), "level": level}


def _sums(store: Store, cut: Cut) -> tuple[Sums, Sums, int] | KeyframeError:
    """Sum of the features of a cut, that of their squares, and number of frames; or the error."""
    try:
        features = store(cut).double().numpy()
    except KeyframeError as error:
        return error
    return features.sum(axis=0), (features**2).sum(axis=0), len(features)


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
