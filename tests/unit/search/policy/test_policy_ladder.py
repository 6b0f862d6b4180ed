from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.search.policy import lstm_problem
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.problem import LadderLength
from lstm_sweep.search.policy.stop_reason import all_trials
from lstm_sweep.search.trial import Ended, Outcome, Phase, Trial
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.by_corpus import CorpusFacts
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.space import Space, with_settings
from tests.unit.search.policy.player import (
    RATES,
    SMALL,
    SPACE,
    UNIGRAM,
    Curve,
    always,
    course_of,
    each_slots,
    play,
    policy_of,
    with_rounds,
)


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 6, 9])
def test_the_ladder_finds_the_same_rate_on_any_number_of_slots(slots: int) -> None:
    policy = play(Plan(trials=10), slots=slots).policy
    assert policy.ladder and policy.ladder.best == 0.01
    # from an eighth of a tenth, for two layers four times as large, to twice the best one
    rates = policy.space["learning_rate"].describe()
    assert rates["scale"] == "log"
    assert 0.01 / 80 <= rates["low"] <= 0.0003 and 0.01 < rates["high"] < 0.032


@each_slots
def test_larger_layers_get_lower_rates(slots: int) -> None:
    played = play(Plan(trials=24), slots=slots)
    highest = played.policy.space["learning_rate"].describe()["high"]
    for one in played.of(Phase.SEARCH):
        config = as_lstm_config(one.trial.config)
        best = highest / 2 * 16 / (config.layer_size * config.layers)
        assert best / 10.5 <= config.learning_rate <= best * 2.1


def test_free_slots_run_the_next_rates_and_those_not_needed_are_stopped() -> None:
    played = play(Plan(trials=10), slots=6, curves=lambda trial: slow_below(trial, 0.001))
    climbed = played.of(Phase.LADDER)
    assert [as_lstm_config(c.trial.config).learning_rate for c in climbed] == sorted(
        RATES, reverse=True
    )
    assert {c.began for c in climbed} == {0.0}  # all at once
    *_, needless, lowest = climbed
    reason = "its learning rate is not needed: "
    for progress in (needless, lowest):
        assert progress.ended and progress.ended.outcome is Outcome.PRUNED
        assert progress.ended.reason.startswith(f"{reason}0.01 is best, loss ")
        assert "; 0.001 reached " in progress.ended.reason


def slow_below(trial: Trial, rate: float) -> Curve:
    """The usual curves, no chance in them; low rates take long."""
    config = as_lstm_config(trial.config)
    if config.learning_rate >= 1:
        return Curve([], Outcome.DIVERGED)
    floor = 1.3 + 0.3 * abs(math.log10(config.learning_rate) + 2)
    losses = [floor + 1 / epoch for epoch in range(1, config.epochs + 1)]
    return Curve(losses, seconds=9.0 if config.learning_rate < rate else 1.0)


def test_rates_of_the_ladder_are_tried_on_the_smallest_network_whether_admitted_or_not() -> None:
    played = play(Plan(trials=10), admits=lambda config: as_lstm_config(config).layer_size >= 32)
    for progress in played.of(Phase.LADDER):
        config = progress.trial.config
        assert (
            as_lstm_config(config).layers,
            as_lstm_config(config).layer_size,
            as_lstm_config(config).dropout,
        ) == (1, 16, 0.0)
        assert SPACE.decode(SPACE.encode(config)) == config


@pytest.mark.parametrize("epochs", [1, 3, 5])
def test_trials_of_the_ladder_end_when_they_have_said_what_they_can(epochs: int) -> None:
    played = play(Plan(trials=10), slots=1, ladder_length=lambda *_: LadderLength(epochs))
    survived = [c for c in played.of(Phase.LADDER) if c.rounds]
    assert {len(progress.rounds) for progress in survived} == {epochs}
    reason = f"{epochs} epochs, as all trials of the ladder"
    assert {progress.ended for progress in survived} == {Ended(Outcome.COMPLETE, reason)}


@pytest.mark.parametrize("before", [LadderLength(3), LadderLength(1, 200)])
@pytest.mark.parametrize("now", [LadderLength(2), LadderLength(1, 150)])
def test_a_ladder_that_goes_on_is_trained_as_long_as_before(
    before: LadderLength, now: LadderLength
) -> None:
    """Though more minutes or slots would make it longer or shorter."""
    first = policy_of(Plan(), ladder_length=lambda seconds, slots: before)
    trial = first.next()
    assert trial
    rounds = [{"val_loss": 2.0}] * (before.rounds or 9)
    done = with_rounds(course_of(trial), *rounds).with_end(Ended(Outcome.COMPLETE), 9.0)
    rebuilt = policy_of(Plan(), ladder_length=lambda seconds, slots: now)
    rebuilt.restore([done], [], extended=False)
    following = rebuilt.next()
    assert following and (following.phase, following.steps) == (Phase.LADDER, before.steps)
    one = course_of(following)
    rebuilt.begin(one)
    for number in range(1, (before.rounds or 9) + 1):
        one = with_rounds(one, {"val_loss": 1.9})
        assert bool(rebuilt.judge(one)) is (number == before.rounds)


def test_where_no_rate_learns_the_search_goes_on_in_the_whole_space() -> None:
    played = play(Plan(trials=16), curves=always(*[UNIGRAM] * 9))
    decision = played.policy.ladder
    assert decision and decision.best is None
    assert decision.reason == "no rate came below 0.98 times the unigram loss (3.0000)"
    assert len(played.of(Phase.LADDER)) == len(RATES)
    assert played.policy.space == SPACE


