from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.alphabet import START, Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.windows import Batch, TrainingWindows, past
from tests.unit.models.data.splits import (
    FIRST,
    any_config,
    batches_of,
    configs,
    epochs,
    past_of,
    seeds,
    sessions,
    split_of,
    targets_that_count,
)


@given(sessions, configs("uni", st.just(0)), seeds, epochs)
@settings(max_examples=300)
def test_each_symbol_is_a_target_once_in_an_epoch_of_uni(
    sizes: list[int], config: TrialConfig, seed: int, epoch: int
) -> None:
    counts = targets_that_count(batches_of(sizes, config, seed, epoch))
    assert counts == Counter(range(FIRST, FIRST + sum(sizes)))


@given(sessions, configs("uni", st.integers(1, 60)), seeds)
def test_a_stride_below_the_length_misses_no_symbol_and_one_above_repeats_none(
    sizes: list[int], config: TrialConfig, seed: int
) -> None:
    counts = targets_that_count(batches_of(sizes, config, seed, 1))
    if config.stride <= config.sequence_length:
        assert set(counts) == set(range(FIRST, FIRST + sum(sizes)))
    if config.stride >= config.sequence_length:
        assert set(counts.values()) == {1}


@given(sessions, configs("uni", st.integers(0, 60)), seeds)
def test_a_target_of_uni_follows_the_symbols_of_its_window(
    sizes: list[int], config: TrialConfig, seed: int
) -> None:
    length = config.sequence_length
    past = past_of(sizes, length)
    for batch in batches_of(sizes, config, seed, 1):
        np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        for row, step in zip(*np.nonzero(batch.weights), strict=True):
            seen = batch.inputs[row, : step + 1].tolist()
            assert seen == past[int(batch.targets[row, step])][length - step - 1 :]


@given(sessions, configs("bi", st.integers(0, 60)), seeds)
def test_a_window_of_bi_is_the_past_of_its_target(
    sizes: list[int], config: TrialConfig, seed: int
) -> None:
    past = past_of(sizes, config.sequence_length)
    for batch in batches_of(sizes, config, seed, 1):
        for window, target in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            assert window == past[target]
            assert target not in window


@given(sessions, configs("bi", st.integers(0, 60)), seeds)
def test_the_targets_of_bi_lie_a_stride_apart(
    sizes: list[int], config: TrialConfig, seed: int
) -> None:
    counts = targets_that_count(batches_of(sizes, config, seed, 1))
    end, stride = FIRST + sum(sizes), config.window_stride
    assert min(counts) - FIRST < stride
    assert counts == Counter(range(min(counts), end, stride))


@given(sessions, any_config, seeds)
def test_a_window_never_crosses_sessions(sizes: list[int], config: TrialConfig, seed: int) -> None:
    session_of = np.repeat(np.arange(len(sizes)), sizes)
    for batch in batches_of(sizes, config, seed, 1):
        targets = batch.targets.reshape(len(batch.inputs), -1)
        for row in np.concatenate([batch.inputs, targets], axis=1):
            assert len(set(session_of[row[row != START] - FIRST])) == 1


@given(sessions, any_config, seeds)
def test_padding_never_counts_as_a_target(sizes: list[int], config: TrialConfig, seed: int) -> None:
    assert START not in targets_that_count(batches_of(sizes, config, seed, 1))


@given(sessions, any_config, seeds)
def test_all_batches_have_one_shape(sizes: list[int], config: TrialConfig, seed: int) -> None:
    drawn = TrainingWindows(split_of(sizes), config, seed).epoch(1)
    seen = list(drawn.batches())
    window = (config.batch_size, config.sequence_length)
    target = window if config.direction == "uni" else window[:1]
    assert len(seen) == drawn.steps
    assert {batch.inputs.shape for batch in seen} == {window}
    assert {batch.targets.shape for batch in seen} == {target}
    assert {batch.weights.shape for batch in seen} == {target}


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_arrays_have_the_types_that_a_network_expects(direction: str) -> None:
    batch = batches_of([9], TrialConfig(direction=direction, sequence_length=3), 0, 1)[0]
    types = [str(array.dtype) for array in (batch.inputs, batch.targets, batch.weights)]
    assert types == ["int32", "int32", "float32"]


@pytest.mark.parametrize(
    ("direction", "windows"),
    [
        # 10 symbols, one window each
        ("bi", 10),
        # the first symbol, then three windows of 3
        ("uni", 4),
    ],
)
def test_the_last_batch_is_filled_up_with_weight_0(direction: str, windows: int) -> None:
    config = TrialConfig(
        direction=direction, sequence_length=3, stride=0, batch_size=7, offset="fixed"
    )
    last = batches_of([10], config, 0, 1)[-1]
    real = windows % 7
    rows = last.weights.reshape(7, -1).sum(axis=1)
    assert (rows[:real] > 0).all()
    assert (rows[real:] == 0).all()


def arrays(batches: list[Batch]) -> list[Any]:
    return [[b.inputs.tolist(), b.targets.tolist(), b.weights.tolist()] for b in batches]


@given(sessions, any_config, seeds, epochs)
def test_the_windows_of_an_epoch_depend_on_seed_and_number_alone(
    sizes: list[int], config: TrialConfig, seed: int, epoch: int
) -> None:
    fresh = batches_of(sizes, config, seed, epoch)
    used = TrainingWindows(split_of(sizes), config, seed)
    for earlier in (epoch + 1, 1):
        list(used.epoch(earlier).batches())
    assert arrays(list(used.epoch(epoch).batches())) == arrays(fresh)


