"""For `ray`: the slots of a cluster that a service gives to one of its drivers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from lstm_sweep.search.engines.slot_sharing import LOOK_S, read_allotment
from lstm_sweep.search.process.whole_files import replace_text

#: seconds for which a driver that had a slot too many asks for no more, doubled each further time
CONTENT_S, CONTENT_AT_MOST_S = 30.0, 480.0


class Share:
    """What a driver may use, by the file that its service writes, and what it says it could use."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`file` is the allotment; the demand is written beside it."""
        self._file, self._clock = file, clock
        self._looked: float | None = None
        self._most, self._why = 0, ""
        #: what was said; None if it is that all slots are used
        self._said: int | None = None
        #: until when no more is asked for, and for how long the next time
        self._content_until, self._content_s = 0.0, CONTENT_S

    def most(self) -> int:
        """How many slots may be used now."""
        now = self._clock()
        if self._looked is None or now - self._looked >= LOOK_S:
            self._looked = now
            self._most, self._why = read_allotment(self._file)
        return self._most

    def why(self) -> str:
        """Why the sweep has no more slots."""
        self.most()
        return self._why or "the service gives it no more slots"

    def demand(self, count: int, slots: int) -> None:
        """Note how many of the slots could be used; if all of them, perhaps more could be.

        A slot costs an agent to be started, so one that was of no use is not asked for again soon.
        """
        now = self._clock()
        if count < slots:
            self._content_until = now + self._content_s
            if self._said is None:
                self._content_s = min(CONTENT_AT_MOST_S, 2 * self._content_s)
            self._say(count)
        elif now >= self._content_until:
            self._say(None)
        elif self._said is not None and slots > self._said:  # they were of use after all
            self._content_s = CONTENT_S
            self._say(None)

    def _say(self, count: int | None) -> None:
        if count == self._said:
            return
        self._said = count
        file = self._file.with_suffix(".demand")
        with contextlib.suppress(OSError):
            if count is None:
                file.unlink(missing_ok=True)
            else:
                replace_text(file, str(count))
