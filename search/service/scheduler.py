"""Which job has how many slots, and why.

Jobs of a higher priority get what they want before those of a lower one. Among those of one
priority slots are shared evenly by their users, however many jobs each of them has and however long
these are, and then by the jobs of each user. Where there are fewer slots than users, or than jobs
of one, they take turns: who has had a slot for a turn gives way to who waits for longest. A rerun
is a job of one slot, which it keeps until its end.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from lstm_sweep.search.driver.lease import Holder

#: seconds for which a job has a slot before another gets it, if there are too few
TURN_S = 300.0
#: seconds within which a driver notices that it is to give a slot back
NOTICED_S = 10.0
Key = TypeVar("Key")


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
    #: the sweep with whose network the trials of one begin that has only waited so far
    begins_with: str | None = None
    #: process that drives a sweep by its lease; None if there certainly is none
    driver: Holder | None = None
    #: what was changed in a sweep since it was driven last
    changes: Mapping[str, Any] = field(default_factory=dict)
    #: trials that it may run at once, by its spec; None: as many as there are slots
    workers: int | None = 1
    #: trials that are left, as far as somebody can tell
    trials_left: int = 1
    #: slots that it could use
    wanted: int = 1

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


def fair_shares(wanted: Sequence[int], slots: int) -> list[int]:
    """Slots of each claimant, as even as what they `wanted` lets them be; earlier ones first."""
    shares = [0] * len(wanted)
    while short := [place for place, want in enumerate(wanted) if shares[place] < want][:slots]:
        for place in short:
            shares[place] += 1
        slots -= len(short)
    return shares


@dataclass
class Claim:
    """What a job, or a user at one priority, has from one look at the queue to the next."""

    #: since when it has slots, or has none; seconds of any clock
    since: float
    slots: int = 0
    #: when it was given a slot which another one may still have
    due: float | None = None

    def wait(self, now: float, *, is_late: bool) -> None:
        """Begin the turn once nobody else has the slot any more."""
        if self.due is not None and is_late:
            self.since = now
        elif self.due is not None and now - self.due > NOTICED_S:
            self.due = None

    def take(self, slots: int, now: float) -> None:
        if bool(slots) != bool(self.slots):
            self.since, self.due = now, now if slots else None
        self.slots = slots


class Turns:
    """Gives slots to jobs, and knows since when each has some, or waits."""

    def __init__(self) -> None:
        #: what each job was given, by its run, in the order in which slots are given
        self.quotas: dict[str, Quota] = {}
        self.jobs: dict[str, Claim] = {}
        #: by user and priority
        self._users: dict[tuple[str, int], Claim] = {}

    def held(self, run_id: str) -> int:
        return self.jobs[run_id].slots if run_id in self.jobs else 0

    def forget(self, run_id: str) -> None:
        """Take a job up anew if it comes again."""
        self.jobs.pop(run_id, None)
        self.quotas.pop(run_id, None)

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
        """Give slots to jobs, which are in `self.jobs`, and none to those that are barred just now.

        No turn begins while `is_late` says that another sweep ends its round on a slot: if rounds
        take longer than turns, it would be over before.
        """
        owners, before = _by_owner([*jobs, *barred]), self._users
        self._users = {}
        for user, own in owners.items():
            claims = [self.jobs[one.run_id] for one in own]
            first = min(claims, key=lambda one: (not one.slots, one.since))
            self._users[user] = before.get(user) or Claim(first.since, first.slots)
        for claim in (*self.jobs.values(), *self._users.values()):
            claim.wait(now, is_late=is_late)
        most = sys.maxsize if most_per_user is None else most_per_user
        found = self._allot(jobs, slots, now, most)
        every = [*found, *(Quota(one.run_id, 0) for one in barred)]
        self.quotas = {quota.run_id: quota for quota in every}
        for quota in every:
            self.jobs[quota.run_id].take(quota.slots, now)
        for user, own in owners.items():
            self._users[user].take(sum(self.held(one.run_id) for one in own), now)
        return found

    def _allot(self, jobs: Sequence[QueuedJob], slots: int, now: float, most: int) -> list[Quota]:
        """Quotas in the order in which slots are given; a user has `most` at most."""
        used, found = Counter[str](), list[Quota]()
        for one in jobs:
            if one.stays:
                found.append(Quota(one.run_id, self.jobs[one.run_id].slots))
                used[one.owner] += found[-1].slots
        others = sorted((one for one in jobs if not one.stays), key=lambda one: -one.priority)
        for priority, same in itertools.groupby(others, key=lambda one: one.priority):
            of_user = _by_owner(same)
            users = _in_turn(of_user, self._users, now)
            may = [
                max(0, min(sum(one.wanted for one in of_user[user]), most - used[user[0]]))
                for user in users
            ]
            given, before = list[list[tuple[QueuedJob, int]]](), used.total()
            for user, share in zip(users, fair_shares(may, max(0, slots - before)), strict=True):
                own = {one.run_id: one for one in of_user[user]}
                line = [own[run_id] for run_id in _in_turn(own, self.jobs, now)]
                shares = fair_shares([one.wanted for one in line], share)
                given.append(list(zip(line, shares, strict=True)))
                used[user[0]] += share
            higher = [one for one in jobs if one.priority > priority]
            is_beaten = bool(higher) and used.total() == before
            why = _crowd(higher if is_beaten else jobs, slots, is_beaten=is_beaten)
            for one_of_each in itertools.zip_longest(*given):  # the first of each user, and so on
                for one, share in filter(None, one_of_each):
                    full = slots and used[one.owner] >= most
                    so = f"user {one.owner} has as many slots as one user may" if full else why
                    said = f"has {share} of {one.wanted} slots" if share else "waits"
                    text = f"{said}: {so}" if share < one.wanted else ""
                    found.append(Quota(one.run_id, share, text))
        return found


def raised(jobs: Sequence[QueuedJob]) -> list[QueuedJob]:
    """Sweeps with the priority of what their user lets wait for them, if that is higher."""
    rising = sorted(jobs, key=lambda one: one.priority)
    wanted = {(one.owner, one.begins_with): one.priority for one in rising}  # the highest is last
    return [
        replace(one, priority=max(one.priority, wanted.get((one.owner, one.name), one.priority)))
        for one in jobs
    ]


def _by_owner(jobs: Iterable[QueuedJob]) -> dict[tuple[str, int], list[QueuedJob]]:
    """Jobs by user and priority, those that were submitted first before others."""
    found = dict[tuple[str, int], list[QueuedJob]]()
    for one in sorted(jobs, key=lambda one: (one.submitted, one.run_id)):
        found.setdefault((one.owner, one.priority), []).append(one)
    return found


def _in_turn(keys: Iterable[Key], claims: Mapping[Key, Claim], now: float) -> list[Key]:
    """Jobs, or users, of one priority: those in a turn, those that wait, those whose turn is over.

    Among each the one first that has had a slot, or has waited, for longest. If none waits, each
    keeps what it has, as far as that is fair.
    """
    keys = list(keys)
    if all(claims[key].slots for key in keys):
        return sorted(keys, key=lambda key: -claims[key].slots)

    def place(key: Key) -> tuple[int, float]:
        claim = claims[key]
        turn = 2 if now - claim.since >= TURN_S else 0
        return turn if claim.slots else 1, claim.since

    return sorted(keys, key=place)


def _crowd(rivals: Sequence[QueuedJob], slots: int, *, is_beaten: bool) -> str:
    """Why a job has no more: who shares the slots with it, or comes before it."""
    count, users = len(rivals), len({one.owner for one in rivals})
    kinds = "sweeps and reruns" if any(one.is_rerun for one in rivals) else "sweeps"
    some = "1 slot" if slots == 1 else f"{slots} slots"
    if slots == 0:
        return "there is no slot"
    if is_beaten:
        return f"{count} {'sweep has' if count == 1 else f'{kinds} have'} a higher priority"
    if count > 1:
        return f"{count} {kinds}{f' of {users} users' if users > 1 else ''} share {some}"
    return f"there {'is' if slots == 1 else 'are'} {some}"
