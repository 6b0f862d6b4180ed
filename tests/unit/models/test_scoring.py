from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstm_sweep.models.scoring import Floats, bits, log_softmax, score


@pytest.mark.parametrize("alphabet", [2, 5, 6, 100])
def test_guessing_uniformly_costs_the_logarithm_of_the_alphabet(alphabet: int) -> None:
    guess = np.full((3, alphabet), -math.log(alphabet))
    assert score([(guess, np.array([0, 1, 0]))])["loss"] == pytest.approx(math.log(alphabet))


#: the probability of symbols 0 to 6 in three predictions
HAND_MADE = np.log(
    [
        [0.40, 0.20, 0.15, 0.10, 0.08, 0.04, 0.03],
        [0.03, 0.04, 0.08, 0.10, 0.15, 0.20, 0.40],
        [0.10, 0.40, 0.20, 0.15, 0.08, 0.04, 0.03],
        [0.40, 0.20, 0.15, 0.10, 0.08, 0.04, 0.03],
    ]
)
#: ranks 1, 5, 6 and 7
SYMBOLS = np.array([0, 2, 5, 6])


def test_a_hand_made_example_scores_as_computed_by_hand() -> None:
    result = score([(HAND_MADE, SYMBOLS)])
    assert result["loss"] == pytest.approx(-math.log(0.40 * 0.08 * 0.04 * 0.03) / 4)
    assert result["accuracy"] == 1 / 4
    assert result["top5_accuracy"] == 2 / 4


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_score_does_not_depend_on_the_blocks(cut: int) -> None:
    blocks = [(HAND_MADE[:cut], SYMBOLS[:cut]), (HAND_MADE[cut:], SYMBOLS[cut:])]
    assert score(blocks) == pytest.approx(score([(HAND_MADE, SYMBOLS)]))


def test_small_unsigned_symbols_are_scored_like_any_other() -> None:
    small = score([(HAND_MADE, SYMBOLS.astype(np.uint8))])
    assert small == score([(HAND_MADE, SYMBOLS)])


def test_a_tie_counts_for_the_prediction() -> None:
    tie = np.log(np.full((1, 10), 0.1))
    result = score([(tie, np.array([9]))])
    assert (result["accuracy"], result["top5_accuracy"]) == (1, 1)


logits = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(2, 6)),
    elements=st.floats(-1e300, 1e300),
)


@given(logits)
def test_the_probabilities_of_a_softmax_sum_to_one(values: Floats) -> None:
    np.testing.assert_allclose(np.exp(log_softmax(values)).sum(axis=-1), 1, rtol=1e-12)


@given(logits)
def test_a_softmax_keeps_the_order_of_its_logits(values: Floats) -> None:
    result = log_softmax(values)
    for row, before in zip(result, values, strict=True):
        assert row[before.argmax()] == row.max()
        assert row[before.argmin()] == row.min()


def test_a_softmax_of_small_logits_is_that_of_the_textbook() -> None:
    values = np.array([[0.0, 1.0, -2.0], [3.0, 3.0, 3.0]])
    expected = [[e / sum(row) for e in row] for row in ([1, math.e, math.exp(-2)], [1, 1, 1])]
    np.testing.assert_allclose(np.exp(log_softmax(values)), expected, rtol=1e-12)


def test_huge_logits_of_a_network_give_no_overflow() -> None:
    values = np.array([[1e38, -1e38, 1e38]], np.float32)
    result = log_softmax(values)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result[0, [0, 2]], -math.log(2))
    assert math.isfinite(result[0, 1])


def test_a_softmax_leaves_its_logits_alone() -> None:
    values = np.array([[1.0, 2.0]])
    log_softmax(values)
    assert values.tolist() == [[1.0, 2.0]]


def test_a_fair_coin_has_one_bit() -> None:
    assert bits(math.log(2)) == 1
    assert bits(math.log(8)) == pytest.approx(3)
