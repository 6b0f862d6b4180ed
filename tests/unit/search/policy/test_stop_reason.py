from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest

from lstm_sweep.models.config import TrialConfig, as_lstm_config
from lstm_sweep.search.policy.ladder import ends_of
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import (
    LargeNetwork,
    all_trials,
    out_of_patience,
    out_of_time,
)
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.sweep import Stop, StopReason, SweepStatus
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial
from lstm_sweep.spaces.dimension import Listed
from lstm_sweep.spaces.space import Space
from tests.simulated import Simulation
from tests.unit.search.policy.player import (
    PLAIN,
    PLANS,
    SMALL,
    SPACE,
    START_S,
    Curve,
    Curves,
    course_of,
    in_order,
    play,
    policy_of,
    reason_of,
    says,
    usual,
    with_rounds,
)

LITTLE_LEFT = "what is left of the 30 minutes is too short for another trial"


@pytest.mark.parametrize(
    "stop, text",
    [
        (all_trials(1), "the only trial is done"),
        (out_of_time(90.0, left=0.9), "the 1.5 minutes are over"),
        (out_of_time(60.0), "the minute is over"),
        (out_of_time(1800.0, left=30.0), "the 30 minutes are over"),
        (out_of_time(1800.0, left=100.0), LITTLE_LEFT),
        (out_of_patience(1), "the last trial was no better than those before"),
    ],
)
def test_the_sentence_says_what_is_spent(stop: Stop, text: str) -> None:
    assert stop.text == text


def test_a_sweep_with_a_result_does_not_look_like_a_failure() -> None:
    statuses = {
        state: [state.run_status(has_result=one) for one in (False, True)] for state in SweepStatus
    }
    assert statuses == {
        SweepStatus.FINISHED: ["FINISHED", "FINISHED"],
        SweepStatus.STOPPED: ["KILLED", "FINISHED"],
        SweepStatus.INTERRUPTED: ["KILLED", "FINISHED"],
        SweepStatus.PAUSED: ["KILLED", "FINISHED"],
        SweepStatus.FAILED: ["FAILED", "FAILED"],
    }


@pytest.mark.parametrize(
    "losses, wobble, patience, expected",
    [
        ([2.0], 0.0, 3, 4),  # the first is the best, and three more follow
        ([2.0, 1.9, 1.8, 1.7, 1.7], 0.0, 3, 7),
        ([2.0, 2.0, 2.0, 1.5, 1.5], 0.0, 2, 3),  # too early to find it
        ([2.0 - 0.01 * n for n in range(30)], 0.0, 3, 30),  # always better
        ([2.0 - 0.01 * n for n in range(30)], 0.2, 3, 4),  # 0.01 is no more than noise
        ([2.0 - 0.01 * n for n in range(30)], 0.2, 25, 30),  # but it adds up
    ],
)
def test_the_search_ends_when_nothing_gets_better(
    losses: list[float], wobble: float, patience: int, expected: int
) -> None:
    plan = Plan(**{**PLAIN, "trials": 30, "patience": patience})
    played = play(plan, curves=in_order(losses, wobble), slots=1)
    assert len(played.trials) == expected
    ended_early = f"the last {patience} trials were no better than those before"
    assert reason_of(played.policy) == (ended_early if expected < 30 else "all 30 trials are done")


class Doubter(Simulation):
    """Compares each decision with that of a policy rebuilt from the trials alone."""

    def __init__(
        self, plan: Plan, curves: Curves, slots: int, space: Space = SPACE, **known: Any
    ) -> None:
        """`known` is of the problem, as of `policy_of`."""
        self._make = functools.partial(policy_of, plan, space, slots, **known)
        super().__init__(self._make(), says(curves), slots, resume_s=START_S)
        #: numbers of trials, in order of their ends
        self._ended: list[int] = []
        self.compared = 0

    def _end(self, progress: Trial, ended: Ended) -> None:
        self._ended.append(progress.number)
        super()._end(progress, ended)

    def _fill(self) -> None:
        while self._free:
            rebuilt = self._rebuilt()
            trial, dropped = rebuilt.next(self.now), rebuilt.dropped()
            placed, free = len(self.placed), self._free
            self._free, tried_again = free[:1], list(self._again)
            super()._fill()
            taken = len(self.placed) > placed
            self._free = free[1:] if taken else free
            self.compared += 1
            if tried_again:  # they come first
                trial, dropped = tried_again[0], []
            if dropped:  # which ends them; what comes next is asked anew
                assert trial is None and all(self.known[o.number].ended for o, _ in dropped)
                if taken:
                    continue
            else:
                assert trial == (self.placed[-1] if taken else None)
            if trial is None:
                if rebuilt.stop and self.policy.stop:
                    assert rebuilt.stop.reason is self.policy.stop.reason
                return

    def _rebuilt(self) -> Policy:
        policy = self._make()
        open_ = [c for c in self.trials if c.ended is None]
        under_way = [*(c.planned() for c in open_ if not c.paused), *self._again]
        paused = [c for c in open_ if c.paused]
        last = list(dict.fromkeys(reversed(self._ended)))[::-1]
        ended = [self.known[number] for number in last if self.known[number].ended]
        policy.restore(ended, under_way, paused, extended=False)
        for progress in self.trials:
            if progress.ended is None and not progress.paused:
                policy.put(progress)
                for number in range(1, len(progress.rounds) + 1):
                    policy.note(replace(progress, rounds=progress.rounds[:number]))
        return policy


