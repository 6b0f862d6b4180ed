"""For `ray`: what keeps trials from beginning on a node, and for how long."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

#: seconds until what has failed is tried again, at least and at most
AGAIN_S, AGAIN_AT_MOST_S = 2.0, 60.0
#: seconds without a failure after which the next one is the first again
FORGOTTEN_AFTER_S = 600.0


def delay_s(times: int) -> float:
    """Seconds until what has failed so many times in a row is tried again."""
    return min(AGAIN_AT_MOST_S, AGAIN_S * 2.0 ** min(times - 1, 99))


@dataclass(frozen=True)
class Offer:
    """How many slots of an agent trials may begin on."""

    #: None for all
    slots: int | None = None
    #: why not on all
    reason: str = ""
    #: whether people know that: it has been so shortly before, say
    told: bool = False

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.slots != 0


#: trials may begin on all slots
ALL = Offer()


def left_out(reason: str, slots: int = 0, *, told: bool = False) -> Offer:
    """No slots of a node, or fewer than it has, since trials could not begin on it."""
    return Offer(slots, f"its node is left out for a while: {reason}", told)


class Faults:
    """Counts trials that could not begin on a node, or for which it had no room.

    After one, none begins there for a while, and then, for as long again, on one slot at most: else
    all that wait for a slot would be tried there at once.
    """

    def __init__(self) -> None:
        self._times = 0
        self._reason = ""
        self._last = -math.inf

    def note(self, reason: str) -> None:
        """Count one; not those that were under way while the node is left out."""
        if not self.offer:
            return
        now = time.monotonic()
        self._times = 1 if now - self._last > FORGOTTEN_AFTER_S else self._times + 1
        self._reason, self._last = reason, now

    @property
    def offer(self) -> Offer:
        """On how many slots trials may begin now."""
        if not self._times:
            return ALL
        passed, delay = time.monotonic() - self._last, delay_s(self._times)
        if passed >= 2 * delay:
            return ALL
        tried_again = passed >= delay
        return left_out(self._reason, int(tried_again), told=tried_again or self._times > 1)
