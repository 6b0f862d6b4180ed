"""One large network with dropout is begun in time, and not compared before it shows its worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy.cost import ObservedCosts
from lstm_sweep.search.policy.forecast import Forecasts
from lstm_sweep.search.policy.large_opening import (
    BEGUN_AFTER,
    EPOCHS,
    LargeOpening,
)
from lstm_sweep.search.policy.pausing import Pausing
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.problem import Admits, admits_all
from lstm_sweep.search.policy.trials import Trials
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.trial import Outcome, Phase, Trial
from tests.unit.search.policy.player import (
    SPACE,
    Curve,
    Played,
    Player,
    course_of,
    each_slots,
    play,
    policy_of,
    problem_of,
    usual,
    with_rounds,
)

LARGE = TrialConfig(layers=2, layer_size=64, dropout=0.125, epochs=9)
MEDIUM = LARGE.evolve(layer_size=48)
PLAN = Plan(trials=60, seconds=240.0)
KNOWN: dict[str, Any] = {
    "large_openings": lambda best: tuple(one.evolve(learning_rate=best) for one in (LARGE, MEDIUM))
}


def is_large(config: Config) -> bool:
    """Whether it is one of these; no other has this dropout by chance."""
    own = as_lstm_config(config)
    return own.dropout == LARGE.dropout and own.layers == 2 and own.layer_size >= 48


def large_ones(played: Played) -> list[TrialProgress]:
    return [one for one in played.of(Phase.SEARCH) if is_large(one.trial.config)]


def late(trial: Trial) -> Curve:
    """As usual, but the large network is far behind until its last but one epoch."""
    curve = usual(trial)
    return replace(curve, losses=[2.9] * 7 + [0.5] * 2) if is_large(trial.config) else curve


@each_slots
def test_it_trains_until_it_may_lead_however_far_it_is_behind(slots: int) -> None:
    player = Player(policy_of(PLAN, slots=slots, **KNOWN), late, slots)
    played = player.play()
    [large] = large_ones(played)
    assert len(large.rounds) == 9 and large.best_loss == 0.5
    others = [one for one in played.all_progress if one.began < large.began]
    assert max(len(one.rounds) for one in others) >= BEGUN_AFTER
    placed = [trial.number for trial in player.placed]
    assert placed.count(large.trial.number) == 1, "it never waits"


def test_one_that_is_behind_after_its_epochs_waits() -> None:
    def behind(trial: Trial) -> Curve:
        return replace(usual(trial), losses=[2.9] * 9) if is_large(trial.config) else usual(trial)

    [large] = large_ones(play(PLAN, curves=behind, slots=1, **KNOWN))
    assert len(large.rounds) == EPOCHS and large.ended
    assert large.ended.outcome is Outcome.PRUNED


@pytest.mark.parametrize(
    "plan",
    [
        replace(PLAN, seconds=None),  # which share of the time it takes is not known
        replace(PLAN, opening=False),
        replace(PLAN, halving=False),  # all are trained to their end there
        replace(PLAN, ladder=False),  # no rate is known that suits it
    ],
)
def test_a_sweep_without_a_limit_openings_halving_or_ladder_has_none(plan: Plan) -> None:
    assert large_ones(play(plan, slots=2, **KNOWN)) == []


def test_one_that_may_not_be_tried_gives_way_to_the_next() -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).layer_size < 64

    [large] = large_ones(play(PLAN, slots=2, admits=admits, **KNOWN))
    assert as_lstm_config(large.trial.config).layer_size == 48


def test_one_that_a_search_begins_with_in_any_case_is_compared_at_once() -> None:
    def openings(best: float, admits: Admits) -> tuple[TrialConfig, ...]:
        return (LARGE.evolve(learning_rate=best),)

    played = play(PLAN, curves=late, slots=1, openings=openings, **KNOWN)
    own = {as_lstm_config(one.trial.config).layer_size: one for one in large_ones(played)}
    assert len(own[64].rounds) < EPOCHS and len(own[48].rounds) == 9


class EachASecond(ObservedCosts):
    """A round of any network takes a second, and starting it none."""

    def trial_seconds(self, config: Config, rounds: int) -> float:
        return float(rounds)


def opening_of(plan: Plan = PLAN, slots: int = 1) -> tuple[LargeOpening, Trials]:
    """One whose networks are known; an epoch of each takes a second."""
    problem, trials, costs = problem_of(SPACE), Trials(), EachASecond()
    pausing = Pausing(problem, trials, slots, Forecasts((1, 3, 9)))
    large = LargeOpening(plan, problem, trials, costs, pausing, slots)
    large.choose_among((LARGE, MEDIUM), set())
    return large, trials


def with_another(trials: Trials, rounds: int) -> Trials:
    """A trial of the search that has so many rounds."""
    other = Trial(sweep="s", number=0, config=TrialConfig(), seed=0)
    done = with_rounds(course_of(other), *[{"val_loss": 2.0, "round_seconds": 1.0}] * rounds)
    trials.put(done.snapshot())
    return trials


def test_it_is_begun_once_another_has_shown_what_a_trial_is_worth() -> None:
    large, trials = opening_of()
    for rounds in range(BEGUN_AFTER):
        with_another(trials, rounds)
        assert large.next(admits_all, 100.0) is None
    with_another(trials, BEGUN_AFTER)
    assert large.next(admits_all, 100.0) == LARGE
    assert large.next(admits_all, 7.0) is None, "too little time is left"
    assert large.next(lambda config: config == MEDIUM, 100.0) == MEDIUM


def test_there_is_one_at_most() -> None:
    large, trials = opening_of()
    with_another(trials, BEGUN_AFTER)
    begun = course_of(Trial(sweep="s", number=1, config=MEDIUM, seed=1))
    trials.put(begun.snapshot())
    assert large.next(admits_all, 100.0) is None


@pytest.mark.parametrize("slots, seconds", [(1, 40.0), (2, 20.0), (4, 16.0)])
def test_its_epochs_take_a_share_of_the_time_at_most(slots: int, seconds: float) -> None:
    """Eight epochs take 8 s: a fifth of what all slots have, but no more than half of the time."""
    for each, expected in ((1.01 * seconds, LARGE), (0.99 * seconds, None)):
        large, trials = opening_of(replace(PLAN, seconds=each), slots)
        with_another(trials, BEGUN_AFTER)
        assert large.next(admits_all, each) == expected


@each_slots
def test_a_sweep_that_goes_on_knows_which_one_it_is(slots: int) -> None:
    policy = policy_of(PLAN, slots=slots, **KNOWN)
    played = Player(policy, late, slots).play()
    [large] = large_ones(played)
    known = [one for one in played.all_progress if one.began < large.began]
    ended = sorted(known, key=lambda one: one.began + one.seconds)
    again = policy_of(PLAN, slots=slots, **KNOWN)
    again.restore(ended, [large.trial], extended=True)
    for rounds in range(1, EPOCHS):
        progress = replace(large, ended=None, rounds=large.rounds[:rounds])
        again.begin(progress)
        assert again.judge(progress) is None, f"after {rounds} epochs"
        assert large.trial.number not in {
            one.first.trial.number for one in again.report().confirmed
        }
    losses = again.objective_values()
    assert losses[large.trial.number] > min(losses.values())
