"""Which trials wait, go on, and end as pruned, in whole sweeps that are played."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.halving import Contender, Standings
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.stop_reason import StopReason
from lstm_sweep.search.values.trial import Outcome, Paused, Phase, Trial
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    Played,
    Player,
    course_of,
    in_order,
    play,
    policy_of,
    usual,
    with_rounds,
)

HALVING: dict[str, Any] = {**PLAIN, "halving": True}


def rounds_of(played: Played) -> list[int]:
    return [len(one.rounds) for one in played.all_progress]


@pytest.mark.parametrize("slots", [1, 2])
def test_the_best_is_trained_to_its_end_and_all_others_wait_until_the_search_is_over(
    slots: int,
) -> None:
    losses = [3.0, 2.0, 1.0]
    plan = Plan(**{**HALVING, "trials": 3})
    played = play(plan, SMALL, curves=in_order(losses), slots=slots, first_rung=1)
    assert rounds_of(played)[2] == 9
    assert [one.ended and one.ended.outcome for one in played.all_progress] == [
        Outcome.PRUNED, Outcome.PRUNED, Outcome.COMPLETE,
    ]  # fmt: skip
    assert max(rounds_of(played)[:2]) < 9, "they led only until the better one came"


def test_one_that_waits_is_promoted_once_enough_are_behind_it() -> None:
    """On two slots the first leads; the second is one of the best third when six have come."""
    losses = [1.0, 1.1, 5.0, 5.1, 5.2, 5.3]
    plan = Plan(**{**HALVING, "trials": 6})
    player = Player(policy_of(plan, SMALL, 2, first_rung=1), in_order(losses), 2)
    played = player.play()
    assert [trial.number for trial in player.placed].count(1) == 2
    assert rounds_of(played) == [9, 3, 1, 1, 1, 1]


@pytest.mark.parametrize("slots", [1, 2])
def test_where_all_configs_are_tried_before_the_budget_is_spent_all_go_on(slots: int) -> None:
    plan = Plan(**{**HALVING, "trials": 50})
    losses = [3.0 - number / 100 for number in range(12)]
    played = play(plan, SMALL, curves=in_order(losses), slots=slots, first_rung=1)
    assert rounds_of(played) == [9] * 12
    assert played.policy.stop and played.policy.stop.reason is StopReason.SPACE


def test_the_best_of_a_rung_says_that_another_was_lower_earlier() -> None:
    policy = policy_of(Plan(**HALVING), SMALL, 2, first_rung=1, judged_from=lambda config: 1)
    curves = [[9.0, 8.0, 5.0 + number] for number in range(3)]
    for number, losses in enumerate([*curves, [4.0]]):
        trial = Trial(sweep="s", number=number, config=TrialConfig(epochs=9), seed=0)
        rounds = [{"val_loss": loss, "round_seconds": 1.0} for loss in losses]
        policy.begin(one := with_rounds(course_of(trial), *rounds))
        policy.note(one)
        if number == 0:
            first = one
    paused = policy.judge(first)
    assert isinstance(paused, Paused)
    assert (
        paused.reason
        == "at epoch 3: loss 5.0000, number 1 of 3 there, but another one was lower before"
    )


def test_a_single_slot_is_for_the_leader_for_half_of_the_time() -> None:
    losses = [1.0 + number / 10 for number in range(12)]
    plan = Plan(**{**HALVING, "trials": 12})
    player = Player(policy_of(plan, SMALL, 1, first_rung=1), in_order(losses), 1)
    player.play()
    order = [trial.number for trial in player.placed]
    assert order.count(0) == 3, "it goes from rung to rung: 1, 3 and 9 epochs"
    second, third = [place for place, number in enumerate(order) if number == 0][1:]
    assert 1 <= second < third and third - second > 2


def test_near_the_end_those_that_wait_go_on_and_none_is_begun() -> None:
    played = play(Plan(trials=1_000, seconds=200.0, confirm_configs=0), slots=2, curves=usual)
    searched = played.of(Phase.SEARCH)
    leader = min((one for one in searched if one.best_loss), key=lambda one: one.best_loss or 9)
    last = max(one.began for one in searched)
    assert 200 - last > 0.4 * sum(leader.round_seconds)
    assert sum(len(one.rounds) > 1 for one in searched) > 3


@pytest.mark.parametrize("seconds", [None, 10_000.0])
def test_once_all_trials_are_begun_only_the_best_go_on(seconds: float | None) -> None:
    """With time left, too: `trials` is a limit of its own."""
    losses = [1.0, *(2.0 + number / 100 for number in range(20))]
    plan = Plan(**{**HALVING, "trials": 6, "seconds": seconds})
    played = play(plan, SMALL, curves=in_order(losses), slots=2, first_rung=1)
    assert rounds_of(played) == [9, 3, 1, 1, 1, 1]
    assert played.now < 100


@pytest.mark.parametrize("seconds", [None, 10_000.0])
@pytest.mark.parametrize("slots", [1, 2])
def test_patience_counts_trials_that_wait_and_ends_the_search_for_good(
    slots: int, seconds: float | None
) -> None:
    plan = Plan(**{**HALVING, "trials": 100, "patience": 5, "seconds": seconds})
    losses = [1.0, *(2.0 + number / 100 for number in range(100))]
    played = Player(policy_of(plan, slots=slots), in_order(losses), slots).play()
    assert len(played.all_progress) < 12
    assert played.policy.stop and played.policy.stop.reason is StopReason.PATIENCE
    assert max(rounds_of(played)) == 9, "the best goes on to its end"
    assert sum(rounds_of(played)) < 40, "and the others do not"


RUNGS = (1, 3, 9)


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
        there = [loss_at(rung, c) for c in self.contenders.values() if len(c.best_so_far) >= rung]
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
            if before < rung and before <= len(one.best_so_far)
        )
        return place <= reached // 3 and not any(earlier)

    def _rung(self, number: int) -> int:
        rounds = len(self.contenders[number].best_so_far)
        return max((rung for rung in RUNGS if rung <= rounds), default=0)

    def _by_forecast(self, number: int) -> tuple[float, int]:
        return self.forecasts[number], number

    def _by_rung(self, number: int) -> tuple[int, float, int]:
        return -self._rung(number), self._at_rung(number), number

    def _at_rung(self, number: int) -> float:
        one, rung = self.contenders[number], self._rung(number)
        return loss_at(rung, one) if rung else one.best_so_far[0]


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
