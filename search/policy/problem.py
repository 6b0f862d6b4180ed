"""`SearchProblem`: what a search is told of a task before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.cost import Costs
from lstm_sweep.search.values.trial import VALIDATION_LOSS, Objective
from lstm_sweep.spaces.space import Space

#: whether a config may be tried
Admits = Callable[[Config], bool]


@dataclass(frozen=True)
class LadderLength:
    """How long a trial of the ladder is trained."""

    #: None: as many as any trial
    rounds: int | None = None
    #: steps of the optimizer if it ends within its first round, else None
    steps: int | None = None


@dataclass(frozen=True)
class LargeNetwork:
    """A large network with which a search may begin later."""

    config: Config
    #: rounds for which there has to be time: with fewer, another one is better
    rounds: int
    #: rounds of another trial before it is begun: by then cheap networks have shown what they are
    #: worth
    begun_after: int
    #: the rung at which it is compared with others for the first time
    judged_from: int


def admits_all(config: Config) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class SearchProblem:
    """What is searched, and what is known of trials beforehand; by default nothing is."""

    space: Space
    objective: Objective = VALIDATION_LOSS
    admits: Admits = admits_all
    #: loss of a trial that has learned nothing; None if nobody knows
    untrained_loss: float | None = None
    #: makes what predicts the seconds of trials
    costs: Callable[[], Costs] = Costs
    #: config of the ladder's trials, but for their learning rate; None: the middle of the space
    smallest: Config | None = None
    #: whether a trial can wait after a round, and go on later
    pausable: bool = False
    #: rounds into which each epoch is divided
    rounds_per_epoch: int = 1
    #: round after which trials are judged for the first time
    first_rung: int = 1
    #: how long a trial of the ladder is trained, by the seconds that the sweep may take (None: no
    #: limit) and its slots
    ladder_length: Callable[[float | None, int], LadderLength] = lambda limit, slots: LadderLength()
    #: best learning rate of a config, as a share of that of the ladder's network; and the lowest
    #: one in the space
    rate_share: Callable[[Config], float] = lambda config: 1.0
    lowest_rate_share: float = 1.0
    #: with what the search begins, by the best learning rate; empty if nothing is more sensible
    openings: Callable[[float, Admits], Sequence[Config]] = lambda best_rate, admits: ()
    #: large networks, the most promising first, of which one may be a later opening, by the best
    #: learning rate
    large_openings: Callable[[float], Sequence[LargeNetwork]] = lambda best_rate: ()
    #: the best configs of earlier sweeps on the same data, with which the search begins
    prior: Sequence[Config] = ()
    #: whether a config is known to need as much memory as another, or more
    needs_as_much_memory: Callable[[Config, Config], bool] = lambda config, other: False

    @property
    def rounds(self) -> int:
        return self.space.epochs * self.rounds_per_epoch


#: how many of them a search begins with, those of the newest sweeps
MOST_EARLIER = 2


@dataclass(frozen=True)
class EarlierBest:
    """The trial of an earlier sweep with the lowest loss; a search begins with its config."""

    #: `SWEEP/NUMBER`
    trial: str
    config: Config


def described(prior: Sequence[EarlierBest]) -> list[str]:
    """A line for people: which earlier configs a search begins with; none if there are none."""
    if not prior:
        return []
    many = len(prior) > 1
    sweeps = f"configs of {len(prior)} earlier sweeps" if many else "config of an earlier sweep"
    trials = ", ".join(one.trial for one in prior)
    return [f"prior: begins with the best {sweeps} on these data ({trials})"]
