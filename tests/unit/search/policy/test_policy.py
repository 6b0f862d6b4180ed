from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.policy import halving, ladder, lstm_problem
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.policy.proposer import ALGORITHMS, Observation, Proposal, Proposer
from lstm_sweep.search.policy.search_phase import noise
from lstm_sweep.search.trial import (
    Ended,
    Job,
    Outcome,
    Phase,
    Slot,
    Trial,
    TrialProgress,
    trial_seed,
)
from lstm_sweep.spaces import presets
from lstm_sweep.spaces.dimension import Listed, Range
from lstm_sweep.spaces.space import Space

SLOT = Slot(0)
UNIGRAM = 3.0
EXTENT = DataSize(symbols=100_000, alphabet=50, targets=1_000)
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: the best rate is 0.01, and 1 fails
SPACE = Space(
    {
        "learning_rate": Listed("learning_rate", RATES),
        "dropout": Range("dropout", 0.0, 0.5),
        "layers": Listed("layers", (1, 2)),
        "layer_size": Range("layer_size", 16, 64, step=16),
        "epochs": Listed("epochs", (9,)),
    }
)
#: twelve configs, one learning rate
SMALL = Space(
    {
        "direction": Listed("direction", ("uni", "bi")),
        "layers": Listed("layers", (1, 2, 3)),
        "batch_size": Listed("batch_size", (32, 64)),
        "epochs": Listed("epochs", (9,)),
    }
)
#: a plan that does nothing but search
PLAIN: dict[str, Any] = {
    "ladder": False,
    "halving": False,
    "early_stopping": 0,
    "confirm_configs": 0,
}


@dataclass(frozen=True)
class Curve:
    """What a trial would do if it were let alone."""

    losses: Sequence[float]
    outcome: Outcome = Outcome.COMPLETE
    #: of an epoch
    seconds: float = 1.0


Curves = Callable[[Trial], Curve]


def usual(trial: Trial) -> Curve:
    """Better near a learning rate of 0.01 and with little dropout; slower the larger it is."""
    config = as_lstm_config(trial.config)
    if config.learning_rate >= 1:
        return Curve([], Outcome.DIVERGED)
    chance = random.Random(trial.seed)
    floor = 1 + 0.3 * abs(math.log10(config.learning_rate) + 2) + 0.2 * config.dropout
    floor += 4 / config.layer_size + 0.02 * chance.random()
    losses = [floor + 1.2 * math.exp(-epoch / 3) for epoch in range(1, config.epochs + 1)]
    return Curve(losses, seconds=0.02 * config.layer_size * config.layers)


def always(*losses: float, outcome: Outcome = Outcome.COMPLETE) -> Curves:
    """Curves that are all the same."""
    return lambda trial: Curve(losses, outcome)


@dataclass
class Played:
    """A sweep that has been played to its end."""

    policy: Policy
    #: what is known of each trial, by its number
    known: dict[int, TrialProgress] = field(default_factory=dict)
    now: float = 0.0

    @property
    def all_progress(self) -> list[TrialProgress]:
        """What is known of all trials, in the order in which they were begun."""
        return list(self.known.values())

    def of(self, phase: Phase) -> list[TrialProgress]:
        return [progress for progress in self.all_progress if progress.trial.phase is phase]

    @property
    def story(self) -> list[tuple[Any, ...]]:
        """Everything that was decided."""
        return [(c.trial, c.began, c.seconds, len(c.epochs), c.ended) for c in self.all_progress]


def with_epochs(progress: TrialProgress, *epochs: dict[str, float]) -> TrialProgress:
    """The trial once these epochs have been trained too."""
    return replace(progress, epochs=(*progress.epochs, *epochs))


def course_of(trial: Trial, slot: Slot = SLOT, began: float = 0.0) -> TrialProgress:
    folder = Path("/none")
    job = Job(trial=trial, slot=slot, training=CorpusTraining(folder, 1, 0), folder=folder)
    return TrialProgress(trial, f"run-{trial.number}", slot, job, began=began)


def policy_of(
    plan: Plan,
    space: Space = SPACE,
    slots: int = 2,
    admits: Callable[[Config], bool] = lambda config: True,
    **known: Any,
) -> Policy:
    return Policy(plan, problem_of(space, admits, **known), sweep="s", slots=slots)


def problem_of(
    space: Space = SPACE, admits: Callable[[Config], bool] = lambda config: True, **known: Any
) -> SearchProblem:
    problem = lstm_problem.lstm_problem(space, EXTENT, unigram_loss=UNIGRAM, admits=admits)
    return replace(problem, **known)


def reason_of(policy: Policy) -> str:
    """Why no more trials are begun; empty while they are."""
    return policy.stop.text if policy.stop else ""