def out_of_order(trial: Trial) -> Curve:
    """Every other trial takes ten times as long, so that later ones end before it."""
    curve = usual(trial)
    return curve if trial.number % 2 else replace(curve, seconds=10 * curve.seconds)


def with_accidents(trial: Trial) -> Curve:
    """Every fifth trial fails, in turn by each accident; that of memory only at first."""
    accidents = [outcome for outcome in Outcome if outcome.is_accident]
    outcome = accidents[trial.number // 5 % len(accidents)]
    if trial.number % 5 != 1 or (outcome is Outcome.OUT_OF_MEMORY and trial.attempt > 1):
        return usual(trial)
    return Curve(usual(trial).losses[: trial.number % 3], outcome)


CURVES = [out_of_order, with_accidents]


@pytest.mark.parametrize("number", range(len(PLANS)))
def test_a_rebuilt_policy_decides_what_the_first_one_would_have(number: int) -> None:
    """In turn on few slots and on many, and with each of the curves."""
    plan = PLANS[number]
    sweep = Doubter(plan, CURVES[number % 2], slots=(1, 4)[number // 2 % 2])
    sweep.run()
    enough = sweep.compared >= plan.trials
    assert enough or not reason_of(sweep.policy).startswith("all ")
    assert sweep.compared > 4


def test_a_rebuilt_policy_knows_which_trial_is_not_compared_early() -> None:
    def large(best: float) -> list[LargeNetwork]:
        short = TrialConfig(layers=2, layer_size=64, dropout=0.125, learning_rate=best, epochs=12)
        longer = short.evolve(sequence_length=50)
        return [LargeNetwork(longer, 11, 3, 9), LargeNetwork(short, 1, 3, 9)]

    space = Space({**SPACE, "epochs": Listed("epochs", (12,))})
    known: dict[str, Any] = {"first_rung": 1, "large_openings": large}
    sweep = Doubter(Plan(trials=40, seconds=240.0), usual, 4, space, **known)
    played = sweep.run()
    both = [one for one in played.of(Phase.SEARCH) if as_lstm_config(one.config).layers == 2]
    [own] = (one for one in both if as_lstm_config(one.config).dropout == 0.125)
    assert len(own.rounds) >= 9
    assert sweep.compared > 20


@pytest.mark.parametrize(
    ("plan", "space", "reason"),
    [
        (Plan(trials=60, patience=3), SPACE, StopReason.PATIENCE),
        (Plan(trials=60, patience=3, seconds=900.0), SPACE, StopReason.PATIENCE),
        (Plan(trials=400, seconds=300.0), SPACE, StopReason.MINUTES),
        (Plan(trials=200, halving=False), SMALL, StopReason.SPACE),
        (Plan(trials=200, halving=False, seconds=900.0), SMALL, StopReason.SPACE),
        (Plan(trials=24, patience=30), SPACE, StopReason.TRIALS),
    ],
)
def test_why_the_search_has_ended_is_known_again_though_it_was_broken_off_later(
    plan: Plan, space: Space, reason: StopReason
) -> None:
    played = play(plan, space)
    assert played.policy.stop and played.policy.stop.reason is reason
    later = played.of(Phase.CONFIRM)[1:]
    again = {one.number for one in later}
    ended = [one for one in played.trials if one.number not in again]
    ended.sort(key=lambda one: one.began + one.seconds)
    rebuilt = policy_of(plan, space)
    rebuilt.restore(ended, [], extended=False)
    for one in later:
        rebuilt.put(replace(one, rounds=(), ended=None))
        rebuilt.end(one)
    assert rebuilt.next(played.now) is None
    assert rebuilt.stop and rebuilt.stop.reason is reason


def test_a_rate_that_is_no_longer_needed_ends_when_a_sweep_goes_on() -> None:
    played = play(Plan(trials=24), slots=6)
    waiting = played.of(Phase.LADDER)[-1]
    rebuilt = policy_of(Plan(trials=24))
    again = course_of(waiting.next_attempt())
    rebuilt.restore(played.trials, [again.planned()], extended=False)
    rebuilt.put(again)
    ended = rebuilt.judge(with_rounds(again, {"val_loss": 2.0, "round_seconds": 1.0}))
    assert isinstance(ended, Ended) and ended.outcome is Outcome.PRUNED
    assert ended.reason.startswith("its learning rate is not needed: ")


# What failures of trials say of a search: a rate that diverges is a finding, the rest is not


FAILURES = [outcome for outcome in Outcome if not outcome.ranks]
ACCIDENTS = [outcome for outcome in Outcome if outcome.is_accident]
BOTH = SPACE.replace(direction=Listed("direction", ("uni", "bi")))
PLAN = Plan(trials=30)
#: which trial of a phase fails, counted from 0
PLACES = [(Phase.LADDER, 2), (Phase.SEARCH, 0), (Phase.SEARCH, 3), (Phase.CONFIRM, 1)]


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


def test_networks_that_need_too_much_memory_become_rare() -> None:
    def fits(trial: Trial) -> bool:
        config = as_lstm_config(trial.config)
        return config.layer_size * config.layers < 60

    def failed(algorithm: str) -> list[Trial]:
        played = play(
            Plan(trials=60, algorithm=algorithm, confirm_configs=0),
            curves=lambda trial: usual(trial) if fits(trial) else Curve([], Outcome.OUT_OF_MEMORY),
            slots=1,
        )
        return [one for one in played.trials if not fits(one)]

    learned, drawn = failed("tpe"), failed("random")
    assert len(learned) < 0.6 * len(drawn) and all(one.attempt == 2 for one in learned)
