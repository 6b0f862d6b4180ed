"""The windows on which networks are scored."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.data.windows import scoring_targets, scoring_windows
from tests.unit.models.data.splits import past_of, seeds, sessions, split_of


@given(sessions, st.integers(1, 300), seeds)
def test_scoring_targets_are_distinct_rising_and_at_most_as_many_as_asked(
    sizes: list[int], count: int, seed: int
) -> None:
    targets = scoring_targets(split_of(sizes), count, seed)
    assert len(targets) == min(count, sum(sizes))
    assert (np.diff(targets) > 0).all()
    assert targets.min() >= 0
    assert targets.max() < sum(sizes)


def test_the_same_seed_chooses_the_same_scoring_targets() -> None:
    first, second = (scoring_targets(split_of([500]), 50, seed=4).tolist() for _ in range(2))
    assert first == second


def test_another_seed_chooses_other_scoring_targets() -> None:
    first, second = (scoring_targets(split_of([500]), 50, seed).tolist() for seed in (4, 5))
    assert first != second


@given(sessions, st.integers(1, 50), st.integers(1, 9), seeds)
def test_a_scoring_window_is_the_past_of_its_target_padded_at_the_head(
    sizes: list[int], length: int, rows: int, seed: int
) -> None:
    split = split_of(sizes)
    targets = scoring_targets(split, 25, seed)
    blocks = list(scoring_windows(split, targets, length, rows))
    past = past_of(sizes, length)
    true = np.concatenate([symbols for _, symbols in blocks]).tolist()
    windows = np.concatenate([windows for windows, _ in blocks]).tolist()
    assert windows == [past[symbol] for symbol in true]


@given(sessions, st.integers(1, 50), st.integers(1, 9), seeds)
def test_scoring_windows_have_the_same_targets_for_every_length(
    sizes: list[int], length: int, rows: int, seed: int
) -> None:
    split = split_of(sizes)
    targets = scoring_targets(split, 25, seed)
    blocks = scoring_windows(split, targets, length, rows)
    true = np.concatenate([symbols for _, symbols in blocks])
    np.testing.assert_array_equal(true, split.codes[targets])


def test_only_the_last_block_of_scoring_windows_is_short() -> None:
    split = split_of([30])
    blocks = scoring_windows(split, np.arange(10), length=3, rows=4)
    shapes = [(windows.shape, symbols.shape) for windows, symbols in blocks]
    assert shapes == [((4, 3), (4,)), ((4, 3), (4,)), ((2, 3), (2,))]