class Player:
    """Plays a sweep on slots as Sweep does; an epoch takes the seconds of its curve."""

    def __init__(self, policy: Policy, curves: Curves, slots: int) -> None:
        self.played = Played(policy)
        self._policy, self._curves = policy, curves
        self._free = [Slot(index) for index in range(slots)]
        #: when something is heard next, and of which trial
        self._events: list[tuple[float, int, int]] = []
        self._order = itertools.count()

    def play(self) -> Played:
        played, limit = self.played, self._policy.plan.seconds
        self._fill()
        while self._events:
            now, _, number = heapq.heappop(self._events)
            progress = played.known[number]
            if progress.ended:
                continue
            if limit is not None and now > limit:
                played.now = limit
                self._close(progress)
                continue
            played.now = now
            self._hear(progress)
            self._fill()
        assert all(progress.ended for progress in played.all_progress)
        return played

    def _fill(self) -> None:
        now = self.played.now
        while self._free and (trial := self._policy.next(now)):
            progress = course_of(trial, self._free.pop(0), now)
            self._policy.begin(progress)
            self.played.known[trial.number] = progress
            self._wait(trial.number, 1.0 + self._curves(trial).seconds)

    def _wait(self, number: int, seconds: float) -> None:
        heapq.heappush(self._events, (self.played.now + seconds, next(self._order), number))

    def _hear(self, progress: TrialProgress) -> None:
        curve, number = self._curves(progress.trial), progress.trial.number
        if len(progress.epochs) == len(curve.losses):
            self._end(progress, Ended(curve.outcome))
            return
        loss = curve.losses[len(progress.epochs)]
        progress = with_epochs(progress, {"val_loss": loss, "epoch_seconds": curve.seconds})
        self.played.known[number] = progress
        verdict = self._policy.judge(progress)
        if len(progress.epochs) == progress.trial.config.epochs:
            assert verdict is None
            verdict = Ended(Outcome.COMPLETE)
        if verdict:
            self._end(progress, verdict)
        else:
            self._wait(number, curve.seconds)

    def _end(self, progress: TrialProgress, ended: Ended) -> None:
        progress = progress.with_end(ended, self.played.now)
        self.played.known[progress.trial.number] = progress
        self._free.append(progress.slot)
        for other, why in self._policy.end(progress):
            assert other.ended is None
            self._end(self.played.known[other.trial.number], why)

    def _close(self, progress: TrialProgress) -> None:
        progress = progress.with_end(Ended(Outcome.STOPPED, "time is over"), self.played.now)
        self.played.known[progress.trial.number] = progress
        self._policy.end(progress)


def play(
    plan: Plan,
    space: Space = SPACE,
    *,
    curves: Curves = usual,
    slots: int = 2,
    admits: Callable[[Config], bool] = lambda config: True,
    **known: Any,
) -> Played:
    """Play a whole sweep."""
    return Player(policy_of(plan, space, slots, admits, **known), curves, slots).play()


# whole sweeps ----------------------------------------------------------------------------------

PLANS = [
    Plan(trials=24),
    Plan(trials=24, algorithm="random"),
    Plan(trials=30, algorithm="anneal", choices=1),
    Plan(trials=24, ladder=False),
    Plan(trials=24, halving=False, early_stopping=2),
    Plan(trials=24, confirm_configs=0),
    Plan(trials=24, patience=6),
    Plan(trials=40, seconds=120.0),
]
each_plan = pytest.mark.parametrize("plan", PLANS, ids=range(len(PLANS)))
each_slots = pytest.mark.parametrize("slots", [1, 4])


@each_plan
@each_slots
def test_phases_follow_each_other_and_numbers_too(plan: Plan, slots: int) -> None:
    all_progress = play(plan, slots=slots).all_progress
    assert [progress.trial.number for progress in all_progress] == list(range(len(all_progress)))
    order = [Phase.LADDER, Phase.SEARCH, Phase.CONFIRM]
    phases = [order.index(progress.trial.phase) for progress in all_progress]
    assert phases == sorted(phases)
    assert (0 in phases) == plan.ladder and 1 in phases


@each_plan
@each_slots
def test_no_config_is_tried_twice_except_to_confirm_it(plan: Plan, slots: int) -> None:
    played = play(plan, slots=slots)
    tried = [c.trial.config for c in played.of(Phase.LADDER) + played.of(Phase.SEARCH)]
    assert len(set(tried)) == len(tried)
    assert all(SPACE.admits(config) for config in tried)
    assert {c.trial.config for c in played.of(Phase.CONFIRM)} <= set(tried)


@each_plan
def test_a_sweep_is_a_pure_function_of_its_plan_and_what_trials_do(plan: Plan) -> None:
    plan = replace(plan, trials=18)
    assert play(plan, slots=3).story == play(plan, slots=3).story


def test_another_seed_gives_another_sweep() -> None:
    one, other = (play(Plan(trials=12, seed=seed)) for seed in (0, 1))
    assert one.of(Phase.SEARCH)[1].trial.config != other.of(Phase.SEARCH)[1].trial.config


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
    trials: int,
    slots: int,
    seed: int,
    halving: bool,
    confirm: tuple[int, int],
    algorithm: str,
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
    assert [progress.trial.number for progress in played.all_progress] == list(range(trials))
    assert reason_of(played.policy) == "the budget is spent"
    assert played.policy.next(played.now) is None
    confirmed = len(played.of(Phase.CONFIRM))
    assert confirmed <= min(trials / 4, confirm[0] * confirm[1])


def test_seeds_derive_from_the_seed_of_the_sweep_and_the_number() -> None:
    for progress in play(Plan(trials=12, seed=7)).all_progress:
        assert progress.trial.seed == trial_seed(7, progress.trial.number)
        assert progress.trial.id == f"s/{progress.trial.number}"


# the ladder ------------------------------------------------------------------------------------


def test_on_one_slot_rates_fall_until_one_is_worse() -> None:
    played = play(Plan(trials=10), slots=1)
    climbed = played.of(Phase.LADDER)
    assert [as_lstm_config(c.trial.config).learning_rate for c in climbed] == [
        1.0,
        0.1,
        0.01,
        0.001,
    ]
    decision = played.policy.ladder
    assert decision and decision.best == 0.01
    assert decision.reason.startswith("0.01 is best: ")


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 6, 9])
def test_the_ladder_finds_the_same_rate_on_any_number_of_slots(slots: int) -> None:
    policy = play(Plan(trials=10), slots=slots).policy
    assert policy.ladder and policy.ladder.best == 0.01
    assert policy.space["learning_rate"].values() == [0.001, 0.01, 0.1]


