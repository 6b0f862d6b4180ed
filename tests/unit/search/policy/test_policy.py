"""What holds of any sweep that is played to its end, and with what a search begins."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy.confirmation import (
    GRACE_S,
    Confirmation,
    compare,
    confirmed,
)
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import (
    NO_RESULT,
    Costs,
    EarlierBest,
    Trials,
    all_trials,
    described,
    out_of_time,
)
from lstm_sweep.search.values.spec import ALGORITHMS, Plan
from lstm_sweep.search.values.sweep import Confirmed
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial, trial_seed
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space, from_mapping
from tests.simulated import Networks, simulation
from tests.unit.search.policy.player import (
    PLAIN,
    SMALL,
    SPACE,
    always,
    course_of,
    each_plan,
    play,
    policy_of,
    problem_of,
    reason_of,
    with_rounds,
)


@each_plan
@pytest.mark.parametrize(("slots", "rounds_per_epoch"), [(1, 4), (4, 1)])
def test_phases_follow_each_other_and_each_config_is_tried_once(
    plan: Plan, slots: int, rounds_per_epoch: int
) -> None:
    played = play(plan, slots=slots, rounds_per_epoch=rounds_per_epoch)
    trials = played.trials
    for number, progress in enumerate(trials):
        assert (progress.number, progress.id) == (number, f"s/{number}")
        assert progress.seed == trial_seed(plan.seed, number)
        assert progress.rounds_per_epoch == rounds_per_epoch
        assert plan.seconds is None or progress.began + progress.seconds <= plan.seconds
    order = [Phase.LADDER, Phase.SEARCH, Phase.CONFIRM]
    phases = [order.index(progress.phase) for progress in trials]
    assert phases == sorted(phases) and len(phases) <= plan.trials
    assert (0 in phases) == plan.ladder and 1 in phases
    tried = [c.config for c in played.of(Phase.LADDER) + played.of(Phase.SEARCH)]
    assert len(set(tried)) == len(tried)
    spaces = (SPACE, played.policy.space)  # the second has rates between those of the first
    assert all(any(space.admits(config) for space in spaces) for config in tried)
    assert {c.config for c in played.of(Phase.CONFIRM)} <= set(tried)


@each_plan
def test_a_sweep_is_a_pure_function_of_its_plan_and_what_trials_do(plan: Plan) -> None:
    plan = replace(plan, trials=18)
    one, same, other = (play(replace(plan, seed=seed), slots=3) for seed in (0, 0, 1))
    assert one.story == same.story != other.story


@settings(max_examples=25)
@given(
    trials=st.integers(1, 30),
    slots=st.integers(1, 6),
    seed=st.integers(0, 2**32),
    halving=st.booleans(),
    confirm=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    algorithm=st.sampled_from(ALGORITHMS),
)
def test_a_budget_of_trials_is_spent_to_the_last_one(
    trials: int, slots: int, seed: int, halving: bool, confirm: tuple[int, int], algorithm: str
) -> None:
    plan = Plan(
        trials=trials,
        seed=seed,
        halving=halving,
        confirm_configs=confirm[0],
        confirm_seeds=confirm[1],
        algorithm=algorithm,
    )
    played = play(plan, slots=slots)
    assert [progress.number for progress in played.trials] == list(range(trials))
    assert reason_of(played.policy) == all_trials(trials).text
    assert played.policy.next(played.now) is None
    confirmed = len(played.of(Phase.CONFIRM))
    assert confirmed <= min(trials / 4, confirm[0] * confirm[1])


#: one with a rate that suits it, and one with a rate at which the ladder learns nothing
SUITED = TrialConfig(layers=2, layer_size=32, learning_rate=0.003, epochs=12, dropout=0.11)
TOO_HIGH = SUITED.evolve(layers=1, layer_size=48, learning_rate=1.0, dropout=0.22)


TWENTY = Plan(trials=20)


def searched(
    prior: Sequence[Config] = (), plan: Plan = TWENTY, space: Space = SPACE, **known: Any
) -> list[TrialConfig]:
    """What a search tries that begins with the best of earlier sweeps."""
    played = play(plan, space, slots=1, prior=prior, **known)
    return [as_lstm_config(one.config) for one in played.of(Phase.SEARCH)]


def test_the_best_of_earlier_sweeps_come_before_the_usual_openings_with_rates_that_suit() -> None:
    assert described([EarlierBest("b/9", TOO_HIGH), EarlierBest("a/4", SUITED)]) == [
        "prior: begins with the best configs of 2 earlier sweeps on these data (b/9, a/4)"
    ]
    first, second, *others = searched([SUITED, TOO_HIGH])
    assert first == SUITED.evolve(epochs=9)  # as this space has them
    assert second == TOO_HIGH.evolve(epochs=9, learning_rate=second.learning_rate)
    assert 0.001 < second.learning_rate < 0.02
    assert others[:4] == searched()[:4]


def test_what_is_not_admitted_or_lies_outside_of_the_space_is_left_out() -> None:
    def admits(config: Config) -> bool:
        return as_lstm_config(config).dropout != SUITED.dropout

    prior = [SUITED, SUITED.evolve(layers=16, dropout=0.3)]
    assert searched(prior, admits=admits) == searched(admits=admits)


@pytest.mark.parametrize("space, plan", [(SMALL, {}), (SPACE, {"ladder": False})])
def test_without_a_ladder_they_have_the_rates_that_they_had(
    space: Space, plan: dict[str, Any]
) -> None:
    config = as_lstm_config(space.middle())
    assert searched([config], Plan(**(PLAIN | plan), trials=6), space)[0] == config


#: networks that cost alike, so that it matters little which of them is the best
ALIKE = {"learning_rate": [0.1, 0.01, 0.001], "layers": 2, "layer_size": [56, 64, 72],
         "dropout": [0.0, 0.1, 0.2, 0.3], "batch_size": [32, 64], "epochs": 9}  # fmt: skip
NETWORKS = Networks(DataSize(200_000, 60, 4_000))


def times_left(**plan: Any) -> list[tuple[float, float | None]]:
    """The time, and what is left, at each thing that a trial of a whole sweep says."""
    problem = NETWORKS.problem(from_mapping({**ALIKE}, "test"))
    policy = Policy(Plan(**plan), problem, sweep="s", slots=2)
    sweep, seen = simulation(policy, NETWORKS, slots=2), list[tuple[float, float | None]]()

    def look(trial: Trial) -> bool:
        seen.append((sweep.now, policy.expected_left(sweep.now)))
        return False

    sweep.run(is_found=look)
    return seen


@pytest.mark.parametrize("halving", [True, False])
def test_half_way_the_time_left_is_about_right(halving: bool) -> None:
    errors = list[float]()
    for seed in range(3):
        seen = times_left(trials=24, halving=halving, seed=seed)
        took, _ = seen[-1]
        at, left = next(one for one in seen if one[0] >= took / 2)
        assert left is not None
        errors.append(left / (took - at) - 1)
    assert abs(statistics.median(errors)) <= 0.3, errors


def test_with_a_limit_of_time_it_is_what_is_left_of_that() -> None:
    seen = times_left(trials=900, seconds=100.0)
    early = [(at, left) for at, left in seen if at < 60]
    assert len(early) > 3 and all(left == pytest.approx(100.0 - at) for at, left in early)
    assert all(left is not None and 0 <= left <= 100.0 - at for at, left in seen)


#: why a sweep of 100 s ends with some of them left
TOO_SHORT = out_of_time(100.0, left=50.0)
ONE = Space({"epochs": Listed("epochs", (9,))})
DROPOUT = ONE.replace(dropout=Range("dropout", 0.0, 0.5))


@pytest.mark.parametrize(
    ("space", "first_rung", "outcome", "left", "found"),
    [
        # of a new trial the first rung has to fit, and the rest has not
        (DROPOUT, 1, Outcome.COMPLETE, 11.5, (Phase.SEARCH, None)),
        (DROPOUT, 1, Outcome.COMPLETE, 10.5, TOO_SHORT),
        (DROPOUT, 3, Outcome.COMPLETE, 30.0, TOO_SHORT),
        (DROPOUT, 6, Outcome.COMPLETE, 50.0, TOO_SHORT),
        # what a search without further configs has left is used for whole further runs, of 31 s
        (ONE, 1, Outcome.COMPLETE, 75.0, (Phase.CONFIRM, None)),
        (ONE, 1, Outcome.COMPLETE, 28.0, TOO_SHORT),
        # nine epochs would take 91 s: as many rounds as one that was cut short had
        (ONE, 1, Outcome.PRUNED, 70.0, (Phase.CONFIRM, 3)),
        (ONE, 1, Outcome.STOPPED, 70.0, (Phase.CONFIRM, 3)),
        (ONE, 1, Outcome.PRUNED, 10.0, TOO_SHORT),
    ],
)
def test_what_is_begun_in_the_time_that_is_left_after_one_trial(
    space: Space, first_rung: int, outcome: Outcome, left: float, found: object
) -> None:
    """It ended after three epochs of ten seconds, and one to start it."""
    confirm = int(space is ONE)
    plan = Plan(**{**PLAIN, "trials": 50, "seconds": 100.0, "confirm_configs": confirm})
    policy = policy_of(plan, space, slots=1, first_rung=first_rung)
    trial = policy.next(0.0)
    assert trial
    policy.put(course_of(trial))
    done = with_rounds(course_of(trial), *[{"val_loss": 2.0, "round_seconds": 10.0}] * 3)
    policy.end(done.with_end(Ended(outcome), 31.0))
    following = policy.next(100.0 - left)
    assert (policy.stop or (following and (following.phase, following.most_rounds))) == found


def first(
    number: int, *losses: float, outcome: Outcome = Outcome.COMPLETE, steps: int | None = None
) -> Trial:
    """A first run whose rounds take 10 s each; one of the ladder if it took so many steps."""
    phase, config = Phase.LADDER if steps else Phase.SEARCH, TrialConfig(epochs=99)
    new = Trial(sweep="s", number=number, config=config, seed=0, phase=phase, steps=steps)
    done = with_rounds(
        course_of(new), *({"val_loss": loss, "round_seconds": 10.0} for loss in losses)
    )
    return done.with_end(Ended(outcome), 10.0 * len(losses))


def confirmation(plan: Plan, *known: Trial, slots: int = 2) -> Confirmation:
    trials = Trials(slots)
    for one in known:
        trials.put(one)
    return Confirmation(plan, problem_of(SMALL, first_rung=1), trials, Costs())


@pytest.mark.parametrize(("slots", "seconds"), [(1, 160.0), (2, 80.0)])
@pytest.mark.parametrize(("share", "kept"), [(1.0, 0), (1.2, 2)])
def test_whole_further_runs_of_the_best_are_kept_for_or_none(
    slots: int, seconds: float, share: float, kept: int
) -> None:
    """Two runs of two rounds of 10 s take a quarter of the time, one after the other or not."""
    best = first(0, 2.0, 2.0, outcome=Outcome.STOPPED)
    again = confirmation(Plan(seconds=share * seconds, trials=50), best, slots=slots)
    reserve = again.reserve(share * seconds)
    assert reserve.trials == kept
    assert reserve.seconds <= 0.25 * share * seconds + GRACE_S
    assert again.most_rounds(best) == 2


@pytest.mark.parametrize(
    ("trials", "configs", "why"),
    [(7, 3, "s/0 was not trained again: that needs 8 trials or more"), (8, 3, ""), (7, 0, "")],
)
def test_a_sweep_of_few_trials_says_that_they_were_too_few_to_train_one_again(
    trials: int, configs: int, why: str
) -> None:
    plan = Plan(trials=trials, confirm_configs=configs)
    assert confirmation(plan, first(0, *[2.0] * 30)).omitted() == why


def again(number: int, *losses: float, best: bool = False, **more: Any) -> Confirmed:
    return Confirmed(f"s/{number}", 1.0, losses, is_best=best, **more)


@pytest.mark.parametrize(
    ("losses", "p", "words"),
    [
        # Welch's t for (2.0, 2.1, 2.2) against (1.0, 1.1, 1.2): t = 1 / sqrt(0.02 / 3), 4 degrees
        ((2.0, 2.1, 2.2), 0.000255, "; worse: p = 0.00026"),
        ((0.0, 0.1, 0.2), 0.000255, "; better over further seeds: p = 0.00026"),
        # t = 0.05 / sqrt(0.02 / 3) = 0.612, 4 degrees of freedom
        ((1.05, 1.15, 1.25), 0.573, "; as good: p = 0.57"),
    ],
)
def test_configs_are_compared_with_that_of_the_best_trial_by_welchs_t_test(
    losses: tuple[float, ...], p: float, words: str
) -> None:
    best, other = compare([again(1, 1.0, 1.1, 1.2, best=True), again(2, *losses)])
    assert best.p is None and "p =" not in str(best)
    assert other.p == pytest.approx(p, rel=0.01)
    assert str(other).endswith(words)
    assert [one.to_dict()["verdict"] for one in (best, other)] == ["the best", other.verdict]
    of_one_seed = compare([again(1, 1.0, best=True), again(2, 2.0)])
    assert [one.p for one in of_one_seed] == [None, None]


@pytest.mark.parametrize(
    "trials, configs, seeds, expected",
    [
        (50, 3, 3, [3, 3, 3]),
        (50, 2, 4, [4, 4]),
        (50, 1, 3, [3]),
        (20, 3, 3, [3, 2]),  # a quarter is five: two configs, of which each has at least two
        (12, 3, 3, [3]),
        (8, 3, 3, [2]),
        (7, 3, 3, []),  # there is room for one, which would say nothing
        (50, 0, 3, []),
        (50, 3, 1, [1, 1, 1]),
    ],
)
def test_the_best_configs_are_confirmed_with_at_most_a_quarter_of_the_budget(
    trials: int, configs: int, seeds: int, expected: list[int]
) -> None:
    plan = Plan(trials=trials, algorithm="random", confirm_configs=configs, confirm_seeds=seeds)
    played = play(plan, slots=1)
    counts = Counter(progress.config for progress in played.of(Phase.CONFIRM))
    assert sorted(counts.values(), reverse=True) == expected
    assert len(played.trials) == trials


def test_the_best_that_have_ended_are_trained_again_with_other_seeds_and_all_epochs() -> None:
    played = play(Plan(trials=36, algorithm="random"))
    tried = played.of(Phase.LADDER) + played.of(Phase.SEARCH)
    losses = sorted(c.ranked_loss for c in tried if c.ranked_loss is not None)
    best = played.policy.confirmation.to_confirm()
    assert [progress.ranked_loss for progress in best] == losses[:3]
    leaders = {progress.config for progress in best}
    again = played.of(Phase.CONFIRM)
    assert {progress.config for progress in again} == leaders
    seeds = [c.seed for c in played.trials if c.config in leaders]
    assert len(set(seeds)) == len(seeds)
    assert {len(progress.rounds) for progress in again} == {9}
    assert {progress.ended for progress in again} == {Ended(Outcome.COMPLETE)}


def test_the_config_of_the_best_trial_comes_first_and_those_of_which_seeds_failed_last() -> None:
    best, lower, higher = again(1, 1.5, 1.6, best=True), again(2, 1.3, 1.31), again(3, 1.9, 1.8)
    failed = again(4, 1.0, failed={Outcome.DIVERGED: 2})
    none = again(5, failed={Outcome.HUNG: 3})
    found = compare([none, failed, higher, lower, best])
    assert [one.trial for one in found] == ["s/1", "s/2", "s/3", "s/4", "s/5"]


@pytest.mark.parametrize(
    ("losses", "failed", "said"),
    [
        ([1.2], {}, "1.2000 over 1 further seed"),
        ([1.2], {Outcome.DIVERGED: 2}, "1.2000 over 1 of 3 further seeds; 2 diverged"),
        ([1.2, 1.4], {Outcome.OUT_OF_MEMORY: 1},
         "1.3000 +- 0.1414 over 2 of 3 further seeds; 1 out of memory"),
        ([], {Outcome.DIVERGED: 2, Outcome.HUNG: 1},
         "no loss of 3 further seeds; 2 diverged, 1 hung"),
    ],
)  # fmt: skip
def test_seeds_that_failed_are_counted_and_said(
    losses: list[float], failed: dict[Outcome, int], said: str
) -> None:
    found = again(1, *losses, failed=failed)
    assert str(found) == f"s/1: {said}, first run 1.0000"
    written = found.to_dict()
    assert written["failed"] == {str(outcome): count for outcome, count in failed.items()}
    assert (written["mean"] is None) == (not losses)


@pytest.mark.parametrize(
    ("outcome", "epochs", "counts"),
    [
        (Outcome.COMPLETE, 1, True),
        (Outcome.STOPPED, 3, True),  # as many as the first run needed for its lowest loss
        (Outcome.STOPPED, 2, False),
    ],
)
def test_a_further_run_that_was_cut_short_counts_from_the_best_epoch_of_the_first_on(
    outcome: Outcome, epochs: int, counts: bool
) -> None:
    losses = [2.0, 1.5, 1.0, 1.2]
    leader, further = first(0, *losses), first(1, *losses[:epochs], outcome=outcome)
    further = replace(further, seed=1, phase=Phase.CONFIRM)
    [found] = confirmed([leader, further], leader.config)
    assert found.losses == ((min(losses[:epochs]),) if counts else ()) and found.is_best
    assert found.failed == ({} if counts else {outcome: 1})


@pytest.mark.parametrize(
    ("runs", "chosen"),
    [
        ((first(1, 2.2, steps=60), first(4, 1.5)), 4),
        ((first(1, 1.4, steps=60), first(4, 1.5)), 4),  # its loss is of another length
        ((first(2, 1.6), first(4, 1.5), first(5, 1.7)), 4),
        ((first(1, 2.2, steps=60), first(2, 2.1, steps=60)), 2),  # nobody else has trained it
    ],
)
def test_a_config_that_was_tried_several_times_is_confirmed_once_beside_its_best_whole_run(
    runs: tuple[Trial, ...], chosen: int
) -> None:
    further = first(9, 1.55)
    further = replace(further, seed=1, phase=Phase.CONFIRM)
    found = confirmed([*runs, further], None)
    assert [(one.trial, one.losses) for one in found] == [(f"s/{chosen}", (1.55,))]


def test_where_every_trial_fails_nothing_is_confirmed() -> None:
    played = play(Plan(trials=20), curves=always(outcome=Outcome.ERROR))
    assert played.of(Phase.CONFIRM) == []
    assert played.policy.stop == NO_RESULT
    assert len(played.trials) == 15  # and what was kept for confirming is not used
