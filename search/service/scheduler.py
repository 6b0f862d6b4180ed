"""Which job has how many slots, and why: a pure function of the queue and the time.

Jobs of a higher priority get what they want before those of a lower one. Among those of one
priority slots are shared evenly by their users, however many jobs each of them has and however long
these are, and then by the jobs of each user. Where there are fewer slots than users, or than jobs
of one, they take turns: who has had a slot for a turn gives way to who waits for longest. A rerun
is a job of one slot, which it keeps until its end.

`Turns` adds what the function has to know of the past: since when slots are had and waited for.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lstm_sweep.search.driver.lease import Holder

#: seconds for which a job has a slot before another gets it, if there are too few
TURN_S = 300.0
#: seconds within which a driver notices that it is to give a slot back
NOTICED_S = 10.0


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A sweep or rerun that waits or runs."""

    #: name of the sweep, or SWEEP/NUMBER of the trial that is trained again
    name: str = ""
    #: run of the sweep, or ID of the rerun
    run_id: str
    owner: str
    priority: int = 0
    #: when it was queued first, seconds since 1970
    submitted: float
    #: `queued`, `running`, or how it has ended
    state: str = "queued"
    is_rerun: bool = False
    #: whether it runs code of a user, as templates are
    runs_code: bool = False
    #: process that drives a sweep by its lease; None if there certainly is none
    driver: Holder | None = None
    #: what was changed in a sweep since it was driven last
    changes: Mapping[str, Any] = field(default_factory=dict)
    #: trials that it may run at once, by its spec; None: as many as there are slots
    workers: int | None = 1
    #: trials that are left, and seconds to its end as far as somebody can tell; None if nobody can
    trials_left: int = 1
    left_s: float | None = None
    #: slots that it could use, and that it has
    wanted: int = 1
    held: int = 0
    #: since when it has had a slot, or has had none, and so the jobs of its owner and priority;
    #: seconds of a clock
    since: float = 0.0
    owner_since: float = 0.0

    @property
    def stays(self) -> bool:
        return self.is_rerun and self.state == "running"


@dataclass(frozen=True)
class Quota:
    """How many slots a job gets, and why not more."""

    run_id: str
    slots: int
    #: why not more; empty if it has all that it wants
    why: str = ""
    #: seconds until one that waits is expected to get a slot; None if nobody can tell
    eta_s: float | None = None

    @property
    def sentence(self) -> str:
        if self.eta_s is None:
            return self.why
        return f"{self.why}; about {duration(10 * math.ceil(self.eta_s / 10))}"


def allot(
    jobs: Sequence[QueuedJob],
    slots: int,
    now: float,
    *,
    most_per_user: int | None = None,
    turn_s: float = TURN_S,
) -> list[Quota]:
    """Quotas in the order in which slots are given; a user has `most_per_user` at most."""
    most = sys.maxsize if most_per_user is None else most_per_user
    #: jobs that have slots, with how many, and slots by user
    served, used = [(one, one.held) for one in jobs if one.stays], Counter[str]()
    for one, share in served:
        used[one.owner] += share
    found = [Quota(one.run_id, share) for one, share in served]
    others = sorted((one for one in jobs if not one.stays), key=lambda one: -one.priority)
    for priority, same in itertools.groupby(others, key=lambda one: one.priority):
        left = {one.owner: most - used[one.owner] for one in others}
        given = _share_out(list(same), max(0, slots - used.total()), left, now, turn_s)
        own, line = Counter[str](), Counter[str]()
        for one, share in given:
            own[one.owner] += share
        used.update(own)
        served += [(one, share) for one, share in given if share]
        higher = [other for other in jobs if other.priority > priority]
        rivals = higher if higher and not own.total() else jobs
        for one, share in given:
            if share >= one.wanted:
                found.append(Quota(one.run_id, share))
                continue
            full, eta_s = used[one.owner] >= most, None
            if not share:
                of = one.owner if full or own[one.owner] else ""
                may = [(other, has) for other, has in served if of in ("", other.owner)]
                eta_s = _free_in(may, one, line[of], now, turn_s)
                line[of] += 1
            found.append(Quota(one.run_id, share, _why(one, share, rivals, slots, full), eta_s))
    return found


def _share_out(
    jobs: Sequence[QueuedJob], slots: int, left: Mapping[str, int], now: float, turn_s: float
) -> list[tuple[QueuedJob, int]]:
    """Slots of each job of one priority, in order; `left` are those that users may have."""
    of_owner = _by_owner(jobs)
    users = _in_turn(
        [  # the jobs of one user as if they were one
            replace(
                own[0],
                run_id=owner,
                submitted=min(one.submitted for one in own),
                since=own[0].owner_since,
                held=sum(one.held for one in own),
                wanted=max(0, min(sum(one.wanted for one in own), left[owner])),
            )
            for (owner, _), own in of_owner.items()
        ],
        now,
        turn_s,
    )
    given = list[list[tuple[QueuedJob, int]]]()
    for user, share in zip(users, fair_shares([user.wanted for user in users], slots), strict=True):
        own = _in_turn(of_owner[user.owner, user.priority], now, turn_s)
        given.append(list(zip(own, fair_shares([one.wanted for one in own], share), strict=True)))
    rounds = itertools.zip_longest(*given)  # the first of each user, then the second of each
    return [pair for one_of_each in rounds for pair in one_of_each if pair]


def _by_owner(jobs: Iterable[QueuedJob]) -> dict[tuple[str, int], list[QueuedJob]]:
    found = dict[tuple[str, int], list[QueuedJob]]()
    for one in jobs:
        found.setdefault((one.owner, one.priority), []).append(one)
    return found


