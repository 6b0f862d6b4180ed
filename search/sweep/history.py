"""Holds the state of a sweep, and applies events to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from lstm_sweep.search.sweep.events import Event, ProgressReported, Ticked
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.sweep.transitions import InvalidTransitionError, after

#: number of earlier events listed in the message of an `InvalidTransitionError`
EVENTS_LISTED = 30
#: kinds of events that come several times a second, and are not listed
FREQUENT = (Ticked, ProgressReported)


class SweepClock:
    """Seconds of a clock, without those for which it was held: a sweep without slots does not age.

    What is left of `minutes` is not used up by other sweeps.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: seconds for which it was held, by the last call
        self.held = 0.0
        self._held_at: float | None = None

    def __call__(self) -> float:
        """Seconds of the clock without those for which it was held."""
        now = self._clock()
        if self._held_at is not None:
            self.held = now - self._held_at
        return now - self.held

    def hold(self, *, held: bool) -> None:
        """Stop the clock, or let it go on."""
        if held != (self._held_at is not None):
            now = self()
            self._held_at = now if held else None


class History:
    """Holds the state of a sweep; nothing but `apply` changes it."""

    def __init__(self, state: SweepState, clock: Callable[[], float]) -> None:
        self._state, self._clock = state, clock
        self._events: deque[Event] = deque(maxlen=EVENTS_LISTED)

    @property
    def state(self) -> SweepState:
        """The current state, an immutable value."""
        return self._state

    def apply(self, event: Event) -> SweepState:
        """Apply an event; return the state that follows.

        Raises:
            InvalidTransitionError: it cannot happen in this state. The last events are listed.
        """
        try:
            self._state = after(self._state, event)
        except InvalidTransitionError as error:
            listed = "".join(f"\n  {earlier}" for earlier in self._events)
            raise InvalidTransitionError(f"{error}: {event}; before that:{listed}") from None
        if not isinstance(event, FREQUENT):
            self._events.append(event)
        return self._state

    def tick(self) -> float:
        """Read the clock into the state; return what it shows."""
        return self.apply(Ticked(self._clock())).now
