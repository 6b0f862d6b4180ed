"""Sweeps on a clock of its own: the program's policy, and trials that train nothing."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, Self

import numpy as np

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.policy.cost import DataSize, operations
from lstm_sweep.search.policy.lstm_problem import lstm_problem
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import RETURNED_LOSS, Ended, Outcome, Paused, Phase, Slot, Trial
from lstm_sweep.spaces.space import Space
from lstm_sweep.spaces.template.template import TemplateConfig

Said = RoundDone | Ended
#: what a trial says if it is let alone, each after so many seconds
Says = Callable[[Trial], Iterable[tuple[float, Said]]]

#: how trials end that run when the time is over, and when the sweep is broken off
OVER = Ended(Outcome.OUT_OF_TIME, "time is over")
BROKEN_OFF = Ended(Outcome.STOPPED, "time is over", unfinished=True)


class Simulation:
    """Plays a sweep on slots as its driver does, until its time is over or nothing is left."""

    def __init__(
        self, policy: Policy, says: Says, slots: int, *, resume_s: float = 0.0, tick_s: float = 0.0
    ) -> None:
        """A trial that waited goes on after `resume_s`; the clock is looked at each `tick_s`."""
        self.policy, self._says, self._resume_s = policy, says, resume_s
        self._tick_s = tick_s or math.inf
        self.now = 0.0
        #: what is known of each trial, by its number, in the order in which they were begun
        self.known: dict[int, Trial] = {}
        #: trials in the order in which they got slots
        self.placed: list[Trial] = []
        self._free = [Slot(index) for index in range(slots)]
        #: trials that have failed, and are tried again
        self._again: list[Trial] = []
        #: what each will say, and when something is said next, by which trial
        self._to_say: dict[int, Iterator[tuple[float, Said]]] = {}
        self._events: list[tuple[float, int, int, Said]] = []
        self._order = itertools.count()

    @property
    def trials(self) -> list[Trial]:
        return list(self.known.values())

    def of(self, phase: Phase) -> list[Trial]:
        return [one for one in self.trials if one.phase is phase]

    @property
    def best(self) -> float | None:
        losses = [one.ranked_loss for one in self.trials if one.ranked_loss is not None]
        return min(losses, default=None)

    @property
    def story(self) -> list[tuple[Any, ...]]:
        """Everything that was decided."""
        return [(c.planned(), c.began, c.seconds, len(c.rounds), c.ended) for c in self.trials]

    def run(
        self, until: float = math.inf, is_found: Callable[[Trial], bool] = lambda trial: False
    ) -> Self:
        """Run it to its end, or break it off at a time, or once one is found that was wanted."""
        limit = min(self.policy.plan.seconds or math.inf, until)
        self._fill()
        while self._events:
            now = min(self._events[0][0], self.now + self._tick_s)
            self.now = min(now, limit)
            if now > limit:
                break
            if now == self._events[0][0]:
                _, _, number, said = heapq.heappop(self._events)
                if self.known[number].ended:
                    continue
                self._hear(self.known[number], said)
                if is_found(self.known[number]):
                    return self
            for late, why in self.policy.overdue(now):
                self._end(self.known[late.number], why)
            self._fill()
        for one in [one for one in self.trials if not one.ended]:
            over = BROKEN_OFF if until < math.inf else OVER
            self.known[one.number] = one.with_end(over, self.now)
            self.policy.end(self.known[one.number])
        return self

    def _fill(self) -> None:
        while self._free and (trial := self._next()):
            waited = self.known.get(trial.number)
            goes_on = waited is not None and not waited.ended
            one = (waited if waited and goes_on else trial).with_slot(self._free.pop(0), self.now)
            self.policy.put(one)
            self.known[one.number] = one
            self.placed.append(trial)
            if not goes_on:
                self._to_say[one.number] = iter(self._says(one))
            self._wait(one.number, self._resume_s if goes_on else 0.0)

    def _next(self) -> Trial | None:
        if self._again:
            return self._again.pop(0)
        while (trial := self.policy.next(self.now)) is None:
            if not (dropped := self.policy.dropped()):
                return None
            for one, ended in dropped:
                assert self.known[one.number].paused
                self._end(self.known[one.number], ended)
        return trial

    def _wait(self, number: int, more: float = 0.0) -> None:
        seconds, said = next(self._to_say[number])
        if seconds + more:
            event = (self.now + more + seconds, next(self._order), number, said)
            heapq.heappush(self._events, event)
        else:
            self._hear(self.known[number], said)

    def _hear(self, one: Trial, said: Said) -> None:
        if isinstance(said, Ended):
            self._end(one, said)
            return
        one = self.known[one.number] = one.with_round(said)
        verdict = self.policy.judge(one)
        if isinstance(verdict, Paused):
            one = self.known[one.number] = one.with_pause(verdict, self.now)
            self._free.append(one.slot)
            self.policy.put(one)
        elif verdict:
            self._end(one, verdict)
        else:
            self._wait(one.number)

    def _end(self, one: Trial, ended: Ended) -> None:
        if not one.paused:
            self._free.append(one.slot)
        one = self.known[one.number] = one.with_end(ended, self.now)
        outcome = ended.outcome
        if outcome.is_accident and one.attempt < outcome.most_attempts(one.phase):
            self.policy.put(one)
            self._again.append(one.next_attempt())
            return
        for other, why in self.policy.end(one):
            assert other.ended is None
            self._end(self.known[other.number], why)


#: fields that no simulated loss depends on, with the values that they usually have
INDIFFERENT = {
    "state": "reset", "weight_decay": 0.0, "averaging": "off",
}  # fmt: skip
#: seconds between two looks at the clock, as in the loop of a real sweep
TICK_S = 0.5


class World(Protocol):
    """What trials do if they are let alone."""

    def problem(self, space: Space) -> SearchProblem:
        """What a search of a space may know of them beforehand."""

    def events(self, trial: Trial) -> list[tuple[float, RoundDone | Ended]]:
        """Seconds that pass before each thing that a trial says, and what that is."""


class Networks:
    """Networks of ours: what a round takes follows from its operations, but for some noise."""

    def __init__(self, data_size: DataSize, *, pace: float = 1.0) -> None:
        self.data_size = data_size
        self._rates = pace * np.array([1 / 60e9, 40e-6, 1e-9])

    def problem(self, space: Space) -> SearchProblem:
        """Their costs are known but for their scale."""
        return lstm_problem(space, self.data_size, untrained_loss=4.0)

    def round_seconds(self, config: Config) -> float:
        """What a round takes without the noise."""
        return float(operations(as_lstm_config(config), self.data_size) @ self._rates)

    def events(self, trial: Trial) -> list[tuple[float, RoundDone | Ended]]:
        """Losses fall to a floor, and rise again where little is dropped out."""
        config, chance = as_lstm_config(trial.config), random.Random(trial.seed)
        said: list[tuple[float, RoundDone | Ended]] = []
        if config.learning_rate >= 1:
            return [(4.0, Ended(Outcome.DIVERGED, "the loss is not finite"))]
        taste = random.Random(_name(config)).gauss(0, 0.04)
        floor = 1.3 + 0.25 * abs(math.log10(config.learning_rate) + 2.4) + taste
        floor += 3 / config.layer_size + chance.gauss(0, 0.015)
        tempo = chance.uniform(3, 6) * (config.batch_size / 64) ** 0.5
        overfit = 0.003 * max(0.0, 0.4 - config.dropout)
        for number in range(1, trial.planned_rounds + 1):
            epoch = trial.epochs_after(number)
            loss = floor + 1.5 * math.exp(-epoch / tempo) + overfit * max(0.0, epoch - 3 * tempo)
            loss += chance.gauss(0, 0.003)
            took = self.round_seconds(config) * chance.uniform(0.95, 1.1)
            took += chance.uniform(1.5, 4) if number == 1 else 0  # tracing
            metrics = {"val_loss": loss, "round_seconds": took}
            start = chance.uniform(0.3, 1) if number == 1 else 0
            said.append((took + start, RoundDone(number, metrics)))
        return [*said, (0.1, Ended(Outcome.COMPLETE))]


class Templates:
    """Networks of which nothing is known: a training takes about `seconds`, by its config."""

    def __init__(self, seconds: float, *, epochs: int = 5) -> None:
        self._seconds, self._epochs = seconds, epochs

    def problem(self, space: Space) -> SearchProblem:
        """Nothing is known."""
        return SearchProblem(space=space, objective=RETURNED_LOSS)

    def events(self, trial: Trial) -> list[tuple[float, RoundDone | Ended]]:
        """Trainings report epochs with a validation loss, and return a loss at the end."""
        assert isinstance(trial.config, TemplateConfig)
        own, chance = random.Random(repr(trial.config)), random.Random(trial.seed)
        took = self._seconds * own.uniform(0.6, 1.4) * chance.uniform(0.97, 1.03)
        floor = own.uniform(0.3, 0.9) + chance.gauss(0, 0.02)
        said: list[tuple[float, RoundDone | Ended]] = []
        for epoch in range(1, self._epochs + 1):
            loss = floor + math.exp(-epoch)
            metrics = {"val_loss": loss, "round_seconds": took / self._epochs}
            last = epoch == self._epochs
            said.append((took / self._epochs, RoundDone(epoch, metrics, last=last)))
        return [*said, (0.5, Ended(Outcome.COMPLETE, loss=floor))]


def simulation(policy: Policy, world: World, slots: int) -> Simulation:
    return Simulation(policy, world.events, slots, tick_s=TICK_S)


def simulate(plan: Plan, space: Space, world: World, *, slots: int) -> Simulation:
    """A whole sweep."""
    policy = Policy(plan, world.problem(space), sweep="s", slots=slots)
    return simulation(policy, world, slots).run()


def _name(config: TrialConfig) -> str:
    """A text from which what is random about a config is drawn."""
    values = config.to_dict().items()
    return str({name: value for name, value in values if INDIFFERENT.get(name) != value})