def _free_in(
    served: Sequence[tuple[QueuedJob, int]], one: QueuedJob, before: int, now: float, turn_s: float
) -> float | None:
    """Seconds until a job gets a slot of those `served`, after `before` others; None: unknown.

    Slots become free when a job ends, or, if it has no higher priority, when its turn is over.
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


def _in_turn(jobs: list[QueuedJob], now: float, turn_s: float) -> list[QueuedJob]:
    """Jobs, or users, of one priority: those in a turn, those that wait, those whose turn is over.

    Among each the one first that has had a slot, or has waited, for longest. If none waits, each
    keeps what it has, as far as that is fair.
    """
    if all(one.held for one in jobs):
        return sorted(jobs, key=lambda one: (-one.held, one.submitted, one.run_id))

    def place(one: QueuedJob) -> tuple[int, float, float, str]:
        turn = 2 if now - one.since >= turn_s else 0
        return turn if one.held else 1, one.since, one.submitted, one.run_id

    return sorted(jobs, key=place)


def _why(one: QueuedJob, share: int, rivals: Sequence[QueuedJob], slots: int, full: bool) -> str:
    """Why a job has no more; `rivals` share the slots with it, or come before it."""
    count, users = len(rivals), len({other.owner for other in rivals})
    kinds = "sweeps and reruns" if any(other.is_rerun for other in rivals) else "sweeps"
    some = "1 slot" if slots == 1 else f"{slots} slots"
    if slots == 0:
        why = "there is no slot"
    elif full:
        why = f"user {one.owner} has as many slots as one user may"
    elif one not in rivals:
        why = f"{count} {'sweep has' if count == 1 else f'{kinds} have'} a higher priority"
    elif count > 1:
        why = f"{count} {kinds}{f' of {users} users' if users > 1 else ''} share {some}"
    else:
        why = f"there {'is' if slots == 1 else 'are'} {some}"
    return f"has {share} of {one.wanted} slots: {why}" if share else f"waits: {why}"


def duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"


def fair_shares(wanted: Sequence[int], slots: int) -> list[int]:
    """Slots of each claimant, as even as what they `wanted` lets them be; earlier ones first."""
    shares = [0] * len(wanted)
    while short := [place for place, want in enumerate(wanted) if shares[place] < want][:slots]:
        for place in short:
            shares[place] += 1
        slots -= len(short)
    return shares


class Turns:
    """Who has how many slots from one look at the queue to the next, and since when."""

    def __init__(self) -> None:
        #: what each job was given, by its run, in the order in which slots are given
        self.quotas: dict[str, Quota] = {}
        #: since when each job has slots, or has none; seconds of any clock
        self.since: dict[str, float] = {}
        #: of each user and priority: whether jobs have a slot, and since when, or since when none
        self._owners: dict[tuple[str, int], tuple[bool, float]] = {}
        #: when jobs were given a slot which another one may still have
        self._due = dict[str, float]()

    def held(self, run_id: str) -> int:
        return self.quotas[run_id].slots if run_id in self.quotas else 0

    def remember(self, run_id: str, now: float, last: tuple[int, float] | None) -> None:
        """Take a job up, with the slots that it has had, and since when, if that is known."""
        self.since[run_id] = now
        if last is not None:
            slots, self.since[run_id] = last
            self.quotas[run_id] = Quota(run_id, slots)

    def forget(self, run_id: str) -> None:
        """Take a job up anew if it comes again."""
        for known in (self.since, self.quotas, self._due):
            known.pop(run_id, None)

    def share_out(
        self,
        jobs: Sequence[QueuedJob],
        barred: Sequence[QueuedJob],
        slots: int,
        now: float,
        *,
        is_late: bool = False,
        most_per_user: int | None = None,
    ) -> list[Quota]:
        """Give slots to jobs, and none to those that are barred just now.

        No turn begins while `is_late` says that another sweep ends its round on a slot: if rounds
        take longer than turns, it would be over before.
        """
        owners = _by_owner([*jobs, *barred])
        self._note_owners(owners, now)
        for run_id, given in list(self._due.items()):
            if is_late:
                self.since[run_id] = now
            elif now - given > NOTICED_S:
                del self._due[run_id]
        for key, own in owners.items():
            held = {one.run_id for one in own if self.held(one.run_id)}
            if is_late and held and self._due.keys() >= held:
                self._owners[key] = (True, now)
        asked = [
            replace(
                one,
                held=self.held(one.run_id),
                since=self.since[one.run_id],
                owner_since=self._owners[one.owner, one.priority][1],
            )
            for one in jobs
        ]
        found = allot(asked, slots, now, most_per_user=most_per_user)
        for quota in found:
            if bool(self.held(quota.run_id)) != bool(quota.slots):
                self.since[quota.run_id] = now
                self._due.pop(quota.run_id, None)
                if quota.slots:
                    self._due[quota.run_id] = now
        every = [*found, *(Quota(one.run_id, 0) for one in barred)]
        self.quotas = {quota.run_id: quota for quota in every}
        self._note_owners(owners, now)
        return found

    def _note_owners(
        self, owners: Mapping[tuple[str, int], Sequence[QueuedJob]], now: float
    ) -> None:
        """Note since when users have slots, or have none, be it by one job or by another."""
        before, self._owners = self._owners, {}
        for key, own in owners.items():
            held = [one.run_id for one in own if self.held(one.run_id)]
            first = min(self.since[run_id] for run_id in held or [one.run_id for one in own])
            had, since = before.get(key, (bool(held), first))
            self._owners[key] = (bool(held), since if had == bool(held) else now)