@each_slots
def test_the_search_keeps_to_the_best_rate_and_its_neighbours(slots: int) -> None:
    searched = play(Plan(trials=24), slots=slots).of(Phase.SEARCH)
    assert {as_lstm_config(c.trial.config).learning_rate for c in searched} == {0.001, 0.01, 0.1}


def test_free_slots_run_the_next_rates_and_those_not_needed_are_stopped() -> None:
    played = play(Plan(trials=10), slots=6, curves=lambda trial: slow_below(trial, 0.001))
    climbed = played.of(Phase.LADDER)
    assert [as_lstm_config(c.trial.config).learning_rate for c in climbed] == sorted(
        RATES, reverse=True
    )
    assert {c.began for c in climbed} == {0.0}  # all at once
    *_, needless, lowest = climbed
    reason = "the ladder has ended: "
    for progress in (needless, lowest):
        assert progress.ended and progress.ended.outcome is Outcome.STOPPED
        assert progress.ended.reason.startswith(f"{reason}0.01 is best: ")
        assert ", and 0.001 reached " in progress.ended.reason


def slow_below(trial: Trial, rate: float) -> Curve:
    """The usual curves, no chance in them; low rates take long."""
    config = as_lstm_config(trial.config)
    if config.learning_rate >= 1:
        return Curve([], Outcome.DIVERGED)
    floor = 1.3 + 0.3 * abs(math.log10(config.learning_rate) + 2)
    losses = [floor + 1 / epoch for epoch in range(1, config.epochs + 1)]
    return Curve(losses, seconds=9.0 if config.learning_rate < rate else 1.0)


def test_slots_wait_while_the_ladder_has_no_rate_left() -> None:
    policy = policy_of(Plan(trials=10), slots=9)
    begun = 0
    while trial := policy.next():
        policy.begin(course_of(trial))
        begun += 1
    assert begun == len(RATES)
    assert policy.next() is None and policy.stop is None


def test_rates_of_the_ladder_are_tried_on_the_smallest_network_that_is_admitted() -> None:
    played = play(Plan(trials=10), admits=lambda config: as_lstm_config(config).layer_size >= 32)
    for progress in played.of(Phase.LADDER):
        config = progress.trial.config
        assert (
            as_lstm_config(config).layers,
            as_lstm_config(config).layer_size,
            as_lstm_config(config).dropout,
        ) == (1, 32, 0.0)
        assert SPACE.decode(SPACE.encode(config)) == config


@pytest.mark.parametrize("epochs", [1, 3, 5])
def test_trials_of_the_ladder_end_when_they_have_said_what_they_can(epochs: int) -> None:
    played = play(Plan(trials=10), slots=1, ladder_epochs=epochs)
    survived = [c for c in played.of(Phase.LADDER) if c.epochs]
    assert {len(progress.epochs) for progress in survived} == {epochs}
    reason = f"a trial of the ladder takes {epochs} epochs"
    assert {progress.ended for progress in survived} == {Ended(Outcome.COMPLETE, reason)}


def test_where_no_rate_learns_the_search_goes_on_in_the_whole_space() -> None:
    played = play(Plan(trials=16), curves=always(*[UNIGRAM] * 9))
    decision = played.policy.ladder
    assert decision and decision.best is None
    assert decision.reason == "no rate came below 0.98 times guessing (3.0000)"
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
    "dimension, rates",
    [
        (Listed("learning_rate", RATES), RATES[::-1]),
        (Listed("learning_rate", (0.001, 0.01, 0.1)), (0.1, 0.01, 0.001)),
        (Listed("learning_rate", (0.01, 0.1)), ()),  # both would be left
        (Listed("learning_rate", (0.05, 0.06, 0.07, 0.08)), ()),
        (Range("learning_rate", 0.001, 0.1, log=True), (0.1, 0.01, 0.001)),
        (Range("learning_rate", 0.002, 0.1, log=True), ()),
    ],
)
def test_a_ladder_has_more_than_two_rates_or_none(
    dimension: Listed | Range, rates: tuple[float, ...]
) -> None:
    assert ladder.of(SPACE.replace(learning_rate=dimension)) == rates


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


def test_the_smallest_network_of_the_declared_space_takes_the_cheapest_steps() -> None:
    found = lstm_problem.smallest(presets.DEFAULT, 90, lambda config: True)
    assert found and presets.DEFAULT.admits(found)
    assert (found.direction, found.layers, found.layer_size, found.dropout) == ("uni", 2, 32, 0.0)
    assert (found.batch_size, found.sequence_length) == (32, 20)
    only_bi = presets.DEFAULT.replace(direction=Listed("direction", ("bi",)))
    bi = lstm_problem.smallest(only_bi, 90, lambda config: True)
    assert bi and bi.direction == "bi"


@pytest.mark.parametrize("slots", [1, 3])
def test_the_search_begins_with_a_middling_network_at_the_best_rate(slots: int) -> None:
    played = play(Plan(trials=12), slots=slots)
    first, *others = played.of(Phase.SEARCH)
    config = first.trial.config
    assert (
        as_lstm_config(config).learning_rate,
        as_lstm_config(config).layers,
        as_lstm_config(config).layer_size,
    ) == (
        0.01,
        1,
        48,
    )
    assert as_lstm_config(config).dropout == 0.0
    assert played.policy.space.decode(first.trial.point) == config
    assert config not in [other.trial.config for other in others]


