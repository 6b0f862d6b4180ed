"""`Shares`: which sweeps of a service have how many slots, since when, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lstm_sweep.search.api.queue import QueuedRun
from lstm_sweep.search.service.runner import Runner
from lstm_sweep.search.service.scheduler import Allotment, Waiting, allot
from lstm_sweep.search.service.service import ServiceSettings

#: seconds for which a sweep keeps its slots while its driver is to be started again
KEPT_S = 5.0
#: seconds within which a driver notices that it is to give a slot back
NOTICED_S = 10.0
#: states of sweeps that have a driver, or are to get one
UNDER_WAY = ("queued", "running", "interrupted")
#: why a sweep has no slot until slots are shared out again, if it gets one then
JUST_NOW = "was queued just now"


class Shares:
    """The slots of a service, and what its sweeps have of them.

    `pids` and `since` are those of all sweeps that are shared out; `since` stays until it is
    deleted.
    """

    def __init__(
        self, settings: ServiceSettings, runner: Runner, clock: Callable[[], float]
    ) -> None:
        self._settings, self._runner, self._clock = settings, runner, clock
        #: how many there are
        self.slots = settings.count_slots()
        #: what each sweep was given, by its name, in the order in which slots are given
        self.allotted: dict[str, Allotment] = {}
        #: since when each sweep has slots, or has none, by its run; seconds of the clock
        self.since: dict[str, float] = {}
        #: of each user and priority: whether sweeps have a slot, and since when, or since when none
        self._owners: dict[tuple[str, int], tuple[bool, float]] = {}
        #: when sweeps were given a slot which another one may still have, by their runs
        self._due = dict[str, float]()
        #: process that drives each sweep, by its run; 0: on another machine, None: there is none
        self.pids: dict[str, int | None] = {}

    def remember(self, one: QueuedRun) -> None:
        """Take up the slots that an earlier service has given to a sweep, and since when."""
        if one.run_id in self.since:
            return
        self.since[one.run_id] = self._clock()
        if (last := self._runner.last_allotted(one.run_id)) is not None:
            slots, self.since[one.run_id] = last
            self.allotted[one.name] = Allotment(one.name, slots)

    def share_out(self, sweeps: Sequence[QueuedRun], now: float) -> None:
        """Give slots to sweeps that have a driver, or may soon; start those that lack one.

        A sweep whose driver has died just now keeps its slots for the one that follows. A turn does
        not begin as long as a trial of another sweep ends its round on the slot: if rounds take
        longer than turns, it would be over before.
        """
        if self._settings.cluster:
            self.slots = self._settings.count_slots()
        self._note_owners(sweeps, now)
        self._put_turns_off(sweeps, now)
        can, found = self._allot(sweeps, now)
        for given in found:
            before = self.allotted.get(given.name)
            if bool(before and before.slots) != bool(given.slots):
                self.since[can[given.name].run_id] = now
                self._due.pop(can[given.name].run_id, None)
                if given.slots:
                    self._due[can[given.name].run_id] = now
        for given in found:
            self._apply(can[given.name], given)
        later = [Allotment(one.name, 0) for one in sweeps if one.name not in can]
        self.allotted = {given.name: given for given in (*found, *later)}
        self._note_owners(sweeps, now)

    def _note_owners(self, sweeps: Sequence[QueuedRun], now: float) -> None:
        """Note since when users have slots, or have none, be it by one sweep or by another."""
        before, self._owners = self._owners, {}
        for key, own in _by_owner(sweeps).items():
            held = [one for one in own if self.slots_of(one.name)]
            first = min(self.since[one.run_id] for one in held or own)
            had, since = before.get(key, (bool(held), first))
            self._owners[key] = (bool(held), since if had == bool(held) else now)

    def _put_turns_off(self, sweeps: Sequence[QueuedRun], now: float) -> None:
        """Let turns begin now that could not yet, since a driver has still to give a slot back."""
        is_late = any(self._runner.surplus(run_id) for run_id, pid in self.pids.items() if pid)
        for run_id, given in list(self._due.items()):
            if run_id not in self.since or (not is_late and now - given > NOTICED_S):
                del self._due[run_id]
            elif is_late:
                self.since[run_id] = now
        if not is_late:
            return
        for key, own in _by_owner(sweeps).items():
            held = [one.run_id for one in own if self.slots_of(one.name)]
            if held and self._due.keys() >= {*held}:
                self._owners[key] = (True, now)

    def enter(self, sweeps: Sequence[QueuedRun], name: str) -> bool:
        """Give a sweep that was queued just now its place; nobody's slots change until `share_out`.

        Return whether it gets a slot then.
        """
        if name in self.allotted:
            return False
        for one in sweeps:
            self.remember(one)
            self.pids.setdefault(one.run_id, None)
        _, found = self._allot(sweeps, self._clock())
        own = next((given for given in found if given.name == name), Allotment(name, 0))
        if own.slots:
            found = [Allotment(name, 0, JUST_NOW) if given is own else given for given in found]
        now = self.allotted | {given.name: given for given in found if given.name == name}
        order = [given.name for given in found if given.name in now]
        self.allotted = {known: now[known] for known in dict.fromkeys([*order, *now])}
        return bool(own.slots)

    def _allot(
        self, sweeps: Sequence[QueuedRun], now: float
    ) -> tuple[dict[str, QueuedRun], list[Allotment]]:
        """Sweeps that may have slots, by name, and what each of them gets."""
        can = {
            one.name: one
            for one in sweeps
            if one.state in UNDER_WAY and self._runner.may_start_in(one.run_id) <= KEPT_S
        }
        wanting = [self._waiting(one, now) for one in can.values()]
        most = self._settings.most_per_user
        return can, allot(wanting, self.slots, now, most_per_user=most)

    def _apply(self, one: QueuedRun, given: Allotment) -> None:
        self._runner.allot(one.run_id, given.slots, given.why, self.since[one.run_id])
        may = not self._runner.may_start_in(one.run_id)
        if given.slots and may and self.pids[one.run_id] is None:
            self._runner.start(one.run_id)

    def _waiting(self, one: QueuedRun, now: float) -> Waiting:
        most = min(one.workers or self.slots, one.trials_left)
        demand = self._runner.demand(one.run_id) if self.pids[one.run_id] else None
        return Waiting(
            name=one.name,
            owner=one.owner,
            priority=one.priority,
            submitted=one.submitted,
            since=self.since[one.run_id],
            owner_since=self._owners.get((one.owner, one.priority), (False, now))[1],
            held=self.slots_of(one.name),
            wanted=max(1, most if demand is None else demand),
            left_s=one.seconds_left,
        )

    def slots_of(self, name: str) -> int:
        """How many slots a sweep has."""
        return self.allotted[name].slots if name in self.allotted else 0


def _by_owner(sweeps: Sequence[QueuedRun]) -> dict[tuple[str, int], list[QueuedRun]]:
    """Sweeps by user and priority."""
    found = dict[tuple[str, int], list[QueuedRun]]()
    for one in sweeps:
        found.setdefault((one.owner, one.priority), []).append(one)
    return found
