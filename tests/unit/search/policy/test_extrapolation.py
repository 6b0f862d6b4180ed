from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.policy import halving
from lstm_sweep.search.policy.extrapolation import Extrapolation

#: some alike, some infinite, some 0 and below
LOSSES = st.sampled_from([math.inf, 3.0, 2.5, 2.5, 1.1, 0.3, 0.0, -1.0]) | st.floats(0.1, 5.0)
CURVES = st.lists(LOSSES, max_size=10).map(lambda losses: list(itertools.accumulate(losses, min)))


def found(extrapolation: Extrapolation) -> dict[int, float]:
    losses = extrapolation.losses()
    return {number: loss for number, loss in enumerate(losses.tolist()) if not math.isnan(loss)}


def losses_of(curves: Mapping[int, Sequence[float]], rounds: int) -> dict[int, float]:
    extrapolation = Extrapolation(rounds)
    for number, curve in curves.items():
        extrapolation.put(number, curve)
    return found(extrapolation)


def extrapolated_losses(
    curves: Mapping[int, Sequence[float]], rounds: int, first: int = 1
) -> dict[int, float]:
    """The same computed anew from all curves.

    `curves` holds the best loss so far after each round, by the number of the trial. One
    without a finite loss is left out.
    """
    marks = [*halving.rungs(rounds, first), rounds]
    ratio = 1.0
    to_end: dict[int, float] = {rounds: 1.0}
    for mark, following in zip(reversed(marks[:-1]), reversed(marks), strict=False):
        long_enough = (c for c in curves.values() if len(c) >= following)
        went_on = [c for c in long_enough if 0 < c[mark - 1] < math.inf]
        steps = [c[following - 1] / c[mark - 1] for c in went_on]
        ratio *= statistics.median(steps) if steps else 1.0
        to_end[mark] = ratio
    losses = {}
    for number, curve in curves.items():
        if curve and math.isfinite(curve[-1]):
            reached = max((mark for mark in marks if mark <= len(curve)), default=marks[0])
            loss = curve[min(reached, len(curve)) - 1]
            end = min(loss * to_end[reached], curve[-1])
            losses[number] = end if loss < math.inf else curve[-1]
    return losses


@given(
    st.lists(st.tuples(st.integers(0, 90), CURVES), max_size=30),
    st.integers(1, 10),
    st.integers(1, 3),
)
def test_losses_are_those_of_all_curves_however_they_have_come_about(
    puts: list[tuple[int, list[float]]], rounds: int, first: int
) -> None:
    extrapolation = Extrapolation(rounds, first)
    curves: dict[int, list[float]] = {}
    for number, curve in puts:
        extrapolation.put(number, curve)
        curves[number] = curve
        assert found(extrapolation) == extrapolated_losses(curves, rounds, first)


def test_a_trial_that_has_failed_teaches_nothing_any_more() -> None:
    extrapolation = Extrapolation(3)
    extrapolation.put(0, [4.0, 4.0, 1.0])
    extrapolation.put(1, [2.0])
    assert found(extrapolation) == {0: 1.0, 1: 0.5}
    extrapolation.put(0, [])
    assert found(extrapolation) == {1: 2.0}


@pytest.mark.parametrize(
    "curves, expected",
    [
        ({}, {}),
        # nobody went on: what is there is all there is
        ({0: [2.0], 1: [3.0]}, {0: 2.0, 1: 3.0}),
        # one halved its loss from epoch 1 to 3 and again to the end
        ({0: [4.0, 3, 2, 2, 2, 2, 2, 2, 1], 1: [6.0]}, {0: 1.0, 1: 1.5}),
        # the median of those that went on
        (
            {
                0: [4.0, 4, 2],
                1: [4.0, 4, 3],
                2: [4.0, 4, 4],
                3: [8.0],
            },
            {0: 2.0, 1: 3.0, 2: 4.0, 3: 6.0},
        ),
        # between two rungs: what is lower, its own loss or what the rung promised
        ({0: [4.0, 2, 2, 2, 2, 2, 2, 2, 2], 1: [4.0, 1.0]}, {0: 2.0, 1: 1.0}),
        ({0: [4.0, 2, 2, 2, 2, 2, 2, 2, 2], 1: [4.0, 3.0]}, {0: 2.0, 1: 2.0}),
    ],
)
def test_a_trial_that_was_cut_short_is_worth_what_others_would_have_made_of_it(
    curves: dict[int, list[float]], expected: dict[int, float]
) -> None:
    assert losses_of(curves, 9) == pytest.approx(expected)


