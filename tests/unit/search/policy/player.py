"""A policy played against trials that cost nothing, on a clock of its own."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.search.policy import lstm_problem
from lstm_sweep.search.policy.cost import DataSize
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Phase, Slot, Trial
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
    #: of a round
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
    epochs = [trial.epochs_after(number) for number in range(1, trial.planned_rounds + 1)]
    losses = [floor + 1.2 * math.exp(-epoch / 3) for epoch in epochs]
    seconds = 0.02 * config.layer_size * config.layers
    return Curve(losses, seconds=seconds / trial.rounds_per_epoch)


def always(*losses: float, outcome: Outcome = Outcome.COMPLETE) -> Curves:
    """Curves that are all the same."""
    return lambda trial: Curve(losses, outcome)


@dataclass
class Played:
    """A sweep that has been played to its end."""

    policy: Policy
    #: what is known of each trial, by its number
    known: dict[int, Trial] = field(default_factory=dict)
    now: float = 0.0

    @property
    def all_progress(self) -> list[Trial]:
        """What is known of all trials, in the order in which they were begun."""
        return list(self.known.values())

    def of(self, phase: Phase) -> list[Trial]:
        return [progress for progress in self.all_progress if progress.phase is phase]

    @property
    def story(self) -> list[tuple[Any, ...]]:
        """Everything that was decided."""
        return [
            (c.planned(), c.began, c.seconds, len(c.rounds), c.ended) for c in self.all_progress
        ]


def with_rounds(progress: Trial, *epochs: dict[str, float]) -> Trial:
    """The trial once these epochs have been trained too."""
    return replace(progress, rounds=(*progress.rounds, *epochs))


def course_of(trial: Trial, slot: Slot = SLOT, began: float = 0.0) -> Trial:
    return trial.with_slot(slot, began)


def policy_of(
    plan: Plan,
    space: Space = SPACE,
    slots: int = 2,
    admits: Callable[[Config], bool] = lambda config: True,
    **known: Any,
) -> Policy:
    return Policy(plan, problem_of(space, admits, **known), sweep="s", slots=slots)


def problem_of(
    space: Space = SPACE,
    admits: Callable[[Config], bool] = lambda config: True,
    rounds_per_epoch: int = 1,
    **known: Any,
) -> SearchProblem:
    extent = replace(EXTENT, rounds_per_epoch=rounds_per_epoch)
    problem = lstm_problem.lstm_problem(space, extent, untrained_loss=UNIGRAM, admits=admits)
    return replace(problem, **known)


def reason_of(policy: Policy) -> str:
    """Why no more trials are begun; empty while they are."""
    return policy.stop.text if policy.stop else ""


class Player:
    """Plays a sweep on slots as Sweep does; a round takes the seconds of its curve."""

    def __init__(self, policy: Policy, curves: Curves, slots: int) -> None:
        self.played = Played(policy)
        self._policy, self._curves = policy, curves
        self._free = [Slot(index) for index in range(slots)]
        #: when something is heard next, and of which trial
        self._events: list[tuple[float, int, int]] = []
        self._order = itertools.count()
        #: trials in the order in which they got slots
        self.placed: list[Trial] = []
        #: trials that have failed, and are tried again
        self._again: list[Trial] = []

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
        for progress in self.played.all_progress:
            if progress.paused:  # the time is over
                self._close(progress)
        assert all(progress.ended for progress in played.all_progress)
        return played

    def _fill(self) -> None:
        now, known = self.played.now, self.played.known
        while self._free and (trial := self._next()):
            slot = self._free.pop(0)
            waited = known.get(trial.number)
            assert not waited or waited.ended or waited.paused
            progress = course_of(waited if waited and not waited.ended else trial, slot, now)
            self._policy.begin(progress)
            known[trial.number] = progress
            self.placed.append(trial)
            self._wait(trial.number, 1.0 + self._curves(trial).seconds)

    def _next(self) -> Trial | None:
        if self._again:
            return self._again.pop(0)
        while (trial := self._policy.next(self.played.now)) is None:
            if not (dropped := self._policy.dropped()):
                return None
            for one, ended in dropped:
                assert self.played.known[one.number].paused
                self._end(self.played.known[one.number], ended)
        return trial

    def _wait(self, number: int, seconds: float) -> None:
        heapq.heappush(self._events, (self.played.now + seconds, next(self._order), number))

    def _hear(self, progress: Trial) -> None:
        curve, number = self._curves(progress), progress.number
        if len(progress.rounds) == len(curve.losses):
            self._end(progress, Ended(curve.outcome))
            return
        loss = curve.losses[len(progress.rounds)]
        progress = with_rounds(progress, {"val_loss": loss, "round_seconds": curve.seconds})
        self.played.known[number] = progress
        verdict = self._policy.judge(progress)
        if len(progress.rounds) == progress.planned_rounds:
            assert verdict is None
            verdict = Ended(Outcome.COMPLETE)
        if isinstance(verdict, Paused):
            self._pause(progress, verdict)
        elif verdict:
            self._end(progress, verdict)
        else:
            self._wait(number, curve.seconds)

    def _pause(self, progress: Trial, paused: Paused) -> None:
        progress = progress.with_pause(paused, self.played.now)
        self.played.known[progress.number] = progress
        self._free.append(progress.slot)
        self._policy.pause(progress)

    def _end(self, progress: Trial, ended: Ended) -> None:
        if not progress.paused:
            self._free.append(progress.slot)
        progress = progress.with_end(ended, self.played.now)
        self.played.known[progress.number] = progress
        outcome = ended.outcome
        if outcome.is_accident and progress.attempt < outcome.most_attempts(progress.phase):
            self._policy.lose(progress)
            self._again.append(progress.next_attempt())
            return
        for other, why in self._policy.end(progress):
            assert other.ended is None
            self._end(self.played.known[other.number], why)

    def _close(self, progress: Trial) -> None:
        progress = progress.with_end(Ended(Outcome.OUT_OF_TIME, "time is over"), self.played.now)
        self.played.known[progress.number] = progress
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


PLANS = [
    Plan(trials=24),
    Plan(trials=24, algorithm="random"),
    Plan(trials=30, algorithm="anneal"),
    Plan(trials=24, ladder=False),
    Plan(trials=24, halving=False, early_stopping=2),
    Plan(trials=24, confirm_configs=0),
    Plan(trials=24, patience=6),
    Plan(trials=40, seconds=120.0),
]
each_plan = pytest.mark.parametrize("plan", PLANS, ids=range(len(PLANS)))
each_slots = pytest.mark.parametrize("slots", [1, 4])


def in_order(losses: Sequence[float], wobble: float = 0.0) -> Curves:
    """Trials whose best losses are those, by their number; epochs move by `wobble`."""

    def curve(trial: Trial) -> Curve:
        best = losses[min(trial.number, len(losses) - 1)]
        return Curve([best + (wobble if epoch % 2 else 0.0) for epoch in range(9)])

    return curve
