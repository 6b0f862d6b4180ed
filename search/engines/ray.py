"""Runs trials on the nodes of a Ray cluster, by agents that hold slots there.

An agent is an actor that runs `local` on its node, for as many slots as it was given CPUs or GPUs.
The driver is a process on a node of the cluster.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.engines import ray_agent, ray_cluster
from lstm_sweep.search.engines.base import ClosesOnExit, Event, SlotAdded, SlotLost
from lstm_sweep.search.engines.ray_agent import (
    Hello,
    KeptCheckpoint,
    Offering,
    Report,
    different,
    versions,
)
from lstm_sweep.search.engines.ray_cluster import Offer
from lstm_sweep.search.engines.ray_fleet import CONTROL, Fleet, Gone, Leaving, Member, Said
from lstm_sweep.search.engines.slot_sharing import Quota, quota_file
from lstm_sweep.search.values.device import Device
from lstm_sweep.search.values.trial import Ended, Job, Outcome, Paused, Slot, TrialFiles

#: seconds between two copies of the checkpoint of a trial, at least
EVERY_S = 60.0
#: share of the time in which checkpoints travel, one after the other, at most
SHARE = 0.2
#: seconds between two looks for trials whose checkpoint is to be copied
LOOK_S = 1.0
#: seconds that an agent has to give a checkpoint
WITHIN_S = 30.0
#: seconds for which the end waits for a copy that is under way
FETCH_WITHIN_S = 1.0


@dataclass(eq=False)
class _Copied:
    """A running trial, and what of its checkpoint is on the driver's machine."""

    job: Job
    member: Member
    #: when it is asked for next
    due: float
    #: version of the copy, as its agent has named it; 0 if there is none
    version: int = 0


class Checkpoints:
    """Copies the checkpoints of running trials to the folders of their jobs, in a thread."""

    def __init__(self) -> None:
        self._trials: dict[Slot, _Copied] = {}
        #: held while files of a trial are written, and while it is begun or forgotten
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray checkpoints", daemon=True)

    def begin(self, job: Job, member: Member) -> None:
        """Copy the checkpoints of a trial from now on."""
        with self._lock:
            self._trials[job.slot] = _Copied(job, member, time.monotonic() + EVERY_S)
        if not self._thread.ident:
            self._thread.start()

    def end(self, slot: Slot) -> None:
        """Write nothing to the folder of the trial on a slot any more."""
        with self._lock:
            self._trials.pop(slot, None)

    def close(self) -> None:
        """Write nothing any more, and end the thread."""
        self._closing.set()
        with self._lock:
            self._trials.clear()
        if self._thread.ident:
            self._thread.join(FETCH_WITHIN_S)

    def _run(self) -> None:
        while not self._closing.wait(min(LOOK_S, EVERY_S)):
            for one in self._due():
                began = time.monotonic()
                with contextlib.suppress(Exception):  # of a node that is gone, or of a full disk
                    self._copy(one)
                now = time.monotonic()
                one.due = now + EVERY_S
                if self._closing.wait((now - began) * (1 / SHARE - 1)):
                    return

    def _due(self) -> Iterator[_Copied]:
        """Trials whose checkpoint is due, those first that wait for longest."""
        with self._lock:
            trials = sorted(self._trials.values(), key=lambda one: one.due)
        now = time.monotonic()
        return (one for one in trials if one.due <= now and self._runs(one))

    def _runs(self, one: _Copied) -> bool:
        return self._trials.get(one.job.slot) is one

    def _copy(self, one: _Copied) -> None:
        """Copy the checkpoint of a trial if it is another one than was copied last."""
        import ray

        answer = one.member.call("checkpoint", one.job.slot, one.job.trial, one.version)
        found: KeptCheckpoint | None = ray.get(answer, timeout=WITHIN_S)
        if found is None:
            return
        with self._lock:
            if self._runs(one):  # else its end has brought the newest
                name = one.job.checkpoint.name
                ray_agent.write(one.job.folder, {name: [found.data]})
                one.version = found.version


