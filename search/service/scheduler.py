"""Which sweep has how many slots, and why: a pure function of the queue and the time.

Sweeps of a higher priority get what they want before those of a lower one. Among those of one
priority slots are shared evenly, whatever the length of a sweep, and within what one user may have.
Where there are fewer slots than sweeps, they take turns: a sweep that has had a slot for a turn
gives way to the one that waits for longest.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lstm_sweep.search.engines.fair_share import fair_shares

#: seconds for which a sweep has a slot before another gets it, if there are too few
TURN_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A sweep that wants slots, as the scheduler sees it."""

    name: str
    owner: str
    priority: int
    #: when it was submitted, and since when it has had a slot, or has had none; seconds of a clock
    submitted: float
    since: float
    #: slots that it has, and that it could use
    held: int
    wanted: int
    #: seconds to its end as far as somebody can tell; None if nobody can
    left_s: float | None = None


@dataclass(frozen=True)
class Allotment:
    """How many slots a sweep gets, and why not more."""

    name: str
    slots: int
    #: why not more; empty if it has all that it wants
    why: str = ""
    #: seconds until one that waits is expected to get a slot; None if nobody can tell
    eta_s: float | None = None

    @property
    def sentence(self) -> str:
        """Why not more, and when."""
        if self.eta_s is None:
            return self.why
        return f"{self.why}; about {duration(10 * math.ceil(self.eta_s / 10))}"


def allot(
    sweeps: Sequence[Waiting],
    slots: int,
    now: float,
    *,
    most_per_user: int | None = None,
    turn_s: float = TURN_S,
) -> list[Allotment]:
    """Give slots to sweeps; the allotments are in the order in which slots are given.

    `most_per_user` is how many slots the sweeps of one user have together at most.
    """
    left = slots
    used = dict[str, int]()
    found = list[Allotment]()
    #: sweeps that have slots, with how many
    served = list[tuple[Waiting, int]]()
    in_order = sorted(sweeps, key=lambda one: -one.priority)
    for _, same in itertools.groupby(in_order, key=lambda one: one.priority):
        ordered = _in_turn(list(same), now, turn_s)
        limits = None
        if most_per_user is not None:
            limits = {one.owner: most_per_user - used.get(one.owner, 0) for one in ordered}
        shares = fair_shares(
            [one.wanted for one in ordered],
            left,
            groups=[one.owner for one in ordered],
            limits=limits,
        )
        for one, share in zip(ordered, shares, strict=True):
            used[one.owner] = used.get(one.owner, 0) + share
            left -= share
            served += [(one, share)] if share else []
        line = Counter[str]()
        for one, share in zip(ordered, shares, strict=True):
            full = most_per_user is not None and used[one.owner] >= most_per_user
            others = sweeps if any(shares) else [o for o in sweeps if o.priority > one.priority]
            why, eta_s = "", None
            if share < one.wanted:
                queue = one.owner if full else ""
                rivals = [(o, has) for o, has in served if not full or o.owner == one.owner]
                eta_s = None if share else _free_in(rivals, one, line[queue], now, turn_s)
                line[queue] += not share
                why = _why(one, share, others, slots, full=full)
            found.append(Allotment(one.name, share, why, eta_s))
    return found


def _free_in(
    served: Sequence[tuple[Waiting, int]], one: Waiting, before: int, now: float, turn_s: float
) -> float | None:
    """Seconds until a sweep that waits is expected to get a slot; None if nobody can tell.

    `served` are those that have slots which it may get, with how many, and `before` is how many
    others wait for them too and get one first. Slots become free when a sweep ends, or, if that has
    no higher priority, when its turn is over.
    """
    free = list[float]()
    for other, slots in served:
        turn = max(0.0, other.since + turn_s - now) if other.held else turn_s
        if other.left_s is not None and (other.priority > one.priority or other.left_s < turn):
            free += [other.left_s] * slots
        elif other.priority <= one.priority:
            free.append(turn)
    if not free:
        return None
    rounds, place = divmod(before, len(free))
    return sorted(free)[place] + rounds * turn_s


def _in_turn(sweeps: list[Waiting], now: float, turn_s: float) -> list[Waiting]:
    """Sweeps of one priority, those first that are to have a slot.

    Those come first whose turn is not over, then those that wait, and then those whose turn is
    over: among each the one first that has had a slot, or has waited, for longest. If none waits,
    each keeps what it has, as far as that is fair.
    """
    if all(one.held for one in sweeps):
        return sorted(sweeps, key=lambda one: (-one.held, one.submitted, one.name))

    def place(one: Waiting) -> tuple[int, float, float, str]:
        turn = 2 if now - one.since >= turn_s else 0
        kind = turn if one.held else 1
        return kind, one.since, one.submitted, one.name

    return sorted(sweeps, key=place)


def _why(
    one: Waiting,
    share: int,
    others: Sequence[Waiting],
    slots: int,
    *,
    full: bool,
) -> str:
    """Why a sweep has no more; `others` share the slots with it, or come before it."""
    before, count = one not in others, len(others)
    verb = "waits" if share == 0 else f"has {share} of {one.wanted} slots"
    if slots == 0:
        why = "there is no slot"
    elif full:
        why = f"user {one.owner} has as many slots as one user may"
    elif before:
        why = f"{count} {'sweep has' if count == 1 else 'sweeps have'} a higher priority"
    else:
        some = "1 slot" if slots == 1 else f"{slots} slots"
        there = "there is" if slots == 1 else "there are"
        why = f"{count} sweeps share {some}" if count > 1 else f"{there} {some}"
    return f"{verb}: {why}"


def duration(seconds: float) -> str:
    """Seconds for people, in one unit."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"
