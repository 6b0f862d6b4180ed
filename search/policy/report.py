"""What reports are told of a search: values that nobody changes any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lstm_sweep.search.policy.confirmed import Confirmed
from lstm_sweep.search.policy.ladder import LadderDecision, Step


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
    #: why the best config was not trained again, if the budget was too small; else empty
    omitted: str
