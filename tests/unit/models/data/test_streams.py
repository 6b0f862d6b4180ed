from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.data.streams import (
    FORGOTTEN,
    CarriedSteps,
    EpochStreams,
    scoring_blocks,
    training_epoch,
)
from tests.unit.models.data.corpus_files import (
    FIRST,
    epochs,
    offsets,
    past_of,
    seeds,
    sessions,
    split_of,
)

carried = st.builds(
    TrialConfig,
    state=st.just("carried"),
    sequence_length=st.integers(1, 12),
    batch_size=st.integers(1, 5),
    stride=st.integers(0, 20),
    offset=offsets,
)
long_sessions = st.lists(st.integers(1, 150), min_size=1, max_size=5)


def streams_of(
    sizes: list[int], config: TrialConfig, seed: int, epoch: int = 1
) -> tuple[EpochStreams, CarriedSteps]:
    drawn = training_epoch(split_of(sizes), config, seed, epoch)
    assert isinstance(drawn, EpochStreams)
    return drawn, drawn.select(0, drawn.steps)


def heads_of(sizes: list[int]) -> set[int]:
    """Codes of the first symbols of sessions."""
    return set((split_of(sizes).starts + FIRST).tolist())


@given(long_sessions, carried, seeds, epochs)
def test_each_symbol_is_the_target_of_one_window_which_reads_the_symbols_before(
    sizes: list[int], config: TrialConfig, seed: int, epoch: int
) -> None:
    drawn, steps = streams_of(sizes, config, seed, epoch)
    counted = Counter[int]()
    for batch in drawn.batches():
        counted.update(batch.targets[batch.weights > 0].tolist())
    assert counted == Counter(range(FIRST, FIRST + sum(sizes)))
    assert int(steps.counted.sum()) == sum(sizes)
    heads = heads_of(sizes)
    for codes, count in zip(
        steps.codes.reshape(-1, config.sequence_length + 1), steps.counted.ravel(), strict=True
    ):
        for before, target in itertools.pairwise(codes[: count + 1]):
            assert before == (START if target in heads else target - 1)
        assert (codes[count + 1 :] == START).all()


@given(long_sessions, carried, seeds)
def test_a_state_is_carried_to_the_window_that_follows_in_the_same_session(
    sizes: list[int], config: TrialConfig, seed: int
) -> None:
    _, steps = streams_of(sizes, config, seed)
    heads = heads_of(sizes)
    assert not steps.goes_on[0].any()
    for step, row in zip(*np.nonzero(steps.goes_on), strict=True):
        before, window = steps.codes[step - 1, row], steps.codes[step, row]
        assert steps.counted[step - 1, row] > 0
        assert before[steps.counted[step - 1, row]] == window[0]
        assert window[1] not in heads


@given(sessions, carried, seeds, st.data())
def test_steps_cut_together_are_those_cut_one_by_one(
    sizes: list[int], config: TrialConfig, seed: int, data: st.DataObject
) -> None:
    drawn, whole = streams_of(sizes, config, seed)
    begin = data.draw(st.integers(0, drawn.steps - 1))
    end = data.draw(st.integers(begin + 1, drawn.steps))
    part = drawn.select(begin, end)
    for name, array in vars(part).items():
        np.testing.assert_array_equal(array, getattr(whole, name)[begin:end], err_msg=name)


def test_states_are_dropped_now_and_then() -> None:
    config = TrialConfig(state="carried", sequence_length=5, batch_size=10)
    _, steps = streams_of([50_000], config, 0)
    dropped = 1 - steps.goes_on[1:].mean()
    assert dropped == pytest.approx(FORGOTTEN, abs=0.004)


@pytest.mark.parametrize(("offset", "different"), [("random", True), ("fixed", False)])
def test_windows_of_a_long_session_begin_elsewhere_in_each_epoch(
    offset: str, different: bool
) -> None:
    config = TrialConfig(state="carried", sequence_length=20, batch_size=1, offset=offset)
    first = {int(streams_of([1000], config, 0, epoch)[1].counted[0, 0]) for epoch in range(1, 40)}
    assert (len(first) > 10) is different


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


@pytest.mark.parametrize(("targets", "most"), [(60_000, 1.2), (1_500, 1.5), (60, 0.4)])
def test_little_more_is_read_than_the_split_and_less_for_few_targets(
    targets: int, most: float
) -> None:
    split = split_of([60_000])
    chosen = np.sort(np.random.default_rng(0).choice(60_000, targets, replace=False))
    symbols = sum(block.codes.size for block in scoring_blocks(split, chosen, run_up=100))
    assert symbols < most * len(split)


@given(long_sessions, st.integers(1, 300), st.integers(1, 9))
def test_calls_are_no_larger_than_they_may_be(sizes: list[int], symbols: int, rows: int) -> None:
    split = split_of(sizes)
    blocks = list(scoring_blocks(split, np.arange(len(split)), symbols=symbols, rows=rows))
    assert max(block.codes.size for block in blocks) <= max(1, symbols)
    assert sum(len(block.numbers) for block in blocks) == len(split)
