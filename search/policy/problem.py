"""`SearchProblem`: what a search is told of a task before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lstm_sweep.models.config import Config
from lstm_sweep.search.objective import VALIDATION_LOSS, Objective
from lstm_sweep.search.policy.cost import Costs, ObservedCosts
from lstm_sweep.spaces.space import Space

#: whether a config may be tried
Admits = Callable[[Config], bool]


def admits_all(config: Config) -> bool:
    """Whether a config may be tried, where nothing speaks against any."""
    return True


def _first_round(config: Config) -> int:
    return 1


def _no_opening(best_rate: float, admits: Admits) -> Config | None:
    return None


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
    #: rounds into which each epoch is divided
    rounds_per_epoch: int = 1
    #: round after which trials are judged for the first time
    first_rung: int = 1
    #: round before which the losses of a config say little, so that it is not judged
    judged_from: Callable[[Config], int] = _first_round
    #: rounds that a trial of the ladder is trained; None: as many as any
    ladder_rounds: int | None = None
    #: with what the search begins, by the best learning rate; None if nothing is more sensible
    opening: Callable[[float, Admits], Config | None] = _no_opening
    #: whether a config is known to need as much memory as another, or more
    needs_as_much_memory: Callable[[Config, Config], bool] = _not_comparable

    @property
    def rounds(self) -> int:
        """Largest number of rounds of a trial."""
        return self.space.epochs * self.rounds_per_epoch
