"""The parts that the loop of a sweep uses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.time_left import expected_left
from lstm_sweep.search.process.interrupts import Interrupts
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import Journal
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.sweep.events import EndEstimated
from lstm_sweep.search.sweep.history import History, SweepClock
from lstm_sweep.search.sweep.inbox import Inbox
from lstm_sweep.search.sweep.lease import Lease
from lstm_sweep.search.sweep.observer import Viewer
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.sweep.task import Task

#: seconds for which trials are started or closed, or rounds logged, before messages are received
TURN_S = 0.03
#: how many that are at least
FEWEST = 2
#: seconds between two estimates of the end, at least, and the share of the time that they take
ESTIMATE_S, ESTIMATE_SHARE = 1.0, 0.01


@dataclass(frozen=True, kw_only=True)
class LoopParts:
    """The parts that the loop of a sweep uses, once the sweep has begun."""

    spec: SweepSpec
    task: Task
    history: History
    policy: Policy
    engine: Engine
    inbox: Inbox
    journal: Journal
    lease: Lease
    interrupts: Interrupts
    viewer: Viewer
    clock: SweepClock
    #: the sweep's folder on this machine, with what workers need in it
    folder: Path
    #: seconds of silence after which a trial may count as hung
    silent_s: float

    def beating(self) -> AbstractContextManager[None]:
        """A context of what may take longer than a lease lasts, in which it is renewed."""
        return self.lease.beating(lambda: self.history.state.seconds)


class Turn:
    """Counts what is done before messages are received again."""

    def __init__(self, history: History) -> None:
        self._history, self._until, self._done = history, history.tick() + TURN_S, 0

    def goes_on(self) -> bool:
        """Whether there is time for one more, which is counted."""
        self._done += 1
        return self._done <= FEWEST or self._history.tick() < self._until


@contextmanager
def needing_room(where: str) -> Iterator[None]:
    """Write files on this machine.

    Raises:
        StoreError: they cannot be written.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise StoreError(f"{where}: {why}, expected room to work") from error


def _estimated_end(state: SweepState, policy: Policy) -> EndEstimated:
    """When a sweep ends, by what its policy knows now."""
    left = expected_left(policy, state.seconds)
    return EndEstimated(None if left is None else state.now + left)


class EndEstimates:
    """Estimates when a sweep ends, every `ESTIMATE_S` seconds or less often.

    What an estimate takes grows with the trials.
    """

    def __init__(self, parts: LoopParts) -> None:
        self._history, self._policy = parts.history, parts.policy
        #: when to estimate it next
        self._next = -math.inf

    def look(self) -> None:
        """Estimate it if it is time."""
        state = self._history.state
        if state.now < self._next:
            return
        self._history.apply(_estimated_end(state, self._policy))
        took = self._history.tick() - state.now
        self._next = state.now + max(ESTIMATE_S, took / ESTIMATE_SHARE)


def expected_tags(state: SweepState) -> dict[str, str]:
    """The tag that says for how long a sweep is expected to be driven in all."""
    end = state.expected_end
    return {Tag.EXPECTED_SECONDS: "" if end is None else f"{end - state.began:.3f}"}