@pytest.mark.parametrize(
    "admits, size",
    [
        (lambda config: config.layer_size < 48, 32),
        (lambda config: config.layer_size != 48, 64),  # the nearest one, by ratio
        (lambda config: config.layer_size > 48, 64),
    ],
)
def test_the_opening_is_admitted(admits: Callable[[Config], bool], size: int) -> None:
    small = lstm_problem.smallest(SPACE, 50, admits)
    found = lstm_problem.opening(SPACE, small, 0.01, admits)
    assert found == small.evolve(learning_rate=0.01, layer_size=size)
    assert lstm_problem.opening(SPACE, small, 0.01, lambda config: False) is None


def test_an_opening_that_is_the_ladders_own_config_is_not_tried_again() -> None:
    one_size = SPACE.replace(layer_size=Listed("layer_size", (32,)))
    played = play(Plan(trials=12), one_size)
    configs = [
        progress.trial.config
        for progress in played.all_progress
        if progress.trial.phase != "confirm"
    ]
    assert len(set(configs)) == len(configs)


# cut short -------------------------------------------------------------------------------------


def test_the_search_prunes_trials_that_fall_behind_and_says_why() -> None:
    played = play(Plan(trials=40))
    pruned = [c for c in played.of(Phase.SEARCH) if c.ended and c.ended.outcome is Outcome.PRUNED]
    assert len(pruned) > 10
    rungs = halving.rungs(9, problem_of().first_rung)
    assert {len(progress.epochs) for progress in pruned} <= set(rungs)
    for progress in pruned:
        assert progress.ended and progress.best_loss
        start = f"pruned at epoch {len(progress.epochs)}: {progress.best_loss:.4g} is not among"
        assert progress.ended.reason.startswith(start)


def test_two_go_on_from_the_first_rung_and_one_from_the_next() -> None:
    """Each is worse than the one before: of the first three to come two pass the first rung."""
    plan = Plan(**{**PLAIN, "trials": 3, "halving": True})
    played = play(plan, SMALL, curves=in_order([1.0, 2.0, 3.0]), slots=1, first_rung=1)
    assert [len(progress.epochs) for progress in played.all_progress] == [9, 3, 1]


def test_the_best_trial_of_the_search_is_never_pruned() -> None:
    searched = play(Plan(trials=40, ladder=False, confirm_configs=0)).of(Phase.SEARCH)
    best = min((c for c in searched if c.epochs), key=lambda c: c.epochs[0]["val_loss"])
    assert len(best.epochs) == 9


def test_without_halving_nothing_is_pruned_in_the_search() -> None:
    searched = play(Plan(trials=24, halving=False, early_stopping=0)).of(Phase.SEARCH)
    assert {len(progress.epochs) for progress in searched} == {9}


@pytest.mark.parametrize(
    "losses, patience, epochs, reason",
    [
        ([2, 1, 1, 1, 1, 1, 1, 1, 1], 3, 5, "no better since epoch 2"),
        ([2, 1, 1.5, 1.4, 1.3, 1.2, 1.1, 1, 1], 5, 7, "no better since epoch 2"),
        ([2, 1, 1, 1, 1, 1, 1, 1, 1], 1, 3, "no better since epoch 2"),
        ([2, 1, 1, 1, 1, 1, 1, 1, 1], 0, 9, ""),  # switched off
        ([2, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2], 1, 9, ""),  # always better
        ([2, 1, 1, 1, 0.9, 0.9, 0.9, 0.9, 0.9], 4, 9, ""),  # just in time, and then at the end
    ],
)
def test_a_trial_that_is_no_better_for_some_epochs_is_complete(
    losses: list[float], patience: int, epochs: int, reason: str
) -> None:
    plan = Plan(**{**PLAIN, "trials": 2, "early_stopping": patience})
    for progress in play(plan, SMALL, curves=always(*losses)).all_progress:
        assert len(progress.epochs) == epochs
        assert progress.ended == Ended(Outcome.COMPLETE, reason)


def test_a_trial_is_ended_once() -> None:
    policy = policy_of(Plan(**{**PLAIN, "early_stopping": 1}), SMALL)
    trial = policy.next()
    assert trial
    progress = course_of(trial)
    policy.begin(progress)
    progress = with_epochs(progress, {"val_loss": 1.0}, {"val_loss": 1.0})
    assert policy.judge(progress) == Ended(Outcome.COMPLETE, "no better since epoch 1")
    progress = with_epochs(progress, {"val_loss": 1.0})  # one more came before it was stopped
    assert policy.judge(progress) is None


# what TPE is told ------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[list[Observation]]:
    """What the proposer was told, each time it was asked."""
    found: list[list[Observation]] = []
    candidates = Proposer.candidates

    def listen(self: Proposer, number: int, seen: Sequence[Observation]) -> Iterator[Proposal]:
        found.append(list(seen))
        return candidates(self, number, seen)

    monkeypatch.setattr(Proposer, "candidates", listen)
    return found


def failing(trial: Trial) -> Curve:
    """The usual curves, but odd numbers fail after two epochs."""
    curve = usual(trial)
    return Curve(curve.losses[:2], Outcome.ERROR) if trial.number % 2 else curve


def test_a_failed_trial_is_told_without_a_loss_and_others_with_one(
    told: list[list[Observation]],
) -> None:
    played = play(Plan(**{**PLAIN, "trials": 12}), curves=failing, slots=1)
    last = told[-1]
    assert [trial.number for trial in last] == list(range(11))
    for trial in last:
        lost = trial.number % 2 or as_lstm_config(trial.config).learning_rate >= 1
        best = played.all_progress[trial.number].best_loss
        assert trial.loss == (None if lost else pytest.approx(best))
        assert not trial.pending


