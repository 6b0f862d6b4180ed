"""What a loop hears of its trials: what it decides at once, and what it keeps for later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from lstm_sweep.search.engines.base import Event, SlotAdded, SlotLost
from lstm_sweep.search.trial import Ended, Paused, Slot

#: what takes the store's time; what asks for a decision is received before
SLOW = (Ended, Paused)
#: what changes the slots
CHANGES = (SlotAdded, SlotLost)


def is_changing(slot: Slot, events: Iterable[tuple[Slot, Event]]) -> bool:
    """Whether a slot is lost or comes by these events."""
    return any(one == slot and isinstance(event, CHANGES) for one, event in events)


class Hearing:
    """Events of the engine in the order in which they came, as far as they are of one slot.

    It is told of some while a request of the loop is under way. Of those, changes of the slots wait
    until the loop is between two trials. The end of a trial waits until there is time for the
    requests that it takes. What comes later from the same slot waits too.
    """

    def __init__(
        self, receive: Callable[[Slot, Event], None], is_running: Callable[[Slot], bool]
    ) -> None:
        """`receive` decides on an event, and makes no request but for the end of a trial.

        `is_running` says whether a trial is on a slot, which ends if that is lost.
        """
        self._receive, self._is_running = receive, is_running
        self._heard: deque[tuple[Slot, Event]] = deque()
        #: ends of trials by the slot, and what came after them
        self.kept: dict[Slot, list[Event]] = {}

    @property
    def waits(self) -> bool:
        """Whether there are events that were not received."""
        return bool(self._heard or self.kept)

    def is_changing(self, slot: Slot) -> bool:
        """Whether a slot is lost or has come, and nobody has received that."""
        return is_changing(slot, self._heard)

    def add(self, events: Sequence[tuple[Slot, Event]]) -> None:
        """Know more events, for `next`."""
        self._heard.extend(events)

    def next(self) -> bool:
        """Receive the first event, or keep it; False if there is none."""
        if not self._heard:
            return False
        slot, event = self._heard.popleft()
        ends = isinstance(event, SLOW) or (isinstance(event, SlotLost) and self._is_running(slot))
        if slot in self.kept or ends:
            self.kept.setdefault(slot, []).append(event)
        else:
            self._receive(slot, event)
        return True

    def meanwhile(self, events: Sequence[tuple[Slot, Event]]) -> None:
        """Know more events while a request is under way: receive or keep what does not wait."""
        self.add(events)
        waiting: deque[tuple[Slot, Event]] = deque()
        slots = set[Slot]()
        while self._heard:
            slot, event = self._heard[0]
            if slot in slots or (isinstance(event, CHANGES) and slot not in self.kept):
                slots.add(slot)
                waiting.append(self._heard.popleft())
            else:
                self.next()
        self._heard = waiting