@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize("offset", ["random", "fixed"])
def test_each_epoch_and_seed_has_its_own_order(direction: str, offset: str) -> None:
    config = TrialConfig(direction=direction, sequence_length=8, offset=offset)
    drawn = [
        str(arrays(batches_of([500], config, seed, epoch)))
        for seed, epoch in [(1, 1), (1, 2), (2, 1), (2, 2)]
    ]
    assert len(set(drawn)) == 4


def offsets_of(config: TrialConfig) -> set[int]:
    """Collect over many epochs how far from its start the first window of a session ends."""
    return {
        # the rightmost target of the window that counts the session's first symbol
        int(batch.targets.reshape(-1, width)[row, -1]) - FIRST
        for epoch in range(1, 60)
        for batch in batches_of([200], config, 3, epoch)
        for width in [batch.targets.size // config.batch_size]
        for row in np.nonzero((batch.targets.reshape(-1, width) == FIRST).any(axis=1))[0]
    }


def test_a_fixed_offset_of_uni_ends_the_first_window_at_the_first_symbol() -> None:
    assert offsets_of(TrialConfig(sequence_length=5, offset="fixed")) == {0}


def test_a_random_offset_of_uni_takes_each_value_below_the_stride() -> None:
    assert offsets_of(TrialConfig(sequence_length=5)) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "offset, expected",
    [
        # 10 symbols before a target: none of the session before its first, five before its last
        ("random", {5, 6, 7, 8, 9, 10}),
        ("fixed", {5}),  # the whole session is one window
    ],
)
def test_how_many_starts_stand_before_a_short_session(offset: str, expected: set[int]) -> None:
    config = TrialConfig(sequence_length=10, offset=offset)
    windows = [
        window
        for epoch in range(1, 60)
        for batch in batches_of([6, 6], config, 3, epoch)
        for window, weights in zip(batch.targets, batch.weights, strict=True)
        if weights.any() and FIRST in window
    ]
    assert {int((window == START).sum()) + 1 for window in windows} == expected


def test_each_session_has_an_offset_of_its_own() -> None:
    """In one epoch, first windows of equal sessions end at different places."""
    config = TrialConfig(sequence_length=10, batch_size=64)
    ends = {
        int((window != START).sum())
        for batch in batches_of([40] * 30, config, 3, 1)
        for window, weights in zip(batch.targets, batch.weights, strict=True)
        if weights.any() and (window == START).any()
    }
    assert len(ends) > 5


def first_targets_of_bi(offset: str) -> set[int]:
    config = TrialConfig(direction="bi", sequence_length=40, offset=offset)
    return {
        min(targets_that_count(batches_of([200], config, 3, epoch))) - FIRST
        for epoch in range(1, 60)
    }


def test_a_fixed_offset_of_bi_starts_at_the_first_symbol() -> None:
    assert first_targets_of_bi("fixed") == {0}


def test_a_random_offset_of_bi_takes_each_value_below_the_stride() -> None:
    assert first_targets_of_bi("random") == {0, 1, 2, 3, 4}


@given(sessions, any_config, seeds, st.data())
def test_steps_cut_together_are_those_cut_one_by_one(
    sizes: list[int], config: TrialConfig, seed: int, data: st.DataObject
) -> None:
    drawn = TrainingWindows(split_of(sizes), config, seed).epoch(1)
    begin = data.draw(st.integers(0, drawn.steps - 1))
    end = data.draw(st.integers(begin + 1, drawn.steps))
    together = drawn.select(begin, end).batches(every_step=config.direction == "uni")
    assert arrays(list(together)) == arrays(list(drawn.batches())[begin:end])


@given(sessions, st.integers(1, 50))
def test_the_past_of_a_symbol_is_that_of_its_session(sizes: list[int], longest: int) -> None:
    split = split_of(sizes)
    found = past(split, np.arange(len(split)), np.arange(longest, -1, -1))
    expected = past_of(sizes, longest)
    assert found.tolist() == [[*expected[code], code] for code in split.codes.tolist()]


#: an epoch of a mapped corpus: by how many bytes the memory grows that no other process shares
SHARING = """
import sys, tracemalloc
from pathlib import Path
import numpy as np
from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.data.windows import TrainingWindows, scoring_targets, scoring_windows

STATUS = Path("/proc/self/status")
if not STATUS.exists():
    tracemalloc.start()

def own():
    if not STATUS.exists():
        return tracemalloc.get_traced_memory()[0]
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

direction = sys.argv[2]
before = own()
corpus = Corpus.open(Path(sys.argv[1]))
config = TrialConfig(direction=direction, sequence_length=80)
epoch = TrainingWindows(corpus.train, config, 0).epoch(1)
seen = sum(int((epoch.select(step, step + 10).codes > 1).sum()) for step in range(0, 200, 10))
targets = scoring_targets(corpus.validation, 1000, 0)
blocks = list(scoring_windows(corpus.validation, targets, 80, 256))
assert seen and blocks
print(own() - before)
"""


@pytest.mark.parametrize(("direction", "size"), [("uni", 100_000_000), ("bi", 100_000_000)])
def test_a_trial_makes_no_copy_of_its_corpus(tmp_path: Path, direction: str, size: int) -> None:
    small = Split(np.full(5_000, FIRST, np.uint8), np.zeros(1, np.int64))
    train = Split(np.full(size, FIRST, np.uint8), np.zeros(1, np.int64))
    Corpus("long", Alphabet(("a", "b")), train, small, small, "", "").save(tmp_path)
    command = [sys.executable, "-c", SHARING, str(tmp_path), direction]
    root = Path(__file__).parents[4]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    windows = size // TrialConfig(direction=direction, sequence_length=80).window_stride
    order = 4 * windows  # bytes of the order of an epoch's windows
    assert int(done.stdout) < order + 30_000_000 < size
