from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.search.policy.pausing import Contender, Standings

RUNGS = (1, 3, 9)


def standings(*trials: tuple[list[float], float, str]) -> Standings:
    """Trials by their losses, forecast, and whether each runs, waits or has ended."""
    forecasts = np.array([forecast for _, forecast, _ in trials])
    found = Standings(RUNGS, lambda: forecasts)
    for number, (losses, _, state) in enumerate(trials):
        found.put(Contender(number, losses, ended=state == "ended", paused=state == "waits"))
    return found


def test_leaders_have_the_best_forecasts_of_those_with_rounds_left() -> None:
    found = standings(
        ([2.0], 1.5, "runs"), ([2.1], 1.2, "waits"), ([2.2], 1.3, "waits"), ([9.0], 9.0, "ended")
    )
    assert found.leaders(1) == [1]
    assert found.leaders(2) == [1, 2]
    assert found.leaders(9) == [1, 2, 0]


def test_none_leads_that_is_not_expected_to_beat_one_that_has_ended() -> None:
    found = standings(([2.0], 1.5, "runs"), ([2.1], 1.4, "waits"), ([1.6, 1.45], 1.45, "ended"))
    assert found.leaders(2) == [1]


def test_the_best_paused_one_may_be_chosen_among_some() -> None:
    found = standings(([2.0], 1.1, "runs"), ([2.0], 1.2, "waits"), ([2.0], 1.3, "waits"))
    assert found.best_paused() == 1
    assert found.best_paused({0, 2}) == 2
    assert found.best_paused({0}) is None


def test_the_best_is_that_with_the_best_forecast_over_or_not() -> None:
    assert standings(([2.0], 1.5, "runs"), ([1.6, 1.45], 1.45, "ended")).best() == 1
    assert standings().best() is None


@pytest.mark.parametrize(
    ("losses", "place"), [([2.0], (1, 3)), ([2.5], (2, 3)), ([9.0], (3, 3)), ([2.1, 1.0], (1, 3))]
)
def test_a_rank_counts_all_that_have_come_to_the_rung(
    losses: list[float], place: tuple[int, int]
) -> None:
    """With the losses that they had there, however far they have come since."""
    found = standings((losses, 1.0, "waits"), ([2.2, 1.0, 0.5], 0.5, "runs"), ([3.0], 3.0, "ended"))
    assert found.rank(0) == place


def test_one_of_three_is_promoted() -> None:
    two = [([1.0], 1.0, "waits"), ([2.0], 2.0, "waits")]
    assert standings(*two).to_promote() is None
    three = standings(*two, ([3.0], 3.0, "runs"))
    assert three.to_promote() == 0
    assert [three.is_promoted(number) for number in range(3)] == [True, False, False]


def test_the_highest_rung_is_promoted_first_and_leaders_not_at_all() -> None:
    low = [([6.0 + n], 6.0 + n, "waits") for n in range(3)]
    high = [([9.0, 9.0, 5.0 + n], 5.0 + n, "waits") for n in range(3)]
    found = standings(*low, *high)
    assert found.to_promote() == 3
    assert found.to_promote([3]) == 0
    assert found.to_promote([3, 0, 1]) is None, "two of six are promoted"


def test_a_trial_that_is_worse_than_another_was_earlier_is_behind_at_once() -> None:
    high = [([9.0, 9.0, 5.0 + n], 5.0 + n, "waits") for n in range(3)]
    before = standings(*high)
    assert before.to_promote() == 0 and before.is_promoted(0)
    other = ([4.9], 4.9, "runs")
    after = standings(*high, other)
    assert after.to_promote() is None and not after.is_promoted(0)
    assert standings(*high, ([5.0], 5.0, "runs")).to_promote() == 0, "it is not worse"


@pytest.mark.parametrize(("judged_from", "place"), [(1, (3, 3)), (2, (1, 3))])
def test_a_trial_that_is_judged_late_is_compared_by_the_loss_that_it_has_then(
    judged_from: int, place: tuple[int, int]
) -> None:
    """Its first round says nothing of it; after a second one it is the best of the first rung."""
    found = standings(([2.0], 1.0, "waits"), ([3.0], 3.0, "ended"))
    found.put(Contender(2, [9.0, 1.0], ended=False, paused=False, judged_from=judged_from))
    assert (found.rung_of(2), found.rank(2)) == (1, place)
    assert found.is_promoted(2) == (judged_from == 2)
    found.drop(2)
    assert found.rank(0) == (1, 2)


