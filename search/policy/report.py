"""What reports are told of a search: values that nobody changes any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.confirmation import Confirmed
from lstm_sweep.search.policy.ladder import LadderDecision, Step
from lstm_sweep.search.policy.stop_reason import Stop


@dataclass(frozen=True)
class LadderReport:
    """What came of a ladder."""

    steps: tuple[Step, ...]
    #: None while it is not finished
    decision: LadderDecision | None
    #: the rates that the search goes on with, as a space describes them
    learning_rates: Any


@dataclass(frozen=True)
class SearchReport:
    """What a search has found out."""

    #: None if there was none
    ladder: LadderReport | None
    #: configs that were trained again, the best first
    confirmed: tuple[Confirmed, ...]
    #: why the best config was not trained again, if there was too little time; else empty
    omitted: str


class PolicyView(Protocol):
    """A policy as those see it who only ask."""

    @property
    def stop(self) -> Stop | None:
        """Why no more trials are begun; None while they are."""

    def epoch_seconds(self, config: Config) -> float:
        """Seconds that one epoch of a config will take."""

    def report(self) -> SearchReport:
        """What was found out so far."""

    def importance(self) -> dict[str, float] | None:
        """Share of the variance of the loss that each hyperparameter explains.

        None if the trials are too few.
        """