class Corpora:
    """Puts each corpus into Ray's object store once, and has each agent fetch it once."""

    def __init__(self) -> None:
        #: what a corpus consists of in the object store by its digest, and the digest by folder
        self._chunks: dict[str, dict[str, list[Any]]] = {}
        self._digests: dict[Path, str] = {}

    def send(self, member: Member, folder: Path | None) -> str | None:
        """Have an agent fetch the folder that a trial reads; its digest, if there is one."""
        import ray

        if folder is None or not folder.is_dir():
            return None
        digest = self._digests.get(folder)
        if digest is None:
            digest = self._digests[folder] = ray_agent.digest(folder)
        if digest not in self._chunks:
            self._chunks[digest] = ray_agent.put(folder, ray.put)
        if digest not in member.corpora:
            member.corpora.add(digest)
            member.call("fetch", digest, self._chunks[digest])
        return digest

    def forget(self) -> None:
        """Let the object store delete them."""
        self._chunks.clear()


#: seconds for which a driver that had a slot too many asks for no more, doubled each further time
CONTENT_S, CONTENT_AT_MOST_S = 30.0, 480.0


class Share(Quota):
    """What a driver may use of a cluster: it asks for no more slots than were of use to it."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`file` is the quota; the demand is written beside it."""
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


#: seconds that nodes have to give their first slots
OPEN_WITHIN_S = 60.0
#: seconds that an agent has to answer: what memory a GPU has, and with the files of a trial
ANSWER_WITHIN_S, FILES_WITHIN_S = 5.0, 600.0
#: seconds that agents have in the end: to end their trials, to give their files, to delete theirs
END_WITHIN_S, LAST_FILES_WITHIN_S, CLEAR_WITHIN_S = 3.0, 4.0, 1.0


