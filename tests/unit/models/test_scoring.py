from __future__ import annotations

import math

import numpy as np
import pytest

from lstm_sweep.models.scoring import log_softmax, score

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


def test_a_tie_counts_for_the_prediction() -> None:
    tie = np.log(np.full((1, 10), 0.1))
    result = score([(tie, np.array([9]))])
    assert (result["accuracy"], result["top5_accuracy"]) == (1, 1)


def test_huge_logits_of_a_network_give_no_overflow() -> None:
    values = np.array([[1e38, -1e38, 1e38]], np.float32)
    result = log_softmax(values)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result[0, [0, 2]], -math.log(2))
    assert math.isfinite(result[0, 1])
