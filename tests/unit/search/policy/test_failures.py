"""What failures of trials say of a search: a rate that diverges is a finding, the rest is not."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import pytest

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy.ladder import ends_of
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.sweep import StopReason
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial
from lstm_sweep.spaces.dimension import Listed
from tests.unit.search.policy.player import (
    SPACE,
    Curve,
    Curves,
    course_of,
    play,
    policy_of,
    usual,
    with_rounds,
)

FAILURES = [outcome for outcome in Outcome if not outcome.ranks]
ACCIDENTS = [outcome for outcome in Outcome if outcome.is_accident]
BOTH = SPACE.replace(direction=Listed("direction", ("uni", "bi")))
PLAN = Plan(trials=30)
#: which trials of a phase fail, counted from 0
PLACES = [
    (phase, nth)
    for phase, places in (
        (Phase.LADDER, (0, 2)),
        (Phase.SEARCH, (0, 3)),
        (Phase.CONFIRM, (1,)),
    )
    for nth in places
]


def failing(phase: Phase, nth: int, outcome: Outcome, *, after: int = 0) -> Curves:
    """Curves of which the `nth` of a phase ends so in each attempt, after a number of rounds."""
    seen: list[int] = []

    def curves(trial: Trial) -> Curve:
        if trial.phase is phase and trial.number not in seen:
            seen.append(trial.number)
        if seen[nth : nth + 1] == [trial.number]:
            return Curve(usual(trial).losses[:after], outcome)
        return usual(trial)

    return curves


def open_networks(policy: Policy) -> set[TrialConfig]:
    """A network of each direction, number and size of layers that may still be tried."""
    space = policy.space
    middle = {name: dimension.value_at(0.5) for name, dimension in space.items()}
    names = ("direction", "layers", "layer_size")
    every = itertools.product(*(space[name].values() or [] for name in names))
    configs = (TrialConfig.from_dict(middle | dict(zip(names, own, strict=True))) for own in every)
    return {
        one.evolve(learning_rate=0.01)
        for one in configs
        if not policy._search.memory.leaves_out(one)
    }


def rates(policy: Policy) -> tuple[float, float]:
    """The lowest and the highest rate that may still be tried."""
    return ends_of(policy.space[policy.space.rate or ""])


@functools.cache
def unharmed() -> Policy:
    """The policy of a sweep in which nothing has failed."""
    return play(PLAN, BOTH).policy


@pytest.mark.parametrize("phase, nth", PLACES)
@pytest.mark.parametrize("outcome", FAILURES)
def test_one_failure_wherever_it_is_takes_nothing_from_the_search(
    outcome: Outcome, phase: Phase, nth: int
) -> None:
    curves = failing(phase, nth, outcome)
    played = play(PLAN, BOTH, curves=curves)
    policy, failed = played.policy, played.of(phase)[nth]
    assert failed.ended and failed.ended.outcome is outcome
    assert failed.attempt == outcome.most_attempts(phase)
    lost = open_networks(unharmed()) - open_networks(policy)
    if outcome is Outcome.OUT_OF_MEMORY:  # those that need as much, if no such was trained
        needs = policy.problem.needs_as_much_memory
        assert all(needs(config, failed.config) for config in lost)
        trained = [one.config for one in played.all_progress if one.rounds]
        assert not lost or not any(needs(one, failed.config) for one in trained)
        assert bool(lost) == bool(policy.left_out())
    else:
        assert not lost
    directions = {one.direction for one in open_networks(policy)}
    assert directions == {one.direction for one in open_networks(unharmed())}
    (low, high), (lowest, highest) = rates(policy), rates(unharmed())
    if outcome.is_accident:  # else the rate is a worse one
        assert low <= 2 * lowest and high >= highest / 2
    assert policy.stop and policy.stop.reason is StopReason.TRIALS
    assert len(played.known) == PLAN.trials


@pytest.mark.parametrize("outcome", ACCIDENTS)
def test_accidents_alone_lose_no_patience(outcome: Outcome) -> None:
    def curves(trial: Trial) -> Curve:
        fails = trial.phase is Phase.SEARCH and 8 <= trial.number < 16
        return Curve([], outcome) if fails else usual(trial)

    played = play(Plan(trials=24, patience=6, halving=False, confirm_configs=0), curves=curves)
    assert len(played.known) > 16


CONFIG = TrialConfig(layers=2, layer_size=64, sequence_length=40, batch_size=64)
SMALLER = CONFIG.evolve(layer_size=32)


def sweep_with(*ends: tuple[TrialConfig, bool]) -> Policy:
    """A policy that has seen these configs: trained for a round, or out of memory."""
    policy = policy_of(Plan())
    for number, (config, fits) in enumerate(ends):
        progress = course_of(Trial(sweep="s", number=number, config=config, seed=1))
        policy.begin(progress)
        if fits:
            progress = with_rounds(progress, {"val_loss": 2.0, "round_seconds": 1.0})
            policy.note(progress)
        outcome = Outcome.COMPLETE if fits else Outcome.OUT_OF_MEMORY
        policy.end(progress.with_end(Ended(outcome), 1.0))
    return policy


@pytest.mark.parametrize(
    "trained, config, is_left_out",
    [
        ([SMALLER], CONFIG, True),
        ([SMALLER], CONFIG.evolve(batch_size=256, sequence_length=80), True),
        ([SMALLER], SMALLER, False),
        ([SMALLER], CONFIG.evolve(layer_size=128, batch_size=32), False),
        ([SMALLER], CONFIG.evolve(direction="bi", layer_size=128), False),
        # nothing smaller was trained, or as much
        ([], CONFIG, False),
        ([CONFIG.evolve(direction="bi", layer_size=16)], CONFIG, False),
        ([CONFIG.evolve(layers=3)], CONFIG, False),
        ([SMALLER, CONFIG.evolve(layer_size=80)], CONFIG, False),
    ],
)
def test_what_needs_as_much_as_a_config_that_ran_out_of_memory_is_left_out(
    trained: Sequence[TrialConfig], config: TrialConfig, is_left_out: bool
) -> None:
    for ends in itertools.permutations([(CONFIG, False), *((one, True) for one in trained)]):
        policy = sweep_with(*ends)
        assert policy._search.memory.leaves_out(config) is is_left_out
        lines = [f"s/{ends.index((CONFIG, False))} ran out of memory"]
        limits = trained == [SMALLER]
        assert [line.split(":")[0] for line in policy.left_out()] == (lines if limits else [])


def test_a_sweep_learns_how_much_fits_into_the_memory() -> None:
    """No network is tried that needs as much as one that failed, and each is tried twice."""

    def fits(trial: Trial) -> bool:
        config = as_lstm_config(trial.config)
        return config.layer_size * config.layers < 100

    played = play(
        Plan(trials=40, algorithm="random", confirm_configs=0),
        curves=lambda trial: usual(trial) if fits(trial) else Curve([], Outcome.OUT_OF_MEMORY),
        slots=1,
    )
    failed = [one for one in played.all_progress if not fits(one)]
    assert 1 <= len(failed) < 10
    assert all(one.attempt == 2 for one in failed)
    needs = played.policy.problem.needs_as_much_memory
    for earlier, later in itertools.combinations(failed, 2):
        assert not needs(later.config, earlier.config)