def test_at_rungs_long_before_it_is_judged_a_trial_has_the_loss_that_it_had_there() -> None:
    found = standings(([2.0], 1.0, "waits"), ([3.0], 3.0, "ended"))
    found.put(Contender(2, [9.0, 1.5, 1.2, 1.1], ended=False, paused=False, judged_from=4))
    found.put(Contender(3, [8.0, 8.0, 1.15], ended=False, paused=False))
    assert found.rank(0) == (1, 4), "at the first rung"
    assert (found.rung_of(2), found.rank(2), found.rank(3)) == (3, (1, 2), (2, 2))


@dataclass
class Plain:
    """All trials that have a loss, compared anew each time."""

    contenders: dict[int, Contender]
    forecasts: list[float]

    def leaders(self, places: int) -> list[int]:
        ended = (c.best_so_far[-1] for c in self.contenders.values() if c.ended)
        best = min(ended, default=math.inf)
        going = [n for n, c in self.contenders.items() if not c.ended and self.forecasts[n] < best]
        return sorted(going, key=self._by_forecast)[:places]

    def best(self) -> int | None:
        return min(self.contenders, key=self._by_forecast, default=None)

    def best_paused(self, among: set[int] | None) -> int | None:
        paused = [n for n, c in self.contenders.items() if c.paused]
        chosen = [n for n in paused if among is None or n in among]
        return min(chosen, key=self._by_forecast, default=None)

    def rank(self, number: int) -> tuple[int, int]:
        own = self.contenders[number]
        rung = self._rung(number)
        if rung == 0:
            return 1, 1
        there = [loss_at(rung, c) for c in self.contenders.values() if rounds_of(c) >= rung]
        return 1 + sum(loss < loss_at(rung, own) for loss in there), len(there)

    def to_promote(self, leaders: list[int]) -> int | None:
        paused = [n for n, c in self.contenders.items() if c.paused and n not in leaders]
        promoted = [n for n in paused if self.is_promoted(n)]
        return min(promoted, key=self._by_rung, default=None)

    def is_promoted(self, number: int) -> bool:
        place, reached = self.rank(number)
        rung, own = self._rung(number), self._at_rung(number)
        earlier = (
            loss_at(before, one) < own
            for one in self.contenders.values()
            for before in RUNGS
            if before < rung and before <= rounds_of(one)
        )
        return place <= reached // 3 and not any(earlier)

    def _rung(self, number: int) -> int:
        rounds = rounds_of(self.contenders[number])
        return max((rung for rung in RUNGS if rung <= rounds), default=0)

    def _by_forecast(self, number: int) -> tuple[float, int]:
        return self.forecasts[number], number

    def _by_rung(self, number: int) -> tuple[int, float, int]:
        return -self._rung(number), self._at_rung(number), number

    def _at_rung(self, number: int) -> float:
        one, rung = self.contenders[number], self._rung(number)
        return loss_at(rung, one) if rung else one.best_so_far[0]


def rounds_of(one: Contender) -> int:
    return len(one.best_so_far)


def loss_at(rung: int, one: Contender) -> float:
    """At a rung before which it was not compared, but after which it was before the next one."""
    following = min((later for later in RUNGS if later > rung), default=math.inf)
    late = rung < one.judged_from < following
    return one.best_so_far[(one.judged_from if late else rung) - 1]


LOSSES = st.sampled_from([3.0, 2.5, 2.0, 1.5])
TRIALS = st.tuples(
    st.integers(0, 80), st.lists(LOSSES, max_size=10), st.sampled_from(["runs", "waits", "ended"])
)


@given(st.lists(TRIALS, max_size=40), st.lists(LOSSES, min_size=81, max_size=81), st.data())
def test_what_is_kept_up_to_date_is_what_is_compared_anew(
    puts: list[tuple[int, list[float], str]], forecasts: list[float], data: st.DataObject
) -> None:
    """Of many trials, some of which are alike; one without a round has failed."""
    kept, plain = Standings(RUNGS, lambda: np.array(forecasts)), Plain({}, forecasts)
    for number, losses, state in puts:
        if losses:
            best = list(itertools.accumulate(losses, min))
            since = data.draw(st.integers(1, len(best)))
            one = Contender(number, best, state == "ended", state == "waits", since)
            kept.put(one)
            plain.contenders[number] = one
        else:
            kept.drop(number)
            plain.contenders.pop(number, None)
        assert (number in kept) == bool(losses)
    places = data.draw(st.integers(1, 5))
    leaders = plain.leaders(places)
    assert kept.leaders(places) == leaders
    assert kept.best() == plain.best()
    assert kept.to_promote(leaders) == plain.to_promote(leaders)
    for among in (None, set(leaders), set(range(40))):
        assert kept.best_paused(among) == plain.best_paused(among)
    for number in plain.contenders:
        assert kept.rank(number) == plain.rank(number)
        assert kept.is_promoted(number) == plain.is_promoted(number)
        assert kept.is_leader(number, places) == (number in leaders)
