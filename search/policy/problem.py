"""`SearchProblem`: what a search is told of a task before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lstm_sweep.models.config import Config, TrialConfig
from lstm_sweep.search.policy.cost import Costs, ObservedCosts
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
    rounds: int = 1
    #: rounds of another trial before it is begun, and about how many of its own before it is
    #: compared with others; None: some epochs (`large_opening`)
    begun_after: int | None = None
    judged_from: int | None = None


def _as_long_as_any(seconds: float | None, slots: int) -> LadderLength:
    return LadderLength()


def admits_all(config: Config) -> bool:
    """Whether a config may be tried, where nothing speaks against any."""
    return True


def _first_round(config: Config) -> int:
    return 1


def _no_openings(best_rate: float, admits: Admits) -> Sequence[Config]:
    return ()


def _no_large_openings(best_rate: float) -> Sequence[LargeNetwork]:
    return ()


def _same_rate(config: Config) -> float:
    return 1.0


def _not_comparable(config: Config, other: Config) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class SearchProblem:
    """What is searched, and what is known of trials beforehand; by default nothing is."""

    space: Space
    objective: Objective = VALIDATION_LOSS
    admits: Admits = admits_all
    #: loss of a trial that has learned nothing; None if nobody knows
    untrained_loss: float | None = None
    #: makes what predicts the seconds of trials
    costs: Callable[[], Costs] = ObservedCosts
    #: config of the ladder's trials, but for their learning rate; None: the middle of the space
    smallest: Config | None = None
    #: whether a trial can wait after a round, and go on later
    pausable: bool = False
    #: rounds into which each epoch is divided
    rounds_per_epoch: int = 1
    #: round after which trials are judged for the first time
    first_rung: int = 1
    #: round before which the losses of a config say little, so that it is not judged
    judged_from: Callable[[Config], int] = _first_round
    #: how long a trial of the ladder is trained, by the seconds that the sweep may take (None: no
    #: limit) and its slots
    ladder_length: Callable[[float | None, int], LadderLength] = _as_long_as_any
    #: best learning rate of a config, as a share of that of the ladder's network; and the lowest
    #: one in the space
    rate_share: Callable[[Config], float] = _same_rate
    lowest_rate_share: float = 1.0
    #: with what the search begins, by the best learning rate; empty if nothing is more sensible
    openings: Callable[[float, Admits], Sequence[Config]] = _no_openings
    #: large networks, the most promising first, of which one may be a later opening, by the best
    #: learning rate (`large_opening`)
    large_openings: Callable[[float], Sequence[LargeNetwork]] = _no_large_openings
    #: the best configs of earlier sweeps on the same data, with which the search begins
    prior: Sequence[Config] = ()
    #: whether a config is known to need as much memory as another, or more
    needs_as_much_memory: Callable[[Config, Config], bool] = _not_comparable

    @property
    def rounds(self) -> int:
        """Largest number of rounds of a trial."""
        return self.space.epochs * self.rounds_per_epoch

    def first_judged(self, config: Config) -> int:
        """The round after which a trial of a config is compared with others for the first time."""
        return max(self.first_rung, self.judged_from(config))


#: how many of them a search begins with, those of the newest sweeps
MOST_EARLIER = 2


@dataclass(frozen=True)
class EarlierBest:
    """The trial of an earlier sweep with the lowest loss; a search begins with its config."""

    #: `SWEEP/NUMBER`
    trial: str
    config: TrialConfig


def described(prior: Sequence[EarlierBest]) -> list[str]:
    """A line for people: which earlier configs a search begins with; none if there are none."""
    if not prior:
        return []
    many = len(prior) > 1
    sweeps = f"configs of {len(prior)} earlier sweeps" if many else "config of an earlier sweep"
    trials = ", ".join(one.trial for one in prior)
    return [f"prior: begins with the best {sweeps} on these data ({trials})"]
