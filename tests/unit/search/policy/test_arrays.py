from __future__ import annotations

import math

import numpy as np

from lstm_sweep.search.policy.arrays import Medians, grown, lowest


def test_an_array_grows_by_nan_or_by_nothing() -> None:
    assert np.array_equal(grown(np.array([1.0]), 2), [1.0, np.nan], equal_nan=True)
    assert grown(np.array([True]), 3).tolist() == [True, False, False]
    assert len(grown(np.zeros(8), 9)) == 16


def test_the_lowest_come_in_order_and_of_equal_ones_the_lower_number_first() -> None:
    losses = np.array([2.0, 1.0, 3.0, 1.0, 0.5, math.inf])
    numbers = np.array([0, 1, 2, 3, 5])
    assert lowest(numbers, losses, 1) == [1]
    assert lowest(numbers, losses, 3) == [1, 3, 0]
    assert lowest(numbers, losses, 9) == [1, 3, 0, 2, 5]
    assert lowest(numbers[:0], losses, 1) == []


def test_the_median_follows_values_that_change() -> None:
    values, known = Medians(), dict[int, float]()
    assert values.median() is None
    rng = np.random.default_rng(0)
    for number, value in zip(rng.integers(9, size=60), rng.integers(20, size=60), strict=True):
        values.put(int(number), float(value))
        known[int(number)] = float(value)
        assert values.median() == np.median(list(known.values()))
