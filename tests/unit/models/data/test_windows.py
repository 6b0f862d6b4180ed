from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lstm_sweep.models.config import ClassConfig, TrialConfig
from lstm_sweep.models.data.alphabet import START, UNKNOWN, Alphabet
from lstm_sweep.models.data.corpus import Corpus, Split
from lstm_sweep.models.data.labelled import LabelledSplit
from lstm_sweep.models.data.source import SAMPLES, WORKFLOW, Workflow
from lstm_sweep.models.data.streams import training_epoch
from lstm_sweep.models.data.windows import (
    Batch,
    ClassEpoch,
    Scoring,
    Stages,
    class_shares,
    read_codes,
    scoring_targets,
    scoring_windows,
    shared_windows,
    stages_of,
    steps_with_target,
    with_unknown,
)
from tests.unit.models.data.corpus_files import (
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


@given(sessions, configs("uni", st.integers(0, 60)), seeds, epochs)
def test_targets_of_uni_follow_their_windows_all_with_a_short_stride_none_twice_with_a_long_one(
    sizes: list[int], config: TrialConfig, seed: int, epoch: int
) -> None:
    length, batches = config.sequence_length, batches_of(sizes, config, seed, epoch)
    counts = targets_that_count(batches)
    if config.window_stride <= length:  # also by default, without one
        assert set(counts) == set(range(FIRST, FIRST + sum(sizes)))
    if config.window_stride >= length:
        assert set(counts.values()) == {1}
    past = past_of(sizes, length)
    for batch in batches:
        np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        for row, step in zip(*np.nonzero(batch.weights), strict=True):
            seen = batch.inputs[row, : step + 1].tolist()
            assert seen == past[int(batch.targets[row, step])][length - step - 1 :]


@given(sessions, configs("bi", st.integers(0, 60)), seeds)
def test_windows_of_bi_are_the_pasts_of_targets_that_lie_a_stride_apart(
    sizes: list[int], config: TrialConfig, seed: int
) -> None:
    past, batches = past_of(sizes, config.sequence_length), batches_of(sizes, config, seed, 1)
    for batch in batches:
        assert batch.inputs.tolist() == [past[target] for target in batch.targets.tolist()]
    counts = targets_that_count(batches)
    end, stride = FIRST + sum(sizes), config.window_stride
    assert min(counts) - FIRST < stride
    assert counts == Counter(range(min(counts), end, stride))


@given(sessions, any_config, seeds, st.data())
def test_all_batches_have_one_shape_and_are_the_same_cut_together(
    sizes: list[int], config: TrialConfig, seed: int, data: st.DataObject
) -> None:
    drawn = training_epoch(split_of(sizes), config, seed, 1)
    seen = list(drawn.batches())
    window = (config.batch_size, config.sequence_length)
    target = window if config.direction == "uni" else window[:1]
    assert len(seen) == drawn.steps
    assert {batch.inputs.shape for batch in seen} == {window}
    assert {batch.targets.shape for batch in seen} == {target}
    assert {batch.weights.shape for batch in seen} == {target}
    begin = data.draw(st.integers(0, drawn.steps - 1))
    end = data.draw(st.integers(begin + 1, drawn.steps))
    together = drawn.select(begin, end).batches(every_step=drawn.every_step)
    assert arrays(list(together)) == arrays(seen[begin:end])


def arrays(batches: list[Batch]) -> list[Any]:
    return [[b.inputs.tolist(), b.targets.tolist(), b.weights.tolist()] for b in batches]


@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize("offset", ["random", "fixed"])
def test_each_epoch_and_seed_has_its_own_order(direction: str, offset: str) -> None:
    config = TrialConfig(direction=direction, sequence_length=8, offset=offset)
    drawn = [
        str(arrays(batches_of([500], config, seed, epoch)))
        for seed, epoch in [(1, 1), (1, 2), (2, 1), (2, 2)]
    ]
    assert len(set(drawn)) == 4


@pytest.mark.parametrize(("direction", "length"), [("uni", 5), ("bi", 40)])
@pytest.mark.parametrize(("offset", "expected"), [("fixed", {0}), ("random", {0, 1, 2, 3, 4})])
def test_the_first_window_ends_at_the_first_symbol_or_anywhere_before_the_stride(
    direction: str, length: int, offset: str, expected: set[int]
) -> None:
    config = TrialConfig(direction=direction, sequence_length=length, offset=offset)
    found = set[int]()
    for epoch in range(1, 60):
        last = [
            code
            for batch in batches_of([200], config, 3, epoch)
            for codes, weights in zip(batch.targets, batch.weights, strict=True)
            for code in [int(np.ravel(codes)[-1])]
            if np.ravel(weights)[-1]
        ]
        found.add(min(last) - FIRST)
    assert found == expected


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


@pytest.mark.parametrize("direction", ["uni", "bi"])
def test_a_trial_makes_no_copy_of_its_corpus(tmp_path: Path, direction: str) -> None:
    size = 60_000_000
    small = Split(np.full(5_000, FIRST, np.uint8), np.zeros(1, np.int64))
    train = Split(np.full(size, FIRST, np.uint8), np.zeros(1, np.int64))
    Corpus("long", Alphabet(("a", "b")), train, small, small, "", "").save(tmp_path)
    config = TrialConfig(direction=direction, sequence_length=80)
    tracemalloc.start()
    try:
        corpus = Corpus.open(tmp_path)
        epoch = training_epoch(corpus.train, config, 0, 1)
        assert any((epoch.select(n, n + 10).codes > 1).any() for n in range(0, 200, 10))
        targets = scoring_targets(corpus.validation, 1000, 0)
        blocks = list(scoring_windows(corpus.validation, targets, 80, 256))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    order = 4 * (size // config.window_stride)  # bytes of the order of an epoch's windows
    assert blocks and kept < order + 2_000_000 < size


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
def test_stages_have_all_windows_in_their_order_and_what_these_share_once(
    count: int, length: int, symbols: int, most: int, seed: int
) -> None:
    windows, last = drawn(count, length, symbols, seed), 1 + seed % length
    found = stages_of(windows, most=most, last_steps=last)
    assert read(found) == windows.tolist()
    assert 1 <= len(found.stages) <= most
    assert found.stages[-1].codes.shape[1] >= last
    end = 0
    for stage in found.stages:
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


def surprises(process: Workflow, session: list[int]) -> list[float]:
    """Negative log-probability of each event given its past, from the documented process."""
    decide = {50: process.heartbeat, 60: process.error}
    nats = [math.log(process.kinds)]
    assert 0 <= session[0] < process.kinds
    action, done = None, 0
    for before, event in itertools.pairwise(session):
        if before == 60:
            # an error is followed by a retry
            probability = 1.0 if event == 61 else 0.0
        elif action is not None:
            # a round is under way
            acknowledge = 1 - process.heartbeat - process.error
            choices = decide | {action + 20: acknowledge}
            probability = choices.get(event, 0.0)
            if event == action + 20:
                action, done = None, done + 1
        elif done == process.rounds:
            probability = 1.0 if event == 90 + session[0] else 0.0
            done += 1
        else:
            actions = dict(enumerate(process.action_probabilities, start=10))
            probability = actions.get(event, 0.0)
            action = event
        assert probability > 0, f"{event} cannot follow {before}"
        nats.append(-math.log(probability))
    assert done == process.rounds + 1
    return nats


@pytest.mark.parametrize(
    ("process", "events"),
    [
        (WORKFLOW, 250_000),
        # every number differs from those of the sample
        (Workflow(3, 2, (0.7, 0.2, 0.1), 0.1, 0.3), 60_000),
    ],
)
def test_the_entropy_of_the_workflow_is_the_mean_surprise_of_its_events(
    process: Workflow, events: int
) -> None:
    sessions = [surprises(process, s.tolist()) for s in process.sessions(events, seed=11)]
    sums, lengths = np.array([[sum(nats), len(nats)] for nats in sessions]).T
    assert lengths.sum() >= events
    for ends in (False, True):
        sizes = lengths + ends  # an end follows the last event alone, so it has no surprise
        mean = sums.sum() / sizes.sum()
        # of a ratio of means over independent sessions
        error = (sums - mean * sizes).std() / sizes.mean() / math.sqrt(len(sizes))
        assert error < 0.005 * mean
        assert abs(mean - process.entropy(ends=ends)) < 3 * error


def test_the_about_line_of_the_sample_gives_its_entropy() -> None:
    about = SAMPLES["workflow-log"].about
    assert f"{WORKFLOW.entropy(ends=True):.4f} nats per symbol, ends of jobs included" in about
    assert f"({WORKFLOW.entropy(ends=False):.4f} per event without them)" in about


# Batches of whole sequences for networks that predict classes


def labelled_split(lengths: list[int]) -> LabelledSplit:
    """Sequences whose symbols are all different; the label of each is its number modulo 3."""
    starts = np.cumsum([0, *lengths[:-1]]).astype(np.int64)
    codes = np.arange(2, 2 + sum(lengths), dtype=np.uint32)
    return LabelledSplit(Split(codes, starts), (np.arange(len(lengths)) % 3).astype(np.int32))


@given(st.lists(st.integers(1, 70), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 50))
def test_an_epoch_has_each_sequence_once_with_its_class(
    lengths: list[int], batch: int, most: int
) -> None:
    split, config = labelled_split(lengths), ClassConfig(batch_size=batch, sequence_length=most)
    epoch = ClassEpoch(split, 3, config, np.random.default_rng(1))
    seen = []
    for step in range(epoch.steps):
        steps = epoch.select(step, step + 1)
        [batched] = steps.batches()
        (codes, sizes), counts = batched.inputs, batched.weights > 0
        assert sizes.max() <= codes.shape[1] == steps.times[0] <= max(2, sizes.max() * 1.15 + 1)
        assert codes.shape[1] % 2 == 0
        assert ((codes > 0).sum(axis=1) == sizes).all()
        seen += [*zip(sizes[counts].tolist(), batched.targets[counts].tolist(), strict=True)]
    read = [min(one, most) for one in lengths]
    assert sorted(seen) == sorted(zip(read, split.labels.tolist(), strict=True))


def test_the_order_is_drawn_by_the_generator_alone_and_calls_may_have_any_steps() -> None:
    split, config = labelled_split([*range(1, 60)]), ClassConfig(batch_size=4)
    same, other, third = (ClassEpoch(split, 3, config, np.random.default_rng(n)) for n in (5, 5, 6))
    np.testing.assert_array_equal(same.select(0, 9).codes, other.select(0, 9).codes)
    assert same.select(0, 9).labels.tolist() != third.select(0, 9).labels.tolist()
    whole = same.select(0, 9)
    for number, part in enumerate(whole.batches()):
        [alone] = same.select(number, number + 1).batches()
        np.testing.assert_array_equal(part.inputs[0], alone.inputs[0])


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("head", [[2, 3, 0, 0, 0], [4, 5, 6, 7, 8]]),
        ("tail", [[2, 3, 0, 0, 0], [6, 7, 8, 9, 10]]),
        ("both", [[2, 3, 0, 0, 0], [4, 5, 6, 9, 10]]),
    ],
)
def test_of_a_long_sequence_a_part_is_read(keep: str, expected: list[list[int]]) -> None:
    config = ClassConfig(keep=keep, sequence_length=5)
    assert (
        read_codes(labelled_split([2, 7]).sequences, config, np.arange(2), 5).tolist() == expected
    )


def test_rare_symbols_are_often_read_as_unknown_and_frequent_ones_at_times() -> None:
    codes = np.array([*range(10, 1010), *[2] * 3000], np.uint16)
    read = with_unknown(Split(codes, np.zeros(1, np.int64)), np.random.default_rng(0))
    assert 400 < (read.codes[:1000] == UNKNOWN).sum() < 600
    assert 200 < (read.codes[1000:] == UNKNOWN).sum() < 400
    assert ((read.codes == codes) | (read.codes == UNKNOWN)).all()
    assert read.codes.dtype == codes.dtype


def test_rare_classes_weigh_more() -> None:
    labels = np.array([0] * 8 + [1] * 2, np.int32)
    for name, expected in {"none": 1, "sqrt": 2, "balanced": 4}.items():
        first, second = class_shares(labels, 2, ClassConfig(class_weights=name))
        assert second / first == pytest.approx(expected)
