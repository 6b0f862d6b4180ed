from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import START
from lstm_sweep.models.data.streams import FORGOTTEN, CarriedSteps, EpochStreams, training_windows
from lstm_sweep.models.data.windows import TrainingWindows
from tests.unit.models.data.splits import FIRST, epochs, offsets, seeds, sessions, split_of

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
    drawn = training_windows(split_of(sizes), config, seed).epoch(epoch)
    assert isinstance(drawn, EpochStreams)
    return drawn, drawn.select(0, drawn.steps)


def heads_of(sizes: list[int]) -> set[int]:
    """Codes of the first symbols of sessions."""
    return set((split_of(sizes).starts + FIRST).tolist())


@given(long_sessions, carried, seeds, epochs)
def test_each_symbol_is_the_target_of_one_window(
    sizes: list[int], config: TrialConfig, seed: int, epoch: int
) -> None:
    drawn, steps = streams_of(sizes, config, seed, epoch)
    counted = Counter[int]()
    for batch in drawn.batches():
        counted.update(batch.targets[batch.weights > 0].tolist())
    assert counted == Counter(range(FIRST, FIRST + sum(sizes)))
    assert int(steps.counted.sum()) == sum(sizes)


@given(long_sessions, carried, seeds)
def test_a_window_reads_the_symbols_before_its_targets(
    sizes: list[int], config: TrialConfig, seed: int
) -> None:
    _, steps = streams_of(sizes, config, seed)
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


def test_short_sessions_are_one_window_each() -> None:
    config = TrialConfig(state="carried", sequence_length=20, batch_size=4)
    drawn, steps = streams_of([7, 20, 3, 11, 1, 19, 2, 5], config, 0)
    assert drawn.steps == 2
    assert sorted(steps.counted.ravel().tolist()) == [1, 2, 3, 5, 7, 11, 19, 20]


def test_all_rows_have_about_as_many_windows() -> None:
    config = TrialConfig(state="carried", sequence_length=10, batch_size=64)
    drawn, steps = streams_of([10] * 65, config, 0)
    assert drawn.steps == 2
    assert (steps.counted[0] == 10).all()


def test_only_configs_whose_state_is_carried_have_streams() -> None:
    for config in (TrialConfig(), TrialConfig(state="carried", direction="bi")):
        assert type(training_windows(split_of([9]), config, 0)) is TrainingWindows
