"""Windows that begin alike."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.data.windows import Stages, _ends, stages_of


def drawn(count: int, length: int, symbols: int, seed: int) -> NDArray[np.int32]:
    """Windows of random symbols, some of them after the head of their session."""
    rng = np.random.default_rng(seed)
    windows = rng.integers(1, symbols + 1, (count, length + 1)).astype(np.int32)
    head = rng.integers(0, length, count)
    windows[np.arange(length + 1) < head[:, None]] = START
    return windows[:, :-1]  # as blocks of windows with their targets are


def read(found: Stages) -> list[list[int]]:
    """All windows, put together from their stages."""
    begun: list[list[int]] = []
    for stage in found.stages:
        before = [begun[row] if begun else [] for row in stage.goes_on_from]
        begun = [[*past, *codes] for past, codes in zip(before, stage.codes.tolist(), strict=True)]
    return [begun[row] for row in found.row_of]


@given(
    st.integers(1, 200), st.integers(1, 12), st.integers(1, 40), st.integers(1, 5), st.integers(0)
)
def test_stages_have_all_windows_in_their_order(
    count: int, length: int, symbols: int, most: int, seed: int
) -> None:
    windows, last = drawn(count, length, symbols, seed), 1 + seed % length
    found = stages_of(windows, most=most, last_steps=last)
    assert read(found) == windows.tolist()
    assert 1 <= len(found.stages) <= most
    assert found.stages[-1].codes.shape[1] >= last


@given(st.integers(1, 200), st.integers(1, 12), st.integers(1, 3), st.integers(0))
def test_what_windows_share_is_read_once(count: int, length: int, symbols: int, seed: int) -> None:
    windows = drawn(count, length, symbols, seed)
    end = 0
    for stage in stages_of(windows, most=4).stages:
        end += stage.codes.shape[1]
        assert len(stage.codes) == len(np.unique(windows[:, :end], axis=0))


def steps(windows: NDArray[np.int32], most: int) -> list[tuple[int, int]]:
    """Rows and steps of the stages."""
    return [stage.codes.shape for stage in stages_of(windows, most=most).stages]


def test_the_stages_are_those_that_cost_least() -> None:
    rng = np.random.default_rng(3)
    alike = np.zeros((1_000, 12), np.int32)
    alike[:, 9:] = rng.permuted(np.arange(1_000))[:, None]  # the first nine symbols are the same
    assert steps(alike, most=4) == [(1, 9), (1_000, 3)]
    assert steps(alike, most=1) == [(1_000, 12)]
    alike[:, 5:9] = rng.integers(0, 100, 1_000)[:, None]
    assert steps(alike, most=4) == [(1, 5), (100, 4), (1_000, 3)]
    assert steps(alike, most=2) == [(100, 9), (1_000, 3)]


@pytest.mark.parametrize("most", [1, 4])
def test_windows_that_share_little_are_read_whole(most: int) -> None:
    windows = np.random.default_rng(3).integers(0, 200, (1_000, 20)).astype(np.int32)
    windows[:10] = windows[10:20]
    assert steps(windows, most) == [(990, 20)]


def test_long_windows_are_divided_at_few_places() -> None:
    """Beginnings that grow at each of 2,000 steps: no table of all pairs of steps is made."""
    windows = np.tril(np.ones((2_000, 2_000), np.int32))
    tracemalloc.start()
    try:
        found = stages_of(windows, most=4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(stage.codes.shape[1] for stage in found.stages) == 2_000
    assert sum(stage.codes.size for stage in found.stages) < 0.65 * 2_000**2
    assert peak < 3 * windows.nbytes  # such a table has numbers of twice the size


def test_of_many_places_those_count_where_much_is_gained() -> None:
    rows = np.full(301, 1)
    rows[1:150] = 100 + np.arange(149)
    rows[150:] = 16_000 + np.arange(151)
    assert _ends(rows, 2, 299) == [149, 300]
    assert _ends(rows, 2, 148) == [148, 300]
