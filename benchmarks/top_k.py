"""The plainest rule that saves time: train all for one rung, and only the best of them to the end.

Egele et al. (Is One Epoch All You Need For Multi-Fidelity Hyperparameter Optimization?, arXiv
2307.15422) find it as good as methods with many rungs. Here it goes on without an end: random
configs come in groups, and the best of each group are trained on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.progress import TrialProgress, TrialSnapshot
from lstm_sweep.search.trial import Ended, Paused, Trial, trial_seed


@dataclass(frozen=True)
class TopK:
    """Of each `group` of configs the best `keep` are trained to their end."""

    group: int = 27
    keep: int = 3
    seed: int = 0


class TopKPolicy:
    """Searches by this rule; it has those methods of `Policy` that a replay needs."""

    def __init__(
        self, rule: TopK, problem: SearchProblem, configs: Iterable[TrialConfig], *, sweep: str
    ) -> None:
        self._rule, self._problem, self._sweep = rule, problem, sweep
        found = list(configs)
        order = np.random.default_rng(rule.seed).permutation(len(found))
        self._new = deque(found[int(index)] for index in order)
        #: trials that have begun, by number
        self.trials: dict[int, TrialSnapshot] = {}
        #: loss at the rung of each trial of the group that is not complete
        self._group: dict[int, float] = {}
        #: trials that go on, the best first
        self._kept: deque[int] = deque()

    def next(self, gone: float) -> Trial | None:
        """The trial that a free slot goes on with or begins; None if there is none."""
        if self._kept:
            return self.trials[self._kept.popleft()].trial
        if not self._new:
            return None
        number = len(self.trials)
        return Trial(
            sweep=self._sweep,
            number=number,
            config=self._new.popleft(),
            seed=trial_seed(self._rule.seed, number),
            rounds_per_epoch=self._problem.rounds_per_epoch,
        )

    def begin(self, progress: TrialProgress) -> None:
        """A trial has begun or goes on."""
        self.trials[progress.trial.number] = progress.snapshot()

    def judge(self, progress: TrialProgress) -> Ended | Paused | None:
        """At the rung a trial waits; after it it goes on."""
        if len(progress.rounds) != min(self._problem.first_rung, progress.trial.rounds):
            return None
        return Paused("it has come to the rung")

    def pause(self, progress: TrialProgress) -> None:
        """A trial waits at the rung."""
        one = self.trials[progress.trial.number] = progress.snapshot()
        self._rank(one.trial.number, one.best_so_far[-1])

    def end(self, progress: TrialProgress) -> list[tuple[TrialSnapshot, Ended]]:
        """A trial has ended; no other ends for it."""
        one = self.trials[progress.trial.number] = progress.snapshot()
        if len(one.rounds) < self._problem.first_rung:
            self._rank(one.trial.number, float("inf"))
        return []

    def dropped(self) -> list[tuple[TrialSnapshot, Ended]]:
        """Trials that wait and will not go on: they need not be ended."""
        return []

    def _rank(self, number: int, loss: float) -> None:
        self._group[number] = loss
        if len(self._group) < self._rule.group and (self._new or self._waits_for_others()):
            return
        best = sorted(self._group, key=lambda n: self._group[n])[: self._rule.keep]
        self._kept.extend(n for n in best if self.trials[n].ended is None)
        self._group.clear()

    def _waits_for_others(self) -> bool:
        """Whether a trial runs that has not come to the rung."""
        return any(
            one.ended is None and not one.paused and number not in self._group
            for number, one in self.trials.items()
            if len(one.rounds) < self._problem.first_rung
        )
