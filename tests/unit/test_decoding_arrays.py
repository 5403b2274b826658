"""The largest values and the peaks of runs against one row at a time."""

from __future__ import annotations

import numpy as np
import pytest

from keyframe_asr.decoding.arrays import FEW, SHORT, largest, run_peaks


@pytest.mark.parametrize("size", [40, SHORT + 1, 3 * SHORT])
@pytest.mark.parametrize("count", [1, 3, FEW, FEW + 1, 40])
def test_the_largest_come_first_and_the_earliest_of_equal_ones(count: int, size: int) -> None:
    values = np.random.default_rng(0).integers(0, 30, (20, size)).astype(np.float32)
    values[:5, ::3] = -np.inf
    before = values.copy()
    found, index = largest(values, count)
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(found, np.take_along_axis(values, order, axis=1))
    np.testing.assert_array_equal(np.take_along_axis(values, index, axis=1), found)
    if count <= FEW:  # of equal values, a partition may take any
        finite = found > -np.inf
        np.testing.assert_array_equal(index[finite], order[finite])
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("count", [1, 5, FEW])
def test_rows_with_few_finite_values(count: int) -> None:
    values = np.full((4, SHORT + 1), -np.inf, dtype=np.float32)
    values[1, 0], values[2, [0, 7]], values[3] = 2.0, [1.0, 3.0], 0.5
    found, index = largest(values, count)
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(index, order)
    np.testing.assert_array_equal(found, np.take_along_axis(values, order, axis=1))


def test_the_peak_of_a_run_is_its_first_best_column() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        columns, runs = int(rng.integers(0, 9)), int(rng.integers(1, 6))
        scores = rng.integers(0, 4, (3, columns)).astype(np.float32)
        run = rng.integers(0, runs, (3, columns))
        inside = rng.random((3, columns)) < 0.7
        found = run_peaks(scores, run, inside, runs)
        for row in range(3):
            for number in range(runs):
                own = np.flatnonzero(inside[row] & (run[row] == number))
                best = own[scores[row, own].argmax()] if len(own) else columns
                assert found[row, number] == best
