"""Sweeps on a simulated clock: the program's own policy, and trials that take time as real ones."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lstm_sweep.models.config import Config, TrialConfig, as_lstm_config
from lstm_sweep.search.policy.cost import DataSize, operations
from lstm_sweep.search.policy.lstm_problem import lstm_problem
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import (
    RETURNED_LOSS,
    Ended,
    Outcome,
    Paused,
    Phase,
    RoundDone,
    Slot,
    Trial,
)
from lstm_sweep.spaces.space import Space
from lstm_sweep.spaces.template.template import TemplateConfig

#: fields that no simulated loss depends on, with the values that they usually have
INDIFFERENT = {
    "state": "reset", "weight_decay": 0.0, "averaging": "off",
}  # fmt: skip
#: seconds between two looks at the clock, as in the loop of a real sweep
TICK_S = 0.5
#: seconds until a worker that is killed is gone
KILL_S = 0.3


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


@dataclass
class Simulated:
    """A sweep that has been simulated to its end."""

    policy: Policy
    all_progress: list[Trial]
    seconds: float

    def of(self, phase: Phase) -> list[Trial]:
        """Its trials of a phase."""
        return [progress for progress in self.all_progress if progress.phase is phase]

    @property
    def best(self) -> float | None:
        """The lowest loss."""
        losses = [c.ranked_loss for c in self.all_progress if c.ranked_loss is not None]
        return min(losses, default=None)


class Simulation:
    """One sweep, until its time is over or nothing is left to be tried."""

    def __init__(self, policy: Policy, world: World, slots: int) -> None:
        self._policy, self._world = policy, world
        self._free = [Slot(index) for index in range(slots)]
        #: what is known of each trial, by its number
        self._known: dict[int, Trial] = {}
        #: when something is said, of which trial, and what
        self._queue: list[tuple[float, int, int, RoundDone | Ended | Paused]] = []
        self._said: dict[int, list[tuple[float, RoundDone | Ended]]] = {}
        self._stopped: set[int] = set()
        self._order = itertools.count()
        self._now = 0.0

    def run(self, until: float | None = None) -> Simulated:
        """Run it to the end, or up to a time at which it is broken off."""
        limit = min(self._policy.plan.seconds or math.inf, until or math.inf)
        self._fill()
        while self._running() and self._now < limit:
            upcoming = self._queue[0][0] if self._queue else math.inf
            self._now = min(upcoming, self._now + TICK_S, limit)
            while self._queue and self._queue[0][0] <= self._now:
                _, _, number, said = heapq.heappop(self._queue)
                progress = self._known[number]
                if progress.ended is None and (
                    isinstance(said, Ended | Paused) or not self._stops(progress)
                ):
                    self._hear(progress, said)
            if self._now < limit:
                for late, why in self._policy.overdue(self._now):
                    self._stop(self._known[late.number], why)
                self._fill()
        cut = Outcome.OUT_OF_TIME if until is None else Outcome.STOPPED
        over = Ended(cut, "time is over", until is not None)
        for progress in [one for one in self._known.values() if one.ended is None]:
            self._policy.end(self._note(progress.with_end(over, self._now)))
        return Simulated(self._policy, list(self._known.values()), self._now)

    def _running(self) -> list[Trial]:
        waiting = (progress for progress in self._known.values() if progress.ended is None)
        return [progress for progress in waiting if not progress.paused]

    def _note(self, progress: Trial) -> Trial:
        self._known[progress.number] = progress
        return progress

    def _stops(self, progress: Trial) -> bool:
        return progress.number in self._stopped

    def _fill(self) -> None:
        while self._free and (trial := self._next()):
            slot, waited = self._free.pop(0), self._known.get(trial.number)
            if not waited:
                self._said[trial.number] = self._world.events(trial)
            progress = (waited or trial).with_slot(slot, self._now)
            self._policy.begin(self._note(progress))
            self._wait(progress)

    def _next(self) -> Trial | None:
        """The next trial; those that wait and are not needed any more end."""
        while (trial := self._policy.next(self._now)) is None:
            if not (dropped := self._policy.dropped()):
                return None
            for one, why in dropped:
                ended = self._known[one.number].with_end(why, self._now)
                self._policy.end(self._note(ended))
        return trial

    def _wait(self, progress: Trial) -> None:
        number = progress.number
        seconds, said = self._said[number].pop(0)
        heapq.heappush(self._queue, (self._now + seconds, next(self._order), number, said))

    def _stop(self, progress: Trial, why: Ended | Paused) -> None:
        assert not self._stops(progress)
        number = progress.number
        self._stopped.add(number)
        heapq.heappush(self._queue, (self._now + KILL_S, next(self._order), number, why))

    def _hear(self, progress: Trial, said: RoundDone | Ended | Paused) -> None:
        if isinstance(said, RoundDone):
            progress = self._note(progress.with_round(said))
            verdict = self._policy.judge(progress)
            if verdict:
                self._stop(progress, verdict)
            else:
                self._wait(progress)
            return
        if isinstance(said, Paused):
            self._stopped.discard(progress.number)
            progress = self._note(progress.with_pause(said, self._now))
            self._free.append(progress.slot)
            self._policy.pause(progress)
            return
        progress = self._note(progress.with_end(said, self._now))
        self._free.append(progress.slot)
        for other, why in self._policy.end(progress):
            if other.number not in self._stopped:
                self._stop(self._known[other.number], why)


def simulate(plan: Plan, space: Space, world: World, *, slots: int) -> Simulated:
    """A whole sweep."""
    policy = Policy(plan, world.problem(space), sweep="s", slots=slots)
    return Simulation(policy, world, slots).run()


def _name(config: TrialConfig) -> str:
    """A text from which what is random about a config is drawn."""
    values = config.to_dict().items()
    return str({name: value for name, value in values if INDIFFERENT.get(name) != value})
