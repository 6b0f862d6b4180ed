from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.data.streams import scoring_blocks, stretches_of
from tests.unit.models.data.splits import FIRST, past_of, split_of

long_sessions = st.lists(st.integers(1, 120), min_size=1, max_size=8)


def read(
    sizes: list[int], targets: list[int], steps: int, rows: int, run_up: int
) -> dict[int, list[int]]:
    """What was read of its stretch before each target is predicted."""
    found: dict[int, list[int]] = {}
    streams: list[list[int]] = []
    split, numbers = split_of(sizes), np.array(targets, np.int64)
    for block in scoring_blocks(split, numbers, steps=steps, rows=rows, run_up=run_up):
        if block.begins:
            streams = [[] for _ in block.codes]
        done = len(streams[0])
        for stream, codes in zip(streams, block.codes.tolist(), strict=True):
            stream += codes
        for place, number in zip(block.places, block.numbers, strict=True):
            step, row = divmod(int(place), len(streams))
            assert number not in found
            found[int(number)] = streams[row][: done + step + 1]
    return found


@given(long_sessions, st.data(), st.integers(1, 9), st.integers(1, 5), st.integers(0, 30))
def test_each_target_is_predicted_once_after_the_symbols_before_it(
    sizes: list[int], data: st.DataObject, steps: int, rows: int, run_up: int
) -> None:
    total = sum(sizes)
    targets = data.draw(st.lists(st.integers(0, total - 1), unique=True, max_size=total))
    found = read(sizes, targets, steps, rows, run_up)
    assert sorted(found) == list(range(len(targets)))
    pasts = past_of(sizes, total)
    for number, codes in found.items():
        past = [code for code in pasts[targets[number] + FIRST] if code != START]
        whole = [START, *past]
        assert codes == whole[-len(codes) :]
        assert len(codes) >= min(len(whole), run_up + 1)


def test_short_sessions_are_read_from_their_heads() -> None:
    sizes = [5, 80, 3]
    found = read(sizes, list(range(88)), 8, 4, 100)
    assert all(codes[0] == START for codes in found.values())


@pytest.mark.parametrize(("targets", "most"), [(60_000, 1.2), (1_500, 1.5), (60, 0.4)])
def test_little_more_is_read_than_the_split_and_less_for_few_targets(
    targets: int, most: float
) -> None:
    split = split_of([60_000])
    chosen = np.sort(np.random.default_rng(0).choice(60_000, targets, replace=False))
    symbols = sum(block.codes.size for block in scoring_blocks(split, chosen, run_up=100))
    assert symbols < most * len(split)


def test_a_long_session_is_read_in_several_streams_side_by_side() -> None:
    split = split_of([60_000])
    found = stretches_of(split, np.arange(60_000), parts=64, run_up=100)
    assert len(found) == 64
    assert (found.begins == np.maximum(found.used_from - 100, 0)).all()
    assert (found.used_from[1:] == found.ends[:-1]).all()


@given(long_sessions, st.integers(1, 300), st.integers(1, 9))
def test_calls_are_no_larger_than_they_may_be(sizes: list[int], symbols: int, rows: int) -> None:
    split = split_of(sizes)
    blocks = list(scoring_blocks(split, np.arange(len(split)), symbols=symbols, rows=rows))
    assert max(block.codes.size for block in blocks) <= max(1, symbols)
    assert sum(len(block.numbers) for block in blocks) == len(split)


def test_sessions_of_different_lengths_are_read_in_more_calls_than_they_could_be() -> None:
    split = split_of([8] * 200 + [400] * 30)
    blocks = scoring_blocks(split, np.arange(len(split)))
    assert {len(block.codes) for block in blocks} == {58}


def test_many_short_sessions_are_read_in_few_calls() -> None:
    split = split_of([15] * 700)
    blocks = list(scoring_blocks(split, np.arange(len(split))))
    assert [block.codes.shape for block in blocks] == [(234, 16)] * 3
    assert sum(len(block.numbers) for block in blocks) == len(split)