def test_a_trial_that_came_to_its_own_end_is_worth_what_it_has() -> None:
    extrapolation = Extrapolation(9)
    extrapolation.put(0, [4.0, 3, 2, 2, 2, 2, 2, 2, 1])
    extrapolation.put(1, [6.0, 6, 4, 4, 4], over=True)
    extrapolation.put(2, [6.0, 6, 4, 4, 4])
    assert found(extrapolation) == pytest.approx({0: 1.0, 1: 4.0, 2: 2.0})
    extrapolation.put(3, [6.0], over=True)
    extrapolation.put(0, [4.0, 3, 2, 2, 2, 2, 2, 2, 1], over=True)
    assert found(extrapolation) == pytest.approx({0: 1.0, 1: 4.0, 2: 2.0, 3: 6.0})


def test_a_trial_that_has_not_reached_a_round_has_no_loss() -> None:
    assert losses_of({0: [], 1: [2.0]}, 9) == {1: 2.0}


def test_of_one_epoch_it_is_the_loss_after_that() -> None:
    assert losses_of({0: [2.0], 1: [1.0]}, 1) == {0: 2.0, 1: 1.0}


EPOCHS = 27
curve = st.lists(st.floats(0.01, 5), min_size=1, max_size=EPOCHS).map(
    lambda losses: list(itertools.accumulate(losses, min))
)
many = st.lists(curve, max_size=12).map(lambda some: dict(enumerate(some)))


@given(curves=many)
def test_losses_are_never_above_the_last_one_and_above_nothing(
    curves: dict[int, list[float]],
) -> None:
    ends = losses_of(curves, EPOCHS)
    assert set(ends) == set(curves)
    assert all(0 < ends[number] <= curves[number][-1] for number in curves)


@given(curves=many, losses=st.lists(st.floats(0.01, 5), min_size=EPOCHS, max_size=EPOCHS))
def test_a_trial_that_went_all_the_way_keeps_its_loss(
    curves: dict[int, list[float]], losses: list[float]
) -> None:
    whole = list(itertools.accumulate(losses, min))
    assert losses_of({**curves, 99: whole}, EPOCHS)[99] == min(losses)


@given(curves=many, mark=st.sampled_from(halving.rungs(EPOCHS)), data=st.data())
def test_trials_that_were_cut_at_the_same_rung_keep_their_order(
    curves: dict[int, list[float]], mark: int, data: st.DataObject
) -> None:
    exactly = st.lists(st.floats(0.01, 5), min_size=mark, max_size=mark)
    cut = {100 + index: list(itertools.accumulate(data.draw(exactly), min)) for index in range(3)}
    ends = losses_of({**curves, **cut}, EPOCHS)
    for one, other in itertools.permutations(cut, 2):
        if cut[one][-1] <= cut[other][-1]:
            assert ends[one] <= ends[other]


@given(curves=many)
def test_losses_do_not_depend_on_the_order_of_the_trials(
    curves: dict[int, list[float]],
) -> None:
    backwards = dict(reversed(curves.items()))
    assert losses_of(curves, EPOCHS) == losses_of(backwards, EPOCHS)


def test_a_loss_of_zero_stays() -> None:
    assert losses_of({0: [0.0, 0.0, 0.0]}, 9) == {0: 0.0}
