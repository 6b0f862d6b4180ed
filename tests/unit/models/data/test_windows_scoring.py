"""The windows on which networks are scored."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.data.alphabet import UNKNOWN
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.windows import (
    Scoring,
    scoring_targets,
    scoring_windows,
    shared_windows,
    steps_with_target,
)
from tests.unit.models.data.splits import past_of, seeds, sessions, split_of


@given(sessions, st.integers(0, 300), seeds, st.integers(1, 40))
def test_scoring_targets_are_distinct_rising_and_at_most_as_many_as_asked(
    sizes: list[int], count: int, seed: int, adjacent: int
) -> None:
    targets = scoring_targets(split_of(sizes), count, seed, adjacent)
    assert len(targets) == min(count, sum(sizes))
    assert (np.diff(targets) > 0).all()
    assert ((targets >= 0) & (targets < sum(sizes))).all()
    # few groups, each of which may be cut in two by the last one, which has what is left
    assert (np.diff(targets) > 1).sum() < max(1, -(-count // adjacent))


@given(sessions, st.integers(0, 300), seeds, st.integers(1, 40), st.data())
def test_the_same_known_symbols_are_drawn_wherever_unknown_ones_stand_between_them(
    sizes: list[int], count: int, seed: int, adjacent: int, data: st.DataObject
) -> None:
    known = split_of(sizes)
    at = data.draw(st.lists(st.integers(0, len(known)), max_size=20))
    mixed = Split(np.insert(np.full(len(known), 2, np.uint8), at, UNKNOWN), np.zeros(1, np.int64))
    positions = np.flatnonzero(mixed.codes != UNKNOWN)
    drawn = scoring_targets(known, count, seed, adjacent)
    assert scoring_targets(mixed, count, seed, adjacent).tolist() == positions[drawn].tolist()


def test_targets_side_by_side_may_be_any_part_of_a_split() -> None:
    split, found = split_of([107]), np.zeros(107, int)
    for seed in range(300):
        found[Scoring(40, seed, adjacent=10).drawn(split)] += 1
    assert found.min() > 0, "its ends are drawn less often than the rest"
    assert found[10:-10].min() > 80 and found.max() < 160
    some = Scoring(40, 3, adjacent=10)
    assert len(some.drawn(split, at_least=60)) == 60
    assert some.drawn(split).tolist() == some.drawn(split).tolist()
    assert some.drawn(split).tolist() != Scoring(40, 4, adjacent=10).drawn(split).tolist()


@given(
    sessions, st.integers(1, 60), st.integers(1, 20), st.integers(1, 9), st.integers(1, 12), seeds
)
def test_targets_share_the_fewest_windows_that_lead_to_them(
    sizes: list[int], count: int, adjacent: int, most: int, length: int, seed: int
) -> None:
    split = split_of(sizes)
    targets = scoring_targets(split, count, seed, adjacent)
    ends, window_of, steps_before = shared_windows(split, targets, most, length)
    assert (ends[window_of] - steps_before == targets).all()
    assert (steps_before >= 0).all() and (steps_before < most).all()
    session_of = np.searchsorted(split.starts, np.arange(len(split)), side="right")
    assert (session_of[ends[window_of]] == session_of[targets]).all()
    assert window_of.tolist() == sorted(window_of) and set(window_of) == set(range(len(ends)))
    assert np.isin(ends, targets).all()
    # a window that shows where a session begins has one target
    shows_head = targets - split.starts[session_of[targets] - 1] <= length
    if most > 1:
        assert (np.bincount(window_of)[window_of[shows_head]] == 1).all()
    # each other stretch of targets within a session has as many windows as it needs
    breaks = (np.diff(targets) > 1) | (np.diff(session_of[targets]) > 0)
    breaks |= shows_head[:-1] | shows_head[1:]
    stretches = np.split(targets, 1 + np.flatnonzero(breaks))
    assert len(ends) == sum(-(-len(one) // most) for one in stretches)
    sizes_of = np.bincount(window_of)
    for one in stretches:
        own = sizes_of[np.unique(window_of[np.isin(targets, one)])]
        assert own.max() - own.min() <= 1


@given(st.integers(1, 1_000))
def test_a_network_has_seen_nine_tenths_of_its_window(length: int) -> None:
    steps = steps_with_target(length)
    assert 1 <= steps <= length
    assert 10 * (length - steps + 1) >= 9 * length > 10 * (length - steps)
    assert steps_with_target(length, text=False) == (1 if length < 15 else steps)


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
