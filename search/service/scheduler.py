"""Which sweep or rerun has how many slots, and why: a pure function of the queue and the time.

Sweeps of a higher priority get what they want before those of a lower one. Among those of one
priority slots are shared evenly by their users, however many sweeps each of them has and however
long these are, and then by the sweeps of each user. Where there are fewer slots than users, or than
sweeps of one, they take turns: who has had a slot for a turn gives way to who waits for longest.
A rerun counts as a sweep of one slot, which it keeps until its end.

`Turns` adds what the function has to know of the past: since when slots are had and waited for.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

#: seconds for which a sweep has a slot before another gets it, if there are too few
TURN_S = 300.0
#: seconds within which a driver notices that it is to give a slot back
NOTICED_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A sweep or rerun that wants slots, as the scheduler sees it."""

    name: str
    owner: str
    priority: int
    #: when it was submitted, seconds of a clock
    submitted: float
    #: slots that it could use
    wanted: int
    #: slots that it has
    held: int = 0
    #: since when it has had a slot, or has had none, and so the sweeps of its owner and priority;
    #: seconds of a clock
    since: float = 0.0
    owner_since: float = 0.0
    #: seconds to its end as far as somebody can tell; None if nobody can
    left_s: float | None = None
    #: whether it is a rerun, and whether it gives no slot back before its end
    is_rerun: bool = False
    stays: bool = False


@dataclass(frozen=True)
class Quota:
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
) -> list[Quota]:
    """Give slots to sweeps; the quotas are in the order in which slots are given.

    `most_per_user` is how many slots the sweeps of one user have together at most.
    """
    left = slots
    used = Counter[str]()
    found = list[Quota]()
    #: sweeps that have slots, with how many
    served = list[tuple[Waiting, int]]()
    for one in sweeps:
        if one.stays:
            used[one.owner] += one.held
            left -= one.held
            served.append((one, one.held))
            found.append(Quota(one.name, one.held))
    in_order = sorted((one for one in sweeps if not one.stays), key=lambda one: -one.priority)
    for priority, same in itertools.groupby(in_order, key=lambda one: one.priority):
        limits = dict[str, int]()
        if most_per_user is not None:
            limits = {one.owner: most_per_user - used[one.owner] for one in in_order}
        given = _share_out(list(same), max(0, left), limits, now, turn_s)
        for one, share in given:
            used[one.owner] += share
            left -= share
            served += [(one, share)] if share else []
        line, own = Counter[str](), Counter[str]()
        for one, share in given:
            own[one.owner] += share
        has_any = any(share for _, share in given)
        for one, share in given:
            full = most_per_user is not None and used[one.owner] >= most_per_user
            higher = [o for o in sweeps if o.priority > priority]
            others = higher if higher and not has_any else sweeps
            why, eta_s = "", None
            if share < one.wanted:
                waits_for_own = full or own[one.owner] > 0
                queue = one.owner if waits_for_own else ""
                rivals = [(o, has) for o, has in served if not queue or o.owner == queue]
                eta_s = None if share else _free_in(rivals, one, line[queue], now, turn_s)
                line[queue] += not share
                why = _why(one, share, others, slots, full=full)
            found.append(Quota(one.name, share, why, eta_s))
    return found


def _share_out(
    sweeps: list[Waiting], slots: int, limits: Mapping[str, int], now: float, turn_s: float
) -> list[tuple[Waiting, int]]:
    """Slots of each sweep of one priority, in the order in which they are given.

    `limits` are how many slots a user may have, of those to whom there is a limit.
    """
    of_owner = dict[str, list[Waiting]]()
    for one in sweeps:
        of_owner.setdefault(one.owner, []).append(one)
    users = _in_turn([_user(own, limits) for own in of_owner.values()], now, turn_s)
    shares = fair_shares([user.wanted for user in users], slots)
    given = list[list[tuple[Waiting, int]]]()
    for user, share in zip(users, shares, strict=True):
        own = _in_turn(of_owner[user.owner], now, turn_s)
        parts = fair_shares([one.wanted for one in own], share)
        given.append(list(zip(own, parts, strict=True)))
    rounds = itertools.zip_longest(*given)  # the first of each user, then the second of each
    return [pair for one_of_each in rounds for pair in one_of_each if pair]


