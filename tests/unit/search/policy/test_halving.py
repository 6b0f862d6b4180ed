from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.policy.halving import (
    FACTOR,
    RungDecision,
    decide,
    rungs,
)


@pytest.mark.parametrize(
    "epochs, first, expected",
    [
        (27, 1, (1, 3, 9)),
        (28, 1, (1, 3, 9, 27)),
        (9, 1, (1, 3)),
        (2, 1, (1,)),
        (1, 1, ()),  # nothing can be cut short
        (27, 2, (2, 6, 18)),
        (27, 3, (3, 9)),
        (3, 3, ()),
    ],
)
def test_rungs_lie_below_the_last_epoch(epochs: int, first: int, expected: tuple[int, ...]) -> None:
    assert rungs(epochs, first) == expected


@pytest.mark.parametrize(
    "epoch, loss, others, expected",
    [
        # the first to come
        (1, 2.0, [], RungDecision(True, "2 is number 1 of 1 at epoch 1")),
        # of two and three the best
        (1, 2.0, [2.5], RungDecision(True, "2 is number 1 of 2 at epoch 1")),
        (
            1,
            2.5,
            [2.0],
            RungDecision(False, "pruned at epoch 1: 2.5 is not among the best of 2 at this rung"),
        ),
        # of four and five the best two
        (3, 2.2, [2.0, 2.5, 2.4], RungDecision(True, "2.2 is number 2 of 4 at epoch 3")),
        (
            3,
            2.35,
            [2.0, 2.5, 2.4, 2.3],
            RungDecision(
                False, "pruned at epoch 3: 2.35 is not among the best 2 of 5 at this rung"
            ),
        ),
        # of six the best two
        (9, 1.4567, [1.0, 2, 2, 2, 2], RungDecision(True, "1.457 is number 2 of 6 at epoch 9")),
        (
            9,
            1.25,
            [1.0, 1.1, 2, 2, 2],
            RungDecision(
                False, "pruned at epoch 9: 1.25 is not among the best 2 of 6 at this rung"
            ),
        ),
        # of seven the best three: a part of a place is a place
        (9, 1.25, [1.0, 1.1, 2, 2, 2, 2], RungDecision(True, "1.25 is number 3 of 7 at epoch 9")),
        # equals are no better than one another
        (1, 2.0, [2.0, 2.0], RungDecision(True, "2 is number 1 of 3 at epoch 1")),
    ],
)
def test_a_trial_goes_on_if_it_is_among_the_best_third(
    epoch: int, loss: float, others: list[float], expected: RungDecision
) -> None:
    assert decide(str(epoch), loss, others) == expected


rung = st.lists(st.floats(0.01, 10), min_size=1, max_size=30, unique=True)


@given(losses=rung)
def test_the_best_of_a_rung_always_goes_on_and_no_more_than_a_third_rounded_up(
    losses: list[float],
) -> None:
    on = [
        loss
        for i, loss in enumerate(losses)
        if decide("1", loss, losses[:i] + losses[i + 1 :]).go_on
    ]
    assert min(losses) in on
    assert len(on) == math.ceil(len(losses) / FACTOR)
    assert max(on) <= min((loss for loss in losses if loss not in on), default=max(on))
