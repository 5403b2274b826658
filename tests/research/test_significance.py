"""Differences that are there are found, and those that are not lie within noise."""

from __future__ import annotations

import numpy as np
import pytest

from research.significance import difference, rate_interval

LENGTHS = [10] * 100


def errors(rate: float, seed: int) -> list[int]:
    return np.random.default_rng(seed).binomial(10, rate, size=100).tolist()


def test_a_large_difference_is_no_noise() -> None:
    found = difference([errors(0.3, 1)], [errors(0.1, 2)], LENGTHS)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(0.2, abs=0.05)
    assert not found.is_noise


def test_the_same_system_does_not_differ_at_all() -> None:
    same = [errors(0.3, 1)]
    found = difference(same, same, LENGTHS)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert found.is_noise


def test_utterances_are_drawn_for_both_at_once() -> None:
    hard = np.random.default_rng(3).integers(0, 10, size=100)  # a few are hard for both
    found = difference([(hard + 1).tolist()], [hard.tolist()], LENGTHS)
    assert found.high - found.low < 1e-9
    assert found.value == pytest.approx(0.1)


def test_seeds_widen_the_interval() -> None:
    once = difference([errors(0.2, 1)], [errors(0.25, 2)], LENGTHS)
    apart = difference([errors(0.1, 1), errors(0.3, 3)], [errors(0.25, 2)] * 2, LENGTHS)
    assert apart.high - apart.low > once.high - once.low
    assert apart.is_noise


def test_interval_of_a_rate() -> None:
    value, low, high = rate_interval([errors(0.3, 1)], LENGTHS)
    assert low < value < high
    assert low > 0.2 and high < 0.4
