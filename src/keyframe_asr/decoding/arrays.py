"""Operations on arrays that several searches need."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Integers: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

FEW, SHORT = 16, 200
"""Up to so many largest values are found faster one after another than by partition, and in rows up
to this length by sorting."""


def inside_lengths(lengths: Integers, size: int) -> Bools:
    """Mask (B, size) from lengths (B,): True inside each sequence."""
    inside: Bools = np.arange(size) < lengths[:, None]
    return inside


def largest(values: Floats, count: int) -> tuple[Floats, Integers]:
    """The `count` largest values of each row (N, M) in descending order, and their indices.

    Of equal values the earliest comes first, and is taken, but for many values of long rows.
    """
    long = values.shape[1] > SHORT
    index = _one_after_another(values, count) if long and count <= FEW else None
    if index is not None:
        return np.take_along_axis(values, index, axis=1), index
    if long and count > FEW:
        index = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
        order = np.argsort(-np.take_along_axis(values, index, axis=1), axis=1, kind="stable")
        index = np.take_along_axis(index, order, axis=1)
    else:
        index = np.argsort(-values, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(values, index, axis=1), index


def _one_after_another(values: Floats, count: int) -> Integers | None:
    """Indices of the largest values; None if a row has fewer finite ones."""
    rest, rows = values.copy(), np.arange(len(values))
    index = np.empty((len(values), count), dtype=np.int64)
    for place in range(count):
        index[:, place] = best = rest.argmax(axis=1)
        if np.isneginf(rest[rows, best]).any():  # it may have been taken before
            return None
        rest[rows, best] = -np.inf
    return index


def run_peaks(scores: Floats, run: Integers, inside: Bools, runs: int) -> Integers:
    """The column (B, runs) of the highest score of each run, the earliest in a tie.

    Args:
        scores: (B, U).
        run: (B, U) index of the run of each column.
        inside: (B, U) mask of the columns to consider; a run without any gets U.
        runs: number of runs.
    """
    batch, columns = scores.shape
    row, column = np.nonzero(inside)
    owner, score = row * runs + run[row, column], scores[row, column]
    best = np.full(batch * runs, -np.inf, dtype=scores.dtype)
    np.maximum.at(best, owner, score)
    tied = score == best[owner]
    found = np.full(batch * runs, columns, dtype=np.int64)
    np.minimum.at(found, owner[tied], column[tied])
    return found.reshape(batch, runs)