def test_trials_under_way_are_told_as_such(told: list[list[Observation]]) -> None:
    play(Plan(**{**PLAIN, "trials": 9}), SMALL, curves=always(*[2.0] * 9), slots=3)
    pending = [sum(trial.pending for trial in seen) for seen in told]
    assert pending[:3] == [0, 1, 2] and max(pending) == 2
    assert all(trial.loss is None for seen in told for trial in seen if trial.pending)


def test_trials_of_the_ladder_are_told_and_confirmations_are_not(
    told: list[list[Observation]],
) -> None:
    played = play(Plan(trials=24), slots=2)
    numbers = {trial.number for seen in told for trial in seen}
    assert numbers >= {c.trial.number for c in played.of(Phase.LADDER)}
    assert not numbers & {c.trial.number for c in played.of(Phase.CONFIRM)}


def test_points_of_the_ladder_are_told_if_they_lie_in_the_narrowed_space(
    told: list[list[Observation]],
) -> None:
    played = play(Plan(trials=10), slots=1)
    climbed = {as_lstm_config(t.config).learning_rate: t for t in told[-1] if t.number < 4}
    assert climbed[1.0].point == {}  # fails, and lies outside
    space = played.policy.space
    for rate in (0.1, 0.01, 0.001):
        assert space.decode(climbed[rate].point) == climbed[rate].config
    assert all(climbed[rate].loss is not None for rate in (0.1, 0.01, 0.001))


def test_what_a_trial_that_was_cut_short_would_come_to_is_no_worse_than_its_loss() -> None:
    played = play(Plan(trials=30))
    objective_values = played.policy.objective_values()
    cut = [c for c in played.of(Phase.SEARCH) if c.ended and c.ended.outcome is Outcome.PRUNED]
    assert cut
    for progress in cut:
        assert progress.best_loss is not None
        assert objective_values[progress.trial.number] <= progress.best_loss


def test_what_is_tried_is_the_cheapest_of_the_first_suggestions() -> None:
    policy = policy_of(Plan(**{**PLAIN, "trials": 9, "choices": 3}))
    proposer = Proposer(SPACE, seed=0)
    some = [p.config for p in itertools.islice(proposer.candidates(0, []), 3)]
    trial = policy.next()
    assert trial and trial.config == min(some, key=policy.epoch_seconds)
    blind = policy_of(Plan(**{**PLAIN, "trials": 9, "choices": 1})).next()
    assert blind and blind.config == some[0]


# confirmation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trials, configs, seeds, expected",
    [
        (50, 3, 3, [3, 3, 3]),
        (36, 3, 3, [3, 3, 3]),
        (50, 2, 4, [4, 4]),
        (50, 1, 3, [3]),
        (20, 3, 3, [3, 2]),  # a quarter is five: two configs, of which each has at least two
        (16, 3, 3, [2, 2]),
        (12, 3, 3, [3]),
        (8, 3, 3, [2]),
        (7, 3, 3, []),  # there is room for one, which would say nothing
        (50, 0, 3, []),
        (50, 3, 0, []),
        (50, 1, 1, [1]),
    ],
)
def test_the_best_configs_are_confirmed_with_at_most_a_quarter_of_the_budget(
    trials: int, configs: int, seeds: int, expected: list[int]
) -> None:
    plan = Plan(trials=trials, algorithm="random", confirm_configs=configs, confirm_seeds=seeds)
    played = play(plan, slots=1)
    counts = Counter(progress.trial.config for progress in played.of(Phase.CONFIRM))
    assert sorted(counts.values(), reverse=True) == expected
    assert len(played.all_progress) == trials


def test_on_more_slots_one_config_is_confirmed_if_one_was_asked_for() -> None:
    played = play(Plan(trials=50, confirm_configs=1, confirm_seeds=3), slots=2)
    assert len({progress.trial.config for progress in played.of(Phase.CONFIRM)}) == 1


def test_three_configs_with_a_seed_each_are_three_configs() -> None:
    played = play(Plan(trials=50, algorithm="random", confirm_configs=3, confirm_seeds=1))
    counts = Counter(progress.trial.config for progress in played.of(Phase.CONFIRM))
    assert max(counts.values()) == 1


def test_a_config_is_confirmed_with_no_more_seeds_than_were_asked_for() -> None:
    def one(trial: Trial) -> Curve:
        good = trial.number == 0 or trial.phase is Phase.CONFIRM
        return Curve([2.0] * 9) if good else Curve([], Outcome.ERROR)

    plan = Plan(trials=40, ladder=False, early_stopping=0, confirm_configs=3, confirm_seeds=3)
    played = play(plan, curves=one)
    assert len(played.of(Phase.CONFIRM)) <= 3


def test_a_confirmation_has_the_same_config_another_seed_and_all_epochs() -> None:
    played = play(Plan(trials=36, algorithm="random"))
    leaders = {progress.trial.config for progress in played.policy.leaders}
    confirmed = played.of(Phase.CONFIRM)
    assert {progress.trial.config for progress in confirmed} == leaders
    seeds = [c.trial.seed for c in played.all_progress if c.trial.config in leaders]
    assert len(set(seeds)) == len(seeds)
    assert {len(progress.epochs) for progress in confirmed} == {9}
    assert {progress.ended for progress in confirmed} == {Ended(Outcome.COMPLETE)}


def test_leaders_are_the_best_that_have_ended_and_were_not_confirmations() -> None:
    played = play(Plan(trials=36, algorithm="random"))
    tried = played.of(Phase.LADDER) + played.of(Phase.SEARCH)
    losses = sorted(c.ranked_loss for c in tried if c.ranked_loss is not None)
    assert [progress.ranked_loss for progress in played.policy.leaders] == losses[:3]