@pytest.mark.parametrize(
    "plan, space, reason",
    [
        (Plan(trials=5), SMALL, "no rates to climb"),  # one rate
        (Plan(trials=5), SPACE.replace(learning_rate=Listed("learning_rate", (0.001, 0.01))), None),
        (Plan(trials=5, ladder=False), SPACE, "switched off"),
    ],
)
def test_without_rates_or_switched_off_there_is_no_ladder(
    plan: Plan, space: Space, reason: str | None
) -> None:
    played = play(plan, space, curves=always(*[2.0] * 9))
    decision = played.policy.ladder
    assert decision and decision.done and decision.best is None
    assert decision.reason == (reason or "no rates to climb")
    assert played.of(Phase.LADDER) == [] and played.policy.space == space


@pytest.mark.parametrize(
    "admits, expected",
    [
        (lambda config: True, (1, 16)),
        (lambda config: config.layer_size >= 40, (1, 48)),
        (lambda config: config.layers == 2, (2, 16)),
        (lambda config: config.layers == 2 or config.layer_size == 64, (2, 16)),  # fewer weights
        (lambda config: False, (1, 16)),  # nothing is: the smallest all the same
    ],
)
def test_the_smallest_network_is_the_one_with_fewest_parameters(
    admits: Callable[[Config], bool], expected: tuple[int, int]
) -> None:
    found = lstm_problem.smallest(SPACE, 50, admits)
    assert found and (found.layers, found.layer_size) == expected
    assert SPACE.admits(found)


def test_the_other_openings_differ_from_the_first_in_one_field() -> None:
    small = lstm_problem.smallest(presets.DEFAULT, 90, lambda config: True)
    first, *others = lstm_problem.openings(presets.DEFAULT, small, 0.01, lambda config: True)
    assert first == lstm_problem.opening(presets.DEFAULT, small, 0.01, lambda config: True)
    changed = [
        {name for name, value in other.to_dict().items() if value != first.to_dict()[name]}
        for other in others
    ]
    assert changed == [{"sequence_length"}, {"layer_size"}, {"dropout"}]
    assert others[0].sequence_length > first.sequence_length
    assert others[1].layer_size > first.layer_size and others[2].dropout > 0
    none = lstm_problem.openings(presets.DEFAULT, small, 0.01, lambda config: False)
    assert none == ()
    few = lstm_problem.openings(
        presets.DEFAULT,
        small,
        0.01,
        lambda config: as_lstm_config(config).layer_size <= first.layer_size,
    )
    assert few == (first, others[0], others[2])


def test_where_windows_may_be_short_the_ladder_has_usual_ones_and_an_opening_the_shortest() -> None:
    space = presets.DEFAULT.settled(CorpusFacts(50_000, lambda: 2))
    small = lstm_problem.smallest(space, 12, lambda config: True)
    first, *others = lstm_problem.openings(space, small, 0.01, lambda config: True)
    assert small.sequence_length == first.sequence_length == 20
    assert [one.sequence_length for one in others[:2]] == [2, 56]
    assert [one.sequence_length for one in others[2:]] == [20, 20]
    # 32 windows would be a tenth of the symbols, as many symbols 320 windows
    assert others[0] == first.evolve(sequence_length=2, batch_size=128)


@pytest.mark.parametrize(
    "windows, short",
    [("5..10", 10), ("5,100", 5), ("12,30", 30), ("40..80", 40), ("10..100", 20), ("7", 7)],
)
def test_windows_of_the_ladder_are_as_near_to_20_symbols_as_the_space_has_them(
    windows: str, short: int
) -> None:
    space = with_settings(presets.DEFAULT, [f"sequence_length={windows}"])
    found = lstm_problem.smallest(space, 90, lambda config: True)
    assert found.sequence_length == short


@pytest.mark.parametrize("slots", [1, 3])
def test_a_search_begins_with_its_openings_whatever_comes_of_them(slots: int) -> None:
    played = play(Plan(trials=14), presets.DEFAULT, slots=slots)
    found = played.policy.space
    openings = [as_lstm_config(one.trial.config) for one in played.of(Phase.SEARCH)[:4]]
    assert len({one.layer_size for one in openings}) == 2
    assert len({one.sequence_length for one in openings}) == 2
    assert [one.dropout > 0 for one in openings] == [False, False, False, True]
    rates = [one.learning_rate for one in openings]
    assert rates[0] == rates[1] == rates[3] > rates[2], "a larger network has a lower rate"
    assert all(found.admits(one) for one in openings)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("trials", range(1, 11))
def test_a_sweep_of_any_few_trials_ends_with_a_result(trials: int, slots: int) -> None:
    played = play(Plan(trials=trials), slots=slots)
    assert [one.trial.number for one in played.all_progress] == list(range(trials))
    assert all(one.ended for one in played.all_progress)
    assert played.policy.stop == all_trials(trials)
    searched = played.of(Phase.SEARCH)
    assert any(one.ranked_loss is not None for one in searched)
    is_left_out = trials <= len(RATES)
    assert bool(played.of(Phase.LADDER)) is not is_left_out
    if is_left_out:  # then it keeps to the usual rate
        rates = [as_lstm_config(one.trial.config).learning_rate for one in searched]
        assert all(1e-4 <= rate <= 0.02 for rate in rates)
        assert played.policy.report().ladder is None
