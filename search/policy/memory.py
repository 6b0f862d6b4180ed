"""`MemoryLimits`: which networks a search leaves out, since others have used up the memory."""

from __future__ import annotations

from collections.abc import Callable

from lstm_sweep.models.config import Config, as_lstm_config
from lstm_sweep.search.progress import TrialSnapshot
from lstm_sweep.search.trial import Outcome


class MemoryLimits:
    """What failures for want of memory say of other networks.

    Another program may have used up the memory. So such a failure limits the search only if a
    network that needs no more was trained, and none that needs as much. What is known does not
    depend on the order in which trials end.
    """

    def __init__(self, needs_as_much: Callable[[Config, Config], bool]) -> None:
        """`needs_as_much` tells whether one config needs as much memory as another, or more."""
        self._needs_as_much = needs_as_much
        #: configs that have come to the end of a round, by the number of their first trial
        self._trained: dict[int, Config] = {}
        #: trials that have failed for want of memory, but those that others have refuted
        self._failed: list[TrialSnapshot] = []
        #: those of them that limit the search
        self.limits: list[TrialSnapshot] = []

    def note_rounds(self, one: TrialSnapshot) -> None:
        """Know that a trial has come to the end of a round, if it has."""
        number, config = one.trial.number, one.trial.config
        if not one.rounds or number in self._trained:
            return
        self._trained[number] = config
        if self._failed:
            as_much = self._needs_as_much
            self._failed = [o for o in self._failed if not as_much(config, o.trial.config)]
            self._find_limits()

    def note_end(self, one: TrialSnapshot) -> None:
        """Know how a trial has ended that is not tried again."""
        if one.ended is None or one.ended.outcome is not Outcome.OUT_OF_MEMORY:
            return
        config, trained = one.trial.config, self._trained.values()
        if not any(self._needs_as_much(other, config) for other in trained):
            self._failed.append(one)
            self._find_limits()

    def _find_limits(self) -> None:
        self.limits = [one for one in self._failed if self._is_above_another(one.trial.config)]

    def _is_above_another(self, config: Config) -> bool:
        return any(self._needs_as_much(config, other) for other in self._trained.values())

    def leaves_out(self, config: Config) -> bool:
        """Whether a config needs as much memory as one that has used it up."""
        return any(self._needs_as_much(config, limit.trial.config) for limit in self.limits)

    def lines(self) -> list[str]:
        """A line for people for each failure that limits the search."""
        return list(map(_line, self.limits))


def _line(one: TrialSnapshot) -> str:
    config = as_lstm_config(one.trial.config)
    return (
        f"{one.trial.id} ran out of memory: {config.direction} networks with {config.layers} or "
        f"more layers of {config.layer_size} or more, batches of {config.batch_size} or more and "
        f"windows of {config.sequence_length} or more are left out, unless one of them is trained"
    )