def _user(sweeps: Sequence[Waiting], limits: Mapping[str, int]) -> Waiting:
    """The sweeps of one user and priority as if they were one."""
    first, wanted = sweeps[0], sum(one.wanted for one in sweeps)
    return replace(
        first,
        name=first.owner,
        submitted=min(one.submitted for one in sweeps),
        since=first.owner_since,
        held=sum(one.held for one in sweeps),
        wanted=max(0, min(wanted, limits.get(first.owner, wanted))),
    )


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
        if other.stays and other.left_s is None:
            continue
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
    """Sweeps, or users, of one priority, those first that are to have a slot.

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
    kinds = "sweeps and reruns" if any(other.is_rerun for other in others) else "sweeps"
    verb = "waits" if share == 0 else f"has {share} of {one.wanted} slots"
    if slots == 0:
        why = "there is no slot"
    elif full:
        why = f"user {one.owner} has as many slots as one user may"
    elif before:
        why = f"{count} {'sweep has' if count == 1 else f'{kinds} have'} a higher priority"
    else:
        some = "1 slot" if slots == 1 else f"{slots} slots"
        there = "there is" if slots == 1 else "there are"
        users = len({other.owner for other in others})
        of_whom = f" of {users} users" if users > 1 else ""
        why = f"{count} {kinds}{of_whom} share {some}" if count > 1 else f"{there} {some}"
    return f"{verb}: {why}"


def duration(seconds: float) -> str:
    """Seconds for people, in one unit."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"


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


class Turns:
    """Who has how many slots from one look at the queue to the next, and since when."""

    def __init__(self) -> None:
        #: what each sweep was given, by its name, in the order in which slots are given
        self.quotas: dict[str, Quota] = {}
        #: since when each sweep has slots, or has none; seconds of any clock
        self.since: dict[str, float] = {}
        #: of each user and priority: whether sweeps have a slot, and since when, or since when none
        self._owners: dict[tuple[str, int], tuple[bool, float]] = {}
        #: when sweeps were given a slot which another one may still have
        self._due = dict[str, float]()

    def held(self, name: str) -> int:
        """How many slots a sweep has."""
        return self.quotas[name].slots if name in self.quotas else 0

    def remember(self, name: str, now: float, last: tuple[int, float] | None) -> None:
        """Take a sweep up, with the slots that it has had, and since when, if that is known."""
        self.since[name] = now
        if last is not None:
            slots, self.since[name] = last
            self.quotas[name] = Quota(name, slots)

    def forget(self, name: str) -> None:
        """Take a sweep up anew if it comes again."""
        self.since.pop(name, None)
        self.quotas.pop(name, None)
        self._due.pop(name, None)

    def share_out(
        self,
        sweeps: Sequence[Waiting],
        barred: Sequence[Waiting],
        slots: int,
        now: float,
        *,
        is_late: bool = False,
        most_per_user: int | None = None,
    ) -> list[Quota]:
        """Give slots to sweeps, and none to those that are barred from them just now.

        A turn does not begin as long as `is_late` says that a trial of another sweep ends its round
        on a slot: if rounds take longer than turns, it would be over before.
        """
        every = [*sweeps, *barred]
        self._note_owners(every, now)
        self._put_turns_off(every, now, is_late=is_late)
        found = self._allot(sweeps, slots, now, most_per_user)
        for quota in found:
            if bool(self.held(quota.name)) != bool(quota.slots):
                self.since[quota.name] = now
                self._due.pop(quota.name, None)
                if quota.slots:
                    self._due[quota.name] = now
        later = [Quota(one.name, 0) for one in barred]
        self.quotas = {quota.name: quota for quota in (*found, *later)}
        self._note_owners(every, now)
        return found

    def _allot(
        self, sweeps: Sequence[Waiting], slots: int, now: float, most_per_user: int | None
    ) -> list[Quota]:
        waiting = [
            replace(
                one,
                held=self.held(one.name),
                since=self.since[one.name],
                owner_since=self._owners.get((one.owner, one.priority), (False, now))[1],
            )
            for one in sweeps
        ]
        return allot(waiting, slots, now, most_per_user=most_per_user)

    def _note_owners(self, sweeps: Sequence[Waiting], now: float) -> None:
        """Note since when users have slots, or have none, be it by one sweep or by another."""
        before, self._owners = self._owners, {}
        for key, own in _by_owner(sweeps).items():
            held = [name for name in own if self.held(name)]
            first = min(self.since[name] for name in held or own)
            had, since = before.get(key, (bool(held), first))
            self._owners[key] = (bool(held), since if had == bool(held) else now)

    def _put_turns_off(self, sweeps: Sequence[Waiting], now: float, *, is_late: bool) -> None:
        """Let turns begin now that could not yet, since a driver has still to give a slot back."""
        for name, given in list(self._due.items()):
            if not is_late and now - given > NOTICED_S:
                del self._due[name]
            elif is_late:
                self.since[name] = now
        if not is_late:
            return
        for key, own in _by_owner(sweeps).items():
            held = {name for name in own if self.held(name)}
            if held and self._due.keys() >= held:
                self._owners[key] = (True, now)


def _by_owner(sweeps: Sequence[Waiting]) -> dict[tuple[str, int], list[str]]:
    """The names of sweeps by user and priority."""
    found = dict[tuple[str, int], list[str]]()
    for one in sweeps:
        found.setdefault((one.owner, one.priority), []).append(one.name)
    return found