def test_confirmations_of_a_config_are_found() -> None:
    played = play(Plan(trials=36, algorithm="random"))
    best = played.policy.leaders[0].trial.config
    [found] = [one for one in played.policy.report().confirmed if one.first.trial.config == best]
    again = [c for c in played.of(Phase.CONFIRM) if c.trial.config == best]
    assert list(found.losses) == [progress.best_loss for progress in again]
    assert len(again) == 3


def test_where_every_trial_fails_nothing_is_confirmed() -> None:
    played = play(Plan(trials=20), curves=always(outcome=Outcome.ERROR))
    assert played.of(Phase.CONFIRM) == []
    assert reason_of(played.policy) == "no trial has a result"
    assert len(played.all_progress) == 15  # and what was kept for confirming is not used


# the end ---------------------------------------------------------------------------------------


def in_order(losses: Sequence[float], wobble: float = 0.0) -> Curves:
    """Trials whose best losses are those, by their number; epochs move by `wobble`."""

    def curve(trial: Trial) -> Curve:
        best = losses[min(trial.number, len(losses) - 1)]
        return Curve([best + (wobble if epoch % 2 else 0.0) for epoch in range(9)])

    return curve


@pytest.mark.parametrize(
    "losses, wobble, patience, expected",
    [
        ([2.0], 0.0, 3, 4),  # the first is the best, and three more follow
        ([2.0, 1.9, 1.8, 1.7, 1.7], 0.0, 3, 7),
        ([2.0, 2.0, 2.0, 1.5, 1.5], 0.0, 4, 8),
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
    assert len(played.all_progress) == expected
    ended_early = f"no better for {patience} trials"
    assert reason_of(played.policy) == (ended_early if expected < 30 else "the budget is spent")


def test_after_patience_the_best_are_confirmed_and_the_reason_stays() -> None:
    plan = Plan(**{**PLAIN, "trials": 40, "patience": 5, "confirm_configs": 2})
    played = play(plan, curves=in_order([2.0]), slots=1)
    assert (len(played.of(Phase.SEARCH)), len(played.of(Phase.CONFIRM))) == (6, 6)
    assert reason_of(played.policy) == "no better for 5 trials"


def test_failed_trials_are_trials_without_gain() -> None:
    plan = Plan(**{**PLAIN, "trials": 30, "patience": 4})
    played = play(plan, curves=always(outcome=Outcome.ERROR), slots=1)
    assert len(played.all_progress) == 4


@pytest.mark.parametrize(
    "losses, expected",
    [
        ([], 0.0),
        ([2.0], 0.0),
        ([2.0, 1.0], 0.0),  # only the second half counts
        ([9.0, 5.0, 1.0, 1.5], 0.5),
        ([9.0, 5.0, 3.0, 2.0, 2.1, 1.9, 2.2, 2.1], pytest.approx(0.2)),
    ],
)
def test_noise_is_the_typical_step_of_the_second_half(losses: list[float], expected: float) -> None:
    trial = Trial(sweep="s", number=0, config=TrialConfig(), seed=0)
    progress = with_epochs(course_of(trial), *({"val_loss": loss} for loss in losses))
    assert noise(progress.snapshot()) == expected


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_space_that_is_used_up_ends_the_search_with_a_reason(algorithm: str) -> None:
    plan = Plan(**{**PLAIN, "trials": 50, "algorithm": algorithm})
    played = play(plan, SMALL, curves=always(*[2.0] * 9), slots=3)
    assert {progress.trial.config for progress in played.all_progress} == set(SMALL.points())
    assert reason_of(played.policy) == "all 12 configs of the space that may be tried are begun"


def test_a_space_of_which_nothing_is_admitted_ends_at_once() -> None:
    played = play(Plan(trials=50), SMALL, admits=lambda config: False)
    assert played.all_progress == []
    assert reason_of(played.policy) == "all 0 configs of the space that may be tried are begun"


@each_slots
def test_a_space_that_is_used_up_may_be_confirmed_still(slots: int) -> None:
    plan = Plan(trials=50, halving=False, early_stopping=0)
    played = play(plan, SMALL, curves=in_order([2.0 - 0.1 * n for n in range(12)]), slots=slots)
    assert len(played.of(Phase.SEARCH)) == 12
    assert len(played.of(Phase.CONFIRM)) == 9
    assert reason_of(played.policy) == "all 12 configs of the space that may be tried are begun"


# time ------------------------------------------------------------------------------------------


def test_a_trial_whose_first_rung_cannot_be_reached_is_not_begun() -> None:
    plan = Plan(**{**PLAIN, "trials": 50, "seconds": 60.0})
    played = play(plan, SMALL, curves=always(*[2.0] * 9), slots=1)
    # each takes 10 s: a second to start and nine epochs
    assert [progress.began for progress in played.all_progress] == [
        0.0,
        10.0,
        20.0,
        30.0,
        40.0,
        50.0,
    ]
    assert all(c.ended and c.ended.outcome is Outcome.COMPLETE for c in played.all_progress)
    policy = policy_of(plan, SMALL, slots=1)
    trial = policy.next(59.99)
    assert trial is None
    least = min(policy.epoch_seconds(config) for config in SMALL.points())
    seconds = 3.0 + problem_of(SMALL).first_rung * least
    assert reason_of(policy).startswith("0 s are left, and a trial's first rung takes ")
    assert float(reason_of(policy).split()[-2]) >= math.floor(seconds)


def after_one_trial(
    space: Space, outcome: Outcome, first_rung: int = 1, confirm_configs: int = 0
) -> Policy:
    """A policy that saw one trial end after three epochs of ten seconds, and one to start it."""
    plan = Plan(**{**PLAIN, "trials": 50, "seconds": 100.0, "confirm_configs": confirm_configs})
    policy = policy_of(plan, space, slots=1, first_rung=first_rung)
    trial = policy.next(0.0)
    assert trial
    progress = course_of(trial)
    policy.begin(progress)
    progress = with_epochs(progress, *[{"val_loss": 2.0, "epoch_seconds": 10.0}] * 3)
    policy.end(progress.with_end(Ended(outcome), 31.0))
    return policy


ALIKE = Space({"dropout": Range("dropout", 0.0, 0.5), "epochs": Listed("epochs", (9,))})


@pytest.mark.parametrize(
    "first_rung, left, spent",
    [
        (1, 50.0, ""),
        (1, 11.5, ""),
        (1, 10.5, "10 s are left, and a trial's first rung takes 11 s"),
        (3, 50.0, ""),
        (3, 30.0, "30 s are left, and a trial's first rung takes 31 s"),
        (6, 50.0, "50 s are left, and a trial's first rung takes 61 s"),
    ],
)
def test_the_first_rung_has_to_fit_and_the_rest_has_not(
    first_rung: int, left: float, spent: str
) -> None:
    policy = after_one_trial(ALIKE, Outcome.ERROR, first_rung=first_rung)
    assert bool(policy.next(100.0 - left)) == (not spent)
    assert reason_of(policy) == spent


ONE = Space({"epochs": Listed("epochs", (9,))})


def test_a_confirmation_that_takes_too_long_is_not_begun() -> None:
    policy = after_one_trial(ONE, Outcome.COMPLETE, confirm_configs=1)
    assert policy.next(70.0) is None
    assert reason_of(policy) == "30 s are left, and another trial takes 31 s"


def test_a_confirmation_of_a_trial_that_was_pruned_needs_time_for_all_epochs() -> None:
    policy = after_one_trial(ONE, Outcome.PRUNED, confirm_configs=1)
    assert policy.next(50.0) is None  # nine epochs take 91 s


@each_slots
@pytest.mark.parametrize("seconds", [40.0, 90.0, 200.0])
def test_with_little_time_confirmations_are_begun_only_if_they_can_end(
    seconds: float, slots: int
) -> None:
    plan = Plan(
        algorithm="random",
        trials=200,
        seconds=seconds,
        ladder=False,
        halving=False,
        early_stopping=0,
    )
    played = play(plan, SMALL.replace(**BROAD), curves=always(*[2.0] * 9), slots=slots)
    confirmed = played.of(Phase.CONFIRM)
    assert all(c.ended and c.ended.outcome is Outcome.COMPLETE for c in confirmed)
    assert sum(c.seconds for c in confirmed) <= 0.25 * seconds * slots + 10.0 * slots
    reason = reason_of(played.policy)
    assert " s are left, " in reason or reason == "the budget is spent"


def test_a_config_that_is_too_dear_for_the_time_left_gives_way_to_a_cheaper_one() -> None:
    sizes = SPACE.replace(layer_size=Listed("layer_size", (16, 1024)))
    for seed in range(5):
        plan = Plan(**{**PLAIN, "trials": 50, "seconds": 100.0, "seed": seed, "choices": 1})
        policy = policy_of(plan, sizes, slots=1)
        dear, cheap = (
            policy.trial_seconds(
                TrialConfig(layers=1, layer_size=size), problem_of(sizes).first_rung
            )
            for size in (1024, 16)
        )
        left = (dear + 2 * cheap) / 3
        assert cheap < left < dear
        for _ in range(6):
            trial = policy.next(100.0 - left)
            assert trial and as_lstm_config(trial.config).layer_size == 16
            policy.begin(course_of(trial))


BROAD = {"dropout": Range("dropout", 0.0, 0.5)}


def test_a_trial_that_was_lost_is_tried_again_under_its_number() -> None:
    policy = policy_of(Plan(**{**PLAIN, "trials": 3, "early_stopping": 1}), SMALL)
    first = policy.next()
    assert first
    lost = course_of(first)
    policy.begin(lost)
    lost = with_epochs(lost, {"val_loss": 2.0})
    policy.judge(lost)
    policy.lose(lost.with_end(Ended(Outcome.LOST), 1.0))
    again = course_of(first.next_attempt())
    policy.begin(again)
    assert policy.trials == (again.snapshot(),)
    following = policy.next()
    assert following and following.number == 1 and following.config != first.config
    again = with_epochs(again, {"val_loss": 2.0}, {"val_loss": 2.0})
    assert policy.judge(again) == Ended(Outcome.COMPLETE, "no better since epoch 1")


def test_what_becomes_of_a_trial_outside_changes_nothing_that_a_policy_holds() -> None:
    policy = policy_of(Plan(**{**PLAIN, "trials": 9}), SMALL)
    trial = policy.next()
    assert trial
    epochs: list[dict[str, float]] = []
    progress = replace(course_of(trial), epochs=epochs)
    policy.begin(progress)
    epochs.append({"val_loss": 1.0})
    [held] = policy.trials
    assert (held.epochs, held.ended, policy.objective_values()) == ((), None, {})
    policy.objective_values()[0] = 0.5
    with pytest.raises(AttributeError):
        held.ended = Ended(Outcome.COMPLETE)  # type: ignore[misc]
    policy.end(progress.with_end(Ended(Outcome.COMPLETE), 1.0))
    [now] = policy.trials
    assert (now.best_loss, held.ended) == (1.0, None)
    assert policy.objective_values() == {0: 1.0}


# a sweep that goes on --------------------------------------------------------------------------


class Doubter(Player):
    """Compares each decision with that of a policy rebuilt from the trials alone."""

    def __init__(self, policy: Policy, curves: Curves, slots: int) -> None:
        super().__init__(policy, curves, slots)
        self._slots = slots
        #: numbers of trials, in order of their ends
        self._ended: list[int] = []
        self.compared = 0

    def _end(self, progress: TrialProgress, ended: Ended) -> None:
        self._ended.append(progress.trial.number)
        super()._end(progress, ended)

    def _fill(self) -> None:
        while self._free:
            trial = self._rebuilt().next(self.played.now)
            before = len(self.played.all_progress)
            free, self._free = self._free, self._free[:1]
            super()._fill()
            self._free = free[1:] if len(self.played.all_progress) > before else free
            assert trial == (self.played.all_progress[-1].trial if trial else None)
            self.compared += 1
            if trial is None:
                return

    def _rebuilt(self) -> Policy:
        policy = policy_of(self._policy.plan, SPACE, self._slots)
        under_way = [c for c in self.played.all_progress if c.ended is None]
        ended = [self.played.known[number] for number in self._ended]
        policy.restore(ended, [c.trial for c in under_way], extended=False)
        for progress in self.played.all_progress:
            if progress.ended is None:
                policy.begin(progress)
                for number in range(1, len(progress.epochs) + 1):
                    policy.note(replace(progress, epochs=progress.epochs[:number]))
        return policy


def out_of_order(trial: Trial) -> Curve:
    """Every other trial takes ten times as long, so that later ones end before it."""
    curve = usual(trial)
    return curve if trial.number % 2 else replace(curve, seconds=10 * curve.seconds)


@each_plan
@each_slots
@pytest.mark.parametrize("curves", [usual, out_of_order])
def test_a_rebuilt_policy_decides_what_the_first_one_would_have(
    plan: Plan, slots: int, curves: Curves
) -> None:
    player = Doubter(policy_of(plan, slots=slots), curves, slots)
    player.play()
    enough = player.compared >= plan.trials
    assert enough or reason_of(player.played.policy) != "the budget is spent"
    assert player.compared > 4


def test_more_trials_let_the_search_go_on() -> None:
    played = play(Plan(trials=24))
    rebuilt = policy_of(Plan(trials=40))
    rebuilt.restore(played.all_progress, [], extended=True)
    trial = rebuilt.next()
    assert trial and (trial.number, trial.phase) == (24, Phase.SEARCH)


def test_trials_that_wait_to_be_tried_again_have_not_ended() -> None:
    progress = course_of(Trial(sweep="s", number=0, config=TrialConfig(), seed=1))
    progress = progress.with_end(Ended(Outcome.LOST), 1.0)
    rebuilt = policy_of(Plan(ladder=False))
    rebuilt.restore([progress], [progress.trial.next_attempt()], extended=False)
    trial = rebuilt.next()
    assert trial and trial.number == 1


# memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, too_large",
    [
        ({}, True),
        ({"layer_size": 128}, True),
        ({"batch_size": 256, "sequence_length": 80}, True),
        ({"layer_size": 32}, False),
        ({"layer_size": 128, "batch_size": 32}, False),
        ({"direction": "bi", "layer_size": 128}, False),
    ],
)
def test_what_is_larger_than_a_config_that_used_up_the_memory_is_not_tried(
    changes: dict[str, Any], too_large: bool
) -> None:
    config = TrialConfig(layers=2, layer_size=64, sequence_length=40, batch_size=64)
    progress = course_of(Trial(sweep="s", number=0, config=config, seed=1))
    policy = policy_of(Plan())
    assert not policy.too_large(config)
    policy.begin(progress)
    policy.end(progress.with_end(Ended(Outcome.OUT_OF_MEMORY, "memory of the card"), 1.0))
    assert policy.too_large(config.evolve(**changes)) is too_large


def test_a_sweep_learns_how_much_fits_into_the_memory() -> None:
    def curves(trial: Trial) -> Curve:
        fits = as_lstm_config(trial.config).layer_size * as_lstm_config(trial.config).layers < 100
        return usual(trial) if fits else Curve([], Outcome.OUT_OF_MEMORY)

    plan = Plan(trials=40, algorithm="random", confirm_configs=0)
    played = play(plan, curves=curves, slots=1)
    exhausting: list[TrialConfig] = []
    for progress in played.all_progress:
        config = progress.trial.config
        assert not any(
            as_lstm_config(config).layers >= other.layers
            and as_lstm_config(config).layer_size >= other.layer_size
            and as_lstm_config(config).sequence_length >= other.sequence_length
            and as_lstm_config(config).batch_size >= other.batch_size
            and as_lstm_config(config).direction == other.direction
            for other in exhausting
        )
        if progress.ended and progress.ended.outcome is Outcome.OUT_OF_MEMORY:
            exhausting.append(as_lstm_config(config))
    assert exhausting
    assert len(exhausting) < 20


def test_a_rate_that_is_no_longer_needed_ends_when_a_sweep_goes_on() -> None:
    played = play(Plan(trials=24))
    waiting = next(c for c in played.of(Phase.LADDER) if c.ended and not c.ended.outcome.ranks)
    rebuilt = policy_of(Plan(trials=24))
    again = course_of(waiting.trial.next_attempt())
    rebuilt.restore(played.all_progress, [again.trial], extended=False)
    rebuilt.begin(again)
    ended = rebuilt.judge(with_epochs(again, {"val_loss": 2.0, "epoch_seconds": 1.0}))
    assert ended and ended.outcome is Outcome.STOPPED
    assert ended.reason.startswith("the ladder has ended: ")
