from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.past_sweep import Trained, past_sweep, places

SMALL = TrialConfig(layers=2, layer_size=32)


def climbed(*losses: float) -> list[Trained]:
    """A ladder of 1, 0.1, 0.01 ... with these losses."""
    return [
        Trained(SMALL.evolve(learning_rate=float(f"1e-{power}")), [loss])
        for power, loss in enumerate(losses)
    ]


# places ----------------------------------------------------------------------------------------


def test_a_place_is_the_share_of_the_others_that_were_better() -> None:
    assert list(places([[2.0], [1.0], [3.0]])) == [0.5, 0.0, 1.0]
    assert list(places([[2.0], [2.0]])) == [0.0, 0.0]
    assert list(places([[2.0]])) == [0.0] and list(places([])) == []


def test_trials_are_compared_after_the_last_round_that_both_have_come_to() -> None:
    long, short, worse = [3.0, 2.0, 1.0], [2.9], [3.5, 3.4]
    # by the first round the short one was the best, and nobody knows of it afterwards
    assert list(places([long, short, worse])) == [0.5, 0.0, 1.0]


def test_a_trial_without_a_loss_is_behind_all_that_have_one() -> None:
    assert list(places([[], [9.0], [math.inf, 8.0]])) == [0.5, 0.0, 0.5]


@given(st.lists(st.lists(st.floats(0, 9), max_size=4), max_size=9), st.randoms())
def test_the_order_of_trials_does_not_matter(curves: list[list[float]], chance: object) -> None:
    found = dict(zip(map(tuple, curves), places(curves), strict=True))
    again = dict(zip(map(tuple, curves[::-1]), places(curves[::-1]), strict=True))
    assert found == again
    assert all(0 <= place <= 1 for place in found.values())


# rates -----------------------------------------------------------------------------------------


def test_a_rate_counts_as_a_multiple_of_what_the_ladder_would_have_given_its_network() -> None:
    # a parabola through 2.5, 2.0 and 2.5 is lowest at 0.1
    large = TrialConfig(layers=2, layer_size=64, learning_rate=0.05)
    found = past_sweep([Trained(large, [1.0])], climbed(2.5, 2.0, 2.5), 3.0)
    assert [one.multiple for one in found.trials] == [pytest.approx(1.0)]
    low = Trained(large.evolve(learning_rate=0.01), [1.0])
    assert past_sweep([low], climbed(2.5, 2.0, 2.5), 3.0).trials[0].multiple == pytest.approx(0.2)


def test_a_rate_between_the_steps_is_taken_if_that_is_wanted() -> None:
    trial, ladder = Trained(SMALL.evolve(learning_rate=0.1), [1.0]), climbed(2.0, 1.9, 3.0)
    fine = past_sweep([trial], ladder, 3.0).trials[0].multiple
    coarse = past_sweep([trial], ladder, 3.0, refine=False).trials[0].multiple
    assert coarse == pytest.approx(1.0) and fine is not None and fine < 0.5


@pytest.mark.parametrize("ladder", [[], climbed(3.0, 3.0)], ids=["none", "found nothing"])
def test_without_a_ladder_nothing_is_known_of_rates(ladder: list[Trained]) -> None:
    found = past_sweep([Trained(SMALL, [1.0])], ladder, 3.0, same_corpus=True)
    assert [one.multiple for one in found.trials] == [None] and found.same_corpus
