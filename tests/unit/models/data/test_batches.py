"""Batches of whole sequences for networks that predict classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import ClassConfig
from lstm_sweep.models.data.alphabet import UNKNOWN
from lstm_sweep.models.data.batches import (
    ClassEpoch,
    class_shares,
    padded_time,
    read_codes,
    with_unknown,
)
from lstm_sweep.models.data.corpus import Split
from lstm_sweep.models.data.labelled import LabelledSplit


def split_of(lengths: list[int]) -> LabelledSplit:
    """Sequences whose symbols are all different; the label of each is its number modulo 3."""
    starts = np.cumsum([0, *lengths[:-1]]).astype(np.int64)
    codes = np.arange(2, 2 + sum(lengths), dtype=np.uint32)
    return LabelledSplit(Split(codes, starts), (np.arange(len(lengths)) % 3).astype(np.int32))


@given(st.lists(st.integers(1, 70), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 50))
def test_an_epoch_has_each_sequence_once_with_its_class(
    lengths: list[int], batch: int, most: int
) -> None:
    split, config = split_of(lengths), ClassConfig(batch_size=batch, sequence_length=most)
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
    assert epoch.symbols == sum(read)


def test_the_order_is_drawn_by_the_generator_alone_and_calls_may_have_any_steps() -> None:
    split, config = split_of([*range(1, 60)]), ClassConfig(batch_size=4)
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
    assert read_codes(split_of([2, 7]).sequences, config, np.arange(2), 5).tolist() == expected


def test_rare_symbols_are_often_read_as_unknown_and_frequent_ones_hardly_ever() -> None:
    codes = np.array([*range(10, 1010), *[2] * 3000], np.uint16)
    read = with_unknown(Split(codes, np.zeros(1, np.int64)), np.random.default_rng(0))
    assert 400 < (read.codes[:1000] == UNKNOWN).sum() < 600
    assert (read.codes[1000:] == UNKNOWN).sum() < 10
    assert ((read.codes == codes) | (read.codes == UNKNOWN)).all()
    assert read.codes.dtype == codes.dtype


def test_rare_classes_weigh_more() -> None:
    labels = np.array([0] * 8 + [1] * 2, np.int32)
    for name, expected in {"none": 1, "sqrt": 2, "balanced": 4}.items():
        first, second = class_shares(labels, 2, ClassConfig(class_weights=name))
        assert second / first == pytest.approx(expected)


def test_few_lengths_are_padded_to() -> None:
    assert padded_time(np.array([1, 2, 3, 31, 33, 100, 999])).tolist() == [
        2,
        2,
        4,
        32,
        36,
        104,
        1024,
    ]
    assert len(set(padded_time(np.arange(1, 1001)).tolist())) < 60
