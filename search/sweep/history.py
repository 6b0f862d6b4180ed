"""What has happened to a sweep, and the state that this has led to: the one door to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from lstm_sweep.search.sweep.events import Event, ProgressReported, Ticked
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.sweep.transitions import InvalidTransitionError, after

#: events that are told with one that cannot happen
LENGTH = 30
#: events that come by themselves all the time, and are not told
FREQUENT = (Ticked, ProgressReported)


class History:
    """Holds the state of a sweep; nothing but `apply` changes it."""

    def __init__(self, state: SweepState, clock: Callable[[], float]) -> None:
        self._state, self._clock = state, clock
        self._events: deque[Event] = deque(maxlen=LENGTH)

    @property
    def state(self) -> SweepState:
        """The state just now; a value that does not change."""
        return self._state

    def apply(self, event: Event) -> SweepState:
        """Something has happened; return the state that follows.

        Raises:
            InvalidTransitionError: it cannot happen in this state; the last events are told.
        """
        try:
            self._state = after(self._state, event)
        except InvalidTransitionError as error:
            told = "".join(f"\n  {earlier}" for earlier in self._events)
            raise InvalidTransitionError(f"{error}: {event}; before that:{told}") from None
        if not isinstance(event, FREQUENT):
            self._events.append(event)
        return self._state

    def tick(self) -> float:
        """Look at the clock; return what it says."""
        return self.apply(Ticked(self._clock())).now
