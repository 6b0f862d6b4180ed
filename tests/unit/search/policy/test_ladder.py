"""Learning rates from high to low on a small network, and the networks that follow them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy import lstm_problem
from lstm_sweep.search.policy.cost import PRIOR_FIXED, DataSize, prior_seconds, steps_per_round
from lstm_sweep.search.policy.ladder import (
    ENOUGH,
    FEWEST_STEPS,
    LADDER_SHARE,
    USUAL_RATES,
    BestRate,
    LadderDecision,
    Step,
    between_steps,
    decide,
    ladder_length,
    rates,
)
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import (
    Admits,
    LadderLength,
    SearchProblem,
    admits_all,
    all_trials,
)
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Dimension, Listed, Range
from lstm_sweep.spaces.space import Space
from tests.unit.search.policy.player import (
    RATES,
    SMALL,
    SPACE,
    UNIGRAM,
    Curve,
    always,
    course_of,
    play,
    policy_of,
    usual,
    with_rounds,
)

#: the rates of a ladder
DOWN = (1.0, 0.1, 0.01, 0.001, 0.0001)


def steps(*losses: float | None) -> list[Step]:
    """Steps of a ladder that begins at 1; rates without a loss are still to come."""
    known = [*losses, *[None] * (len(DOWN) - len(losses))]
    return [Step(rate, loss) for rate, loss in zip(DOWN, known, strict=True)]


@pytest.mark.parametrize(
    "dimension, expected",
    [
        (presets.DEFAULT["learning_rate"], (1.0, 0.1, 0.01, 0.001, 0.0001, 1e-5)),
        (Listed("learning_rate", (0.01,)), (0.01,)),
        (Listed("learning_rate", (0.001, 0.003, 0.01, 0.03, 0.1)), (0.1, 0.01, 0.001)),
        (Listed("learning_rate", (0.0001, 0.007, 0.02, 0.1)), (0.1, 0.007, 0.0001)),
        (Range("learning_rate", 2e-3, 0.5, log=True), (0.5, 0.05, 0.005)),
        (Range("learning_rate", 0.001, 0.1), (0.1, 0.01, 0.001)),
        (Range("learning_rate", 0.01, 0.11, step=0.05), (0.11, 0.01)),
    ],
)
def test_rates_go_down_by_ten_from_the_highest(
    dimension: Dimension, expected: tuple[float, ...]
) -> None:
    assert rates(dimension) == expected


@pytest.mark.parametrize(
    "known, best, reason",
    [
        ((), None, ""),  # it waits for more
        ((math.inf,), None, ""),
        ((2.95,), None, ""),  # hardly better than unigrams
        ((2.5, 2.0), None, ""),
        # it ends at the first that is worse, and what lies below is not needed
        ((2.5, 2.0, 2.0), 0.1, "0.1 is best, loss 2.0000; 0.01 reached 2.0000"),
        ((2.5, math.inf), 1.0, "1 is best, loss 2.5000; 0.1 diverged"),
        ((2.5, 2.6, None, 1.0), 1.0, "1 is best, loss 2.5000; 0.1 reached 2.6000"),
        # a step counts once all above it are known
        ((None, 2.0, 2.5), None, ""),
        ((2.5, 2.4, 2.3, 2.2, 2.1), 0.0001, "0.0001, the lowest rate, is best, loss 2.1000"),
        (
            (math.inf, 3.5, 2.99, 2.99, 2.99),
            None,
            "no rate came below 0.98 times the untrained loss (3.0000)",
        ),
    ],
)
def test_a_ladder_decides_from_what_is_known(
    known: tuple[float | None, ...], best: float | None, reason: str
) -> None:
    decision = decide(steps(*known), UNIGRAM)
    assert decision == (LadderDecision(best, reason) if reason else None)


NETWORK = TrialConfig(layers=2, layer_size=32, sequence_length=20, batch_size=32, epochs=27)


@pytest.mark.parametrize("slots", [1, 4, 16])
@pytest.mark.parametrize("minutes", [2, 10, 60])
@pytest.mark.parametrize("symbols", [100_000, 1_000_000, 30_000_000])
def test_the_ladder_takes_its_share_of_the_time_or_the_fewest_steps(
    symbols: int, minutes: float, slots: int
) -> None:
    size = DataSize(symbols, 90, 4_000, max(1, symbols // 300_000))
    length = ladder_length(NETWORK, size, 27 * size.rounds_per_epoch, 60 * minutes, slots)
    turns = math.ceil(USUAL_RATES / slots)
    taken = length.steps or math.floor((length.rounds or 0) * steps_per_round(NETWORK, size))
    score_s = prior_seconds(NETWORK, replace(size, symbols=0))
    step_s = (prior_seconds(NETWORK, size) - score_s) / steps_per_round(NETWORK, size)
    whole = turns * (PRIOR_FIXED + (length.rounds or 1) * score_s + taken * step_s)
    assert length.steps is None or (length.rounds == 1 and length.steps >= FEWEST_STEPS)
    assert taken >= ENOUGH * FEWEST_STEPS
    assert whole <= LADDER_SHARE * 60 * minutes or taken < FEWEST_STEPS + steps_per_round(
        NETWORK, size
    )


@pytest.mark.parametrize("slots", [1, 2, 3, 6, 9])
def test_the_ladder_finds_the_same_rate_on_any_number_of_slots(slots: int) -> None:
    policy = play(Plan(trials=10), slots=slots).policy
    assert policy.ladder and policy.ladder.best == 0.01
    # from an eighth of a tenth, for two layers four times as large, to twice the best one
    found = policy.space["learning_rate"].describe()
    assert found["scale"] == "log"
    assert 0.01 / 80 <= found["low"] <= 0.0003 and 0.01 < found["high"] < 0.032


def test_free_slots_run_the_next_rates_and_those_not_needed_are_stopped() -> None:
    def slow_if_low(trial: Trial) -> Curve:
        is_low = as_lstm_config(trial.config).learning_rate < 0.001
        return replace(usual(trial), seconds=9.0 if is_low else 1.0)

    played = play(Plan(trials=10), slots=6, curves=slow_if_low)
    climbed = played.of(Phase.LADDER)
    tried = [as_lstm_config(c.config).learning_rate for c in climbed]
    assert tried == sorted(RATES, reverse=True)
    assert {c.began for c in climbed} == {0.0}  # all at once
    *_, needless, lowest = climbed
    for progress in (needless, lowest):
        assert progress.ended and progress.ended.outcome is Outcome.PRUNED
        reason = "its learning rate is not needed: 0.01 is best, loss "
        assert progress.ended.reason.startswith(reason)
        assert "; 0.001 reached " in progress.ended.reason


@pytest.mark.parametrize(
    "rounds, per_epoch, said", [(1, 1, "1 epochs"), (5, 1, "5 epochs"), (3, 4, "0.75 epochs")]
)
def test_trials_of_the_ladder_end_when_they_have_said_what_they_can(
    rounds: int, per_epoch: int, said: str
) -> None:
    length = LadderLength(rounds)
    played = play(
        Plan(trials=10), slots=1, ladder_length=lambda *_: length, rounds_per_epoch=per_epoch
    )
    survived = [progress for progress in played.of(Phase.LADDER) if progress.rounds]
    assert {len(progress.rounds) for progress in survived} == {rounds}
    reason = f"{said}, as all trials of the ladder"
    assert {progress.ended for progress in survived} == {Ended(Outcome.COMPLETE, reason)}


FALLING = [2.5 - 0.1 * number for number in range(9)]


def tried(policy: Policy, losses: list[float]) -> Trial:
    """The next trial once it has these losses, or once it is to end."""
    trial = policy.next()
    assert trial
    policy.put(one := course_of(trial))
    for loss in losses:
        one = with_rounds(one, {"val_loss": loss})
        if ended := policy.judge(one):
            assert isinstance(ended, Ended)
            return one.with_end(ended, 9.0)
    return one


@pytest.mark.parametrize(
    ("before", "now", "losses", "rounds", "following"),
    [
        # though more minutes or slots would make it longer or shorter
        (LadderLength(3), LadderLength(2), FALLING, 3, 3),
        (LadderLength(3), LadderLength(1, 150), FALLING, 3, 3),
        (LadderLength(1, 200), LadderLength(2), FALLING, 1, 1),
        (LadderLength(1, 200), LadderLength(1, 150), FALLING, 1, 1),
        # one that stopped early makes no other shorter; None: to its own end, as in a template
        (LadderLength(6), LadderLength(6), [2.9] * 9, 3, 6),
        (LadderLength(None), LadderLength(None), [2.9] * 9, 3, 9),
    ],
)
def test_a_ladder_that_goes_on_is_trained_as_long_as_before(
    before: LadderLength, now: LadderLength, losses: list[float], rounds: int, following: int
) -> None:
    plan = Plan(early_stopping=2)
    first = tried(policy_of(plan, ladder_length=lambda *_: before), losses)
    assert first.ended and len(first.rounds) == rounds
    rebuilt = policy_of(plan, ladder_length=lambda *_: now)
    rebuilt.restore([first], [], extended=False)
    second = tried(rebuilt, FALLING)
    assert (second.phase, second.steps) == (Phase.LADDER, before.steps)
    assert len(second.rounds) == following
    assert bool(second.ended) is (before.rounds is not None)


TWO_RATES = SPACE.replace(learning_rate=Listed("learning_rate", (0.001, 0.01)))


@pytest.mark.parametrize(
    ("plan", "space", "loss", "climbed", "reason"),
    [
        (Plan(trials=16), SPACE, UNIGRAM, len(RATES),
         "no rate came below 0.98 times the untrained loss (3.0000)"),
        (Plan(trials=5), SMALL, 2.0, 0, "no rates to climb"),  # one rate
        (Plan(trials=5), TWO_RATES, 2.0, 0, "no rates to climb"),  # both would be left
        (Plan(trials=5, ladder=False), SPACE, 2.0, 0, "switched off"),
    ],
)  # fmt: skip
def test_where_no_rate_is_best_the_search_goes_on_in_the_whole_space(
    plan: Plan, space: Space, loss: float, climbed: int, reason: str
) -> None:
    played = play(plan, space, curves=always(*[loss] * 9))
    assert played.policy.ladder == LadderDecision(None, reason)
    assert len(played.of(Phase.LADDER)) == climbed
    assert played.policy.space == space


@pytest.mark.parametrize(
    "admits, expected",
    [
        (lambda config: True, (1, 16)),
        (lambda config: config.layer_size >= 40, (1, 48)),
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


def test_the_openings_differ_from_the_first_in_one_field_and_are_admitted() -> None:
    def found(admits: Admits) -> tuple[TrialConfig, ...]:
        small = lstm_problem.smallest(presets.DEFAULT, 90, admits_all)
        return lstm_problem.openings(presets.DEFAULT, small, 0.01, admits)

    first, longer, larger, dropping = found(admits_all)
    assert longer == first.evolve(sequence_length=longer.sequence_length)
    assert larger == first.evolve(layer_size=larger.layer_size)
    assert dropping == first.evolve(dropout=dropping.dropout)
    assert longer.sequence_length > first.sequence_length
    assert larger.layer_size > first.layer_size and dropping.dropout > 0
    no_larger = found(lambda config: as_lstm_config(config).layer_size <= first.layer_size)
    assert no_larger == (first, longer, dropping)
    assert found(lambda config: False) == ()


@pytest.mark.parametrize("slots", [1, 3])
def test_a_search_begins_with_its_openings_whatever_comes_of_them(slots: int) -> None:
    played = play(Plan(trials=14), presets.DEFAULT, slots=slots)
    openings = [as_lstm_config(one.config) for one in played.of(Phase.SEARCH)[:4]]
    assert len({one.layer_size for one in openings}) == 2
    assert len({one.sequence_length for one in openings}) == 2
    assert [one.dropout > 0 for one in openings] == [False, False, False, True]
    found = [one.learning_rate for one in openings]
    assert found[0] == found[1] == found[3] > found[2], "a larger network has a lower rate"
    assert all(played.policy.space.admits(one) for one in openings)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("trials", range(1, 11))
def test_a_sweep_of_any_few_trials_ends_with_a_result(trials: int, slots: int) -> None:
    played = play(Plan(trials=trials), slots=slots)
    assert played.policy.stop == all_trials(trials)
    searched = played.of(Phase.SEARCH)
    assert any(one.ranked_loss is not None for one in searched)
    is_left_out = trials <= len(RATES)
    assert bool(played.of(Phase.LADDER)) is not is_left_out
    if is_left_out:  # then it keeps to the usual rate
        tried = [as_lstm_config(one.config).learning_rate for one in searched]
        assert all(1e-4 <= rate <= 0.02 for rate in tried)
        assert played.policy.ladder_report() is None


NETWORK_OF_32 = TrialConfig(layer_size=32)


def by_size(config: Config) -> float:
    return 32 / as_lstm_config(config).layer_size


def found_in(
    dimension: Dimension, *losses: float, listed: bool = False, untrained: float | None = UNIGRAM
) -> BestRate:
    """What comes of a ladder over a dimension with these losses, sizes 32 to 512."""
    space = Space({"learning_rate": dimension, "layer_size": Range("layer_size", 32, 512, 16)})
    known = [*losses, *[None] * len(rates(dimension))]
    steps = [Step(rate, loss) for rate, loss in zip(rates(dimension), known, strict=False)]
    best = min(steps, key=lambda step: math.inf if step.loss is None else step.loss).rate
    space.stands_in = "template" if listed else ""
    problem = SearchProblem(
        space=space, untrained_loss=untrained, rate_share=by_size, lowest_rate_share=32 / 512
    )
    return BestRate(problem, steps, best)


DECADES = Listed("learning_rate", (1e-4, 1e-3, 1e-2, 1e-1, 1.0))


@pytest.mark.parametrize(
    "above, own, below, expected",
    [
        (2.5, 2.0, 2.5, 0.01),  # as steep to both sides
        (math.inf, 2.0, 3.0, 0.01),  # a failure counts as unigrams
        (9.0, 2.0, 3.0, 0.01),  # so does a loss that is worse
        (2.0, 2.0, 3.0, 0.032),  # half way up
        (3.0, 2.0, 2.0, 0.0032),
        (2.206, 2.006, 3.17, 0.022),
        (3.17, 2.006, 2.205, 0.0046),
    ],
)
def test_the_best_rate_lies_between_the_neighbours_of_the_best_step(
    above: float, own: float, below: float, expected: float
) -> None:
    steps = [Step(0.1, above), Step(0.01, own), Step(0.001, below)]
    assert between_steps(steps, 0.01, UNIGRAM) == expected


def test_decades_become_a_range_that_holds_the_best_rates_of_all_sizes() -> None:
    rate = found_in(DECADES, math.inf, math.inf, 2.0, 3.0)  # 0.01, for 32 units
    kept = rate.narrowed["learning_rate"]
    # a tenth of what suits 512 units, to twice what suits 32
    assert kept.describe() == {"low": 1e-4, "high": 0.02, "scale": "log"}
    assert 0.01 in kept and 0.0037 in kept and 0.00371 not in kept


@pytest.mark.parametrize(
    "losses, kept",
    [
        ((math.inf, 2.9, 2.0, 2.5), [0.001, 0.01]),  # 0.1 has lost clearly
        ((math.inf, math.inf, 2.0, 2.5), [0.001, 0.01]),
        ((2.0, 2.5), [0.1, 1.0]),
    ],
)
def test_of_a_template_listed_rates_are_kept_that_have_not_lost(
    losses: tuple[float, ...], kept: list[float]
) -> None:
    rate = found_in(DECADES, *losses, listed=True)
    assert rate.narrowed["learning_rate"].values() == kept
    config = NETWORK_OF_32.evolve(layer_size=512, learning_rate=0.01)
    assert rate.suits(config) and rate.suited(config) == config


listed = st.lists(st.floats(1e-6, 10), min_size=1, max_size=12, unique=True).map(
    lambda values: Listed("learning_rate", tuple(sorted(values)))
)
log_range = st.tuples(st.floats(1e-6, 1.0), st.floats(1.1, 1e6)).map(
    lambda ends: Range("learning_rate", ends[0], min(ends[0] * ends[1], 1e3), log=True)
)
stepped = st.integers(1, 300).map(
    lambda steps: Range("learning_rate", 0.01, 0.01 + 0.05 * steps, step=0.05)
)


@given(
    dimension=listed | log_range | stepped,
    losses=st.lists(st.floats(1.0, 3.5), min_size=7, max_size=7),
    share=st.floats(0, 1, exclude_max=True),
)
def test_the_search_never_leaves_the_space_and_keeps_a_best_rate(
    dimension: Dimension, losses: list[float], share: float
) -> None:
    rate = found_in(dimension, *losses)
    space = rate.narrowed
    kept = space["learning_rate"]
    values = [float(value) for value in dimension.values() or []]
    low = values[0] if values else getattr(dimension, "low", math.nan)
    high = values[-1] if values else getattr(dimension, "high", math.nan)
    drawn = float(kept.value_at(share))
    assert low * (1 - 1e-9) <= drawn <= high * (1 + 1e-9)
    is_free = isinstance(dimension, Range) and not dimension.step
    by_tens = len(values) > 2 and all(9 < high / low < 11 for low, high in pairwise(values))
    assert is_free or by_tens or drawn in dimension
    suited = as_lstm_config(rate.suited(NETWORK_OF_32.evolve(learning_rate=rate.rate)))
    assert suited.learning_rate in kept and rate.suits(suited)