class RayEngine(ClosesOnExit):
    """Slots on all nodes of a cluster, also on those that join while it is open."""

    def __init__(
        self, workers: int | None = None, per_gpu: int = 1, address: str | None = None
    ) -> None:
        """Connect to the cluster, and wait for the slots of the nodes that it has.

        `address` is Ray's own; None for that in RAY_ADDRESS, or else for that of this machine. If a
        service has started this process, it has as many slots as that says, which may change.

        Raises:
            InputError: there is no cluster, or a node has other versions of what computes trials.
        """
        self.slots: tuple[Slot, ...] = ()
        self._workers = workers
        self._versions = versions()
        self._owners: dict[Slot, Member] = {}
        self._devices: dict[Slot, Device] = {}
        #: slots with a trial
        self._running: set[Slot] = set()
        #: those of them whose trial was told to end
        self._stopping: set[Slot] = set()
        self._checkpoints = Checkpoints()
        #: folder of the trial that was started last on each slot
        self._folders: dict[Slot, Path] = {}
        #: slots whose last trial has files on its node that were not collected
        self._uncollected: set[Slot] = set()
        self._corpora = Corpora()
        #: whether agents are to be warmed up, and for user code; None if not
        self._warm: bool | None = None
        self._closed = False
        ray_cluster.connect(address)
        file = quota_file()
        self._share = Share(file) if file else None
        self._fleet = Fleet(workers, per_gpu, self._share.most if self._share else None)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._fleet.begin()
        until = time.monotonic() + OPEN_WITHIN_S
        while time.monotonic() < until:
            begun = all(member.hello for member in self._fleet.members)
            if self.slots and begun and self._fleet.inbox.empty():
                return
            with contextlib.suppress(queue.Empty):
                member, item = said = self._fleet.inbox.get(timeout=0.1)
                if isinstance(item, Gone) and item.for_good:
                    raise InputError(f"node {member.node.name}: {item.reason}")
                self._receive(said)

    def describe(self, slot: Slot) -> Device:
        """A GPU or the CPU of the slot's node."""
        return self._devices[slot]

    def warm_up(self, *, user_code: bool = False) -> None:
        """Start the process that workers are forked from on each node."""
        self._warm = user_code
        for member in self._fleet.members:
            if member.hello:
                member.call("warm_up", user_code)

    @override
    def reserve(self, slot: Slot) -> str:
        if self._workers is not None and len(self._running) >= self._workers:
            return "all workers have a trial"  # those on a node that was left out were replaced
        if self._share is None or len(self._running) < self._share.most():
            return ""
        return self._share.why()

    @override
    def refusal(self) -> str:
        return "" if self._share is None or self._share.most() else self._share.why()

    @override
    def surplus(self) -> int:
        if self._share is None:
            return 0
        return self._share.surplus(len(self._running - self._stopping))

    @override
    def demand(self, count: int) -> None:
        if self._share:
            self._share.demand_of(count, len(self.slots))

    def start(self, job: Job) -> None:
        """Send a trial to the agent of its slot, with its files, and its corpus if it is new."""
        if self._closed:
            raise RuntimeError("the engine is closed")
        if job.slot in self._running:
            raise RuntimeError(f"{job.slot} is taken")
        if job.slot not in self.slots:
            raise RuntimeError(f"{job.slot} is lost")
        job.folder.mkdir(parents=True, exist_ok=True)
        member = self._owners[job.slot]
        self._running.add(job.slot)
        self._folders[job.slot] = job.folder
        self._uncollected.add(job.slot)
        self._note_load()
        if member.lost:
            return  # its `SlotLost` is in the inbox
        corpus = self._corpora.send(member, job.training.reads)
        files = ray_agent.read(job.folder)
        member.call_in_order("start", job, files, corpus)
        self._checkpoints.begin(job, member)

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """What agents have said; empty after `timeout_s` seconds."""
        heard: list[tuple[Slot, Event]] = []
        if self._closed:
            return heard
        with contextlib.suppress(queue.Empty):
            heard += self._receive(self._fleet.inbox.get(timeout=timeout_s))
            while True:
                heard += self._receive(self._fleet.inbox.get_nowait())
        return heard + self._give_back()

    def _give_back(self) -> list[tuple[Slot, Event]]:
        """End agents with more slots than the service gives, once they have nothing to do."""
        busy = self._running | self._uncollected
        gone: list[Slot] = []
        for member in self._fleet.surplus():
            own = self._own(member)
            if busy.isdisjoint(own) and self._fleet.release(member):
                gone += [slot for slot in own if slot in self.slots]
        self.slots = tuple(slot for slot in self.slots if slot not in gone)
        return [(slot, SlotLost(GIVEN_BACK)) for slot in gone]

    def _receive(self, said: Said) -> list[tuple[Slot, Event]]:
        member, item = said
        if isinstance(item, Gone):
            return self._lose(member, item.reason)
        if member.lost:
            return []
        if isinstance(item, Leaving):
            return self._leave(member)
        if isinstance(item, Hello):
            return self._welcome(member, item)
        return self._report(member, item)

    def _welcome(self, member: Member, hello: Hello) -> list[tuple[Slot, Event]]:
        """Slots of an agent that has begun."""
        member.hello = hello
        if why := different(hello.versions, self._versions):
            self._fleet.give_up(member, why, for_good=True)
        elif self._warm is not None:
            member.call("warm_up", self._warm)
        first = len(self._owners)
        slots = [replace(slot, index=first + i) for i, slot in enumerate(hello.slots)]
        self._owners |= dict.fromkeys(slots, member)
        self._devices |= dict.fromkeys(slots, hello.device)
        self.slots = (*self.slots, *slots)
        self._note_load()
        return [(slot, SlotAdded()) for slot in slots]

    def _report(self, member: Member, report: Report | Offering) -> list[tuple[Slot, Event]]:
        member.reports += 1
        if report.number != member.reports:
            expected = f"expected report {member.reports} of its agent, found {report.number}"
            self._fleet.give_up(member, expected)
            return []
        if isinstance(report, Offering):
            return [] if member.leaving else self._offer(member, report.offer)
        heard: list[tuple[Slot, Event]] = [(report.slot, report.event)]
        if isinstance(report.event, Ended | Paused):
            self._free(report.slot)
            self._note_load()
            if report.slot not in self.slots:  # `_offer` has taken it away
                heard += [(report.slot, _lost(member))]
        return heard

    def _offer(self, member: Member, offer: Offer) -> list[tuple[Slot, Event]]:
        """Let trials begin on so many slots of an agent; others are lost once they are free."""
        own = self._own(member)
        free_first = sorted(own, key=self._running.__contains__)
        offered = free_first[: offer.slots]
        lost = [slot for slot in own if slot in self.slots and slot not in offered]
        new = [slot for slot in offered if slot not in self.slots]
        self.slots = (*(slot for slot in self.slots if slot not in lost), *new)
        member.offer = offer
        self._note_load()
        return [
            *((slot, _lost(member)) for slot in lost if slot not in self._running),
            *((slot, SlotAdded()) for slot in new if slot not in self._running),
        ]

    def _own(self, member: Member) -> list[Slot]:
        """All slots that an agent has had."""
        return [slot for slot, owner in self._owners.items() if owner is member]

    def _leave(self, member: Member) -> list[tuple[Slot, Event]]:
        """End the trials on a node that is to leave while their files can still be had."""
        for slot in self._own(member):
            self.stop(slot, Ended(Outcome.LOST, LEAVING))
        return self._offer(member, Offer(0, LEAVING))

    def _lose(self, member: Member, reason: str) -> list[tuple[Slot, Event]]:
        own = self._own(member)
        gone = [slot for slot in own if slot in self.slots or slot in self._running]
        self.slots = tuple(slot for slot in self.slots if slot not in gone)
        for slot in gone:
            self._free(slot)
        self._note_load()
        return [(slot, SlotLost(reason)) for slot in gone]

    def _free(self, slot: Slot) -> None:
        """Note that no trial runs on a slot any more."""
        self._running.discard(slot)
        self._stopping.discard(slot)
        self._checkpoints.end(slot)

    def _note_load(self) -> None:
        self._fleet.busy = len(self._running) >= len(self.slots)

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        """Have the agent kill the worker on a slot; messages that were sent before still arrive."""
        if slot in self._running and not self._owners[slot].lost:
            self._stopping.add(slot)
            self._owners[slot].call_in_order("stop", slot, ended)

    def collect(self, slot: Slot) -> Path:
        """Copy the files of the slot's last trial from its node; the folder that they are in.

        If they cannot be had, an older network of the trial is deleted.
        """
        if slot not in self._folders:
            raise LookupError(f"no trial was started on {slot}")
        if slot in self._uncollected and not (self._closed or self._owners[slot].lost):
            self._fetch_files({slot: self._owners[slot].call("collect", slot)}, FILES_WITHIN_S)
        if slot in self._uncollected:  # what is here was written before it was started there
            files = TrialFiles(folder=self._folders[slot])
            for old in (files.weights, files.inputs):
                old.unlink(missing_ok=True)
        return self._folders[slot]

    def _fetch_files(self, answers: dict[Slot, Any], within_s: float) -> None:
        """Write the files of trials that agents give within so many seconds."""
        import ray

        until = time.monotonic() + within_s
        for slot, answer in answers.items():
            try:
                files = ray.get(answer, timeout=max(0.0, until - time.monotonic()))
            except ray.exceptions.RayError:  # the node is gone, or too slow
                continue
            folder = self._folders[slot]
            if folder.is_dir():  # the driver has removed it if it needs nothing of it
                ray_agent.write(folder, {name: [data] for name, data in files.items()})
            self._uncollected.discard(slot)

    @override
    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._checkpoints.close()
        self._fleet.stop_looking()
        try:
            self._end_agents()
        finally:
            self._fleet.close()
            self._corpora.forget()
            ray_cluster.disconnect()

    def _end_agents(self) -> None:
        """End all trials, fetch the files that they leave, and have agents delete their own."""
        members = [member for member in self._fleet.members if member.hello]
        _wait([member.call("end", group=CONTROL) for member in members], END_WITHIN_S)
        answers = {
            slot: self._owners[slot].call("collect", slot)
            for slot in self._uncollected
            if self._owners[slot] in members
        }
        with contextlib.suppress(OSError):
            self._fetch_files(answers, LAST_FILES_WITHIN_S)
        _wait([member.call("clear") for member in members], CLEAR_WITHIN_S)


#: why trials end on a node that is drained
LEAVING = "its node is about to leave the cluster"
#: why a slot is lost that others are to have
GIVEN_BACK = "it is not needed now, and left to others"


def _lost(member: Member) -> SlotLost:
    """What becomes of a slot that its agent does not offer; people are told of one of them."""
    offer, member.offer = member.offer, replace(member.offer, told=True)
    return SlotLost(offer.reason, offer.told)


def _wait(answers: list[Any], within_s: float) -> None:
    import ray

    if answers:
        ray.wait(answers, num_returns=len(answers), timeout=within_s)
