"""What a loop hears of its trials: what it decides at once, and what it keeps for later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost
from lstm_sweep.search.trial import Ended, Paused, Slot

#: what takes the store's time, or changes the slots; what asks for a decision is received before
SLOW = (Ended, Paused, SlotAdded, SlotLost)


class Hearing:
    """Events of the engine in the order in which they came.

    It is told of some while a request of the loop is under way. Those that need a request
    themselves, and what comes after them from the same slot, wait until then.
    """

    def __init__(self, receive: Callable[[Slot, Event], None]) -> None:
        """`receive` decides on an event, and makes no request."""
        self._receive = receive
        self._heard: deque[tuple[Slot, Event]] = deque()
        #: `SLOW` events by the slot, and what came after them
        self.kept: dict[Slot, list[Event]] = {}

    def add(self, events: Sequence[tuple[Slot, Event]]) -> None:
        """Know more events, for `next`."""
        self._heard.extend(events)

    def next(self) -> bool:
        """Receive the first event, or keep it; False if there is none."""
        if not self._heard:
            return False
        slot, event = self._heard.popleft()
        if slot in self.kept or isinstance(event, SLOW):
            self.kept.setdefault(slot, []).append(event)
        else:
            self._receive(slot, event)
        return True

    def all(self, events: Sequence[tuple[Slot, Event]]) -> None:
        """Know more events, and receive or keep all that there are."""
        self.add(events)
        while self.next():
            pass
