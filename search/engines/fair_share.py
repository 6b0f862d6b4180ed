"""How slots are shared: a pure function, which sweeps on one machine and the service both use."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def fair_shares(wanted: Sequence[int], slots: int) -> list[int]:
    """How many of the slots each claimant gets.

    Nobody gets more than it has `wanted`; what some do not want is shared by the others, as evenly
    as it can be; earlier ones get what is left over.
    """
    shares = [0] * len(wanted)
    #: claimants that could have more, those with the fewest slots first
    queue = [(0, place) for place, want in enumerate(wanted) if want > 0]
    while queue and slots > 0:
        share, place = heapq.heappop(queue)
        shares[place] = share + 1
        slots -= 1
        if shares[place] < wanted[place]:
            heapq.heappush(queue, (share + 1, place))
    return shares
