"""How slots are shared: a pure function, which sweeps on one machine and the service both use."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence


def fair_shares(
    wanted: Sequence[int],
    slots: int,
    *,
    groups: Sequence[str] = (),
    limits: Mapping[str, int] | None = None,
) -> list[int]:
    """How many of the slots each claimant gets.

    Nobody gets more than it has `wanted`; what some do not want is shared by the others, as evenly
    as it can be; earlier ones get what is left over. `groups` are those of the claimants, and
    `limits` how many slots all of a group have together at most.
    """
    shares = [0] * len(wanted)
    left = dict(limits or {})
    #: claimants that could have more, those with the fewest slots first
    queue = [(0, place) for place, want in enumerate(wanted) if want > 0]
    while queue and slots > 0:
        share, place = heapq.heappop(queue)
        group = groups[place] if groups else ""
        if group in left:
            if left[group] <= 0:
                continue
            left[group] -= 1
        shares[place] = share + 1
        slots -= 1
        if shares[place] < wanted[place]:
            heapq.heappush(queue, (share + 1, place))
    return shares
