"""For `ray`: the slots of a cluster that a service gives to one of its drivers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lstm_sweep.search.engines.slot_sharing import Quota

#: seconds for which a driver that had a slot too many asks for no more, doubled each further time
CONTENT_S, CONTENT_AT_MOST_S = 30.0, 480.0


class Share(Quota):
    """What a driver may use of a cluster: it asks for no more slots than were of use to it."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`file` is the allotment; the demand is written beside it."""
        super().__init__(file, clock)
        #: what was asked for; None if it is all that there are
        self._asked: int | None = None
        #: until when no more is asked for, and for how long the next time
        self._content_until, self._content_s = 0.0, CONTENT_S

    def demand_of(self, count: int, slots: int) -> None:
        """Note how many of the slots could be used; if all of them, perhaps more could be.

        A slot costs an agent to be started, so one that was of no use is not asked for again soon.
        """
        now = self._clock()
        if count < slots:
            self._content_until = now + self._content_s
            if self._asked is None:
                self._content_s = min(CONTENT_AT_MOST_S, 2 * self._content_s)
            self._ask(count)
        elif now >= self._content_until:
            self._ask(None)
        elif self._asked is not None and slots > self._asked:  # they were of use after all
            self._content_s = CONTENT_S
            self._ask(None)

    def _ask(self, count: int | None) -> None:
        self._asked = count
        self.demand(count)
