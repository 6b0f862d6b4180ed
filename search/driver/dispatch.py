"""Gives the slots of a sweep to its trials: which one starts, and which has to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lstm_sweep.search.driver.observer import Viewer
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.task import Task
from lstm_sweep.search.driver.transitions import (
    History,
    SearchEnded,
    SlotsAllowed,
    SweepClock,
    TrialPlaced,
    TrialProposed,
    TrialResumed,
    TrialStarted,
)
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import Journal
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Paused, RoundDone, Slot, Trial

#: seconds for which trials are started before messages are received
TURN_S = 0.03


@dataclass(frozen=True, kw_only=True)
class LoopParts:
    """The parts that the loop of a sweep uses, once the sweep has begun."""

    spec: SweepSpec
    task: Task
    history: History
    policy: Policy
    engine: Engine
    writer: Writer
    journal: Journal
    interrupts: Interrupts
    viewer: Viewer
    clock: SweepClock
    #: the sweep's folder on this machine, with what workers need in it
    folder: Path
    #: seconds of silence after which a trial may count as hung
    silent_s: float


@contextmanager
def needing_room(where: str) -> Iterator[None]:
    """Write files on this machine.

    Raises:
        StoreError: they cannot be written.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise StoreError(f"{where}: {why}, expected room to work") from error


class Placing:
    """Starts trials on the free slots of one sweep."""

    def __init__(self, parts: LoopParts, end: Callable[[TrialProgress, Ended], None]) -> None:
        """`end` concludes a paused trial that will not go on."""
        self._parts, self._history, self._end = parts, parts.history, end
        #: why a slot could not be had that a trial waits for; empty if none waits
        self.refused = ""
        #: what the user was shown of slots that are missing
        self._shown = ""

    @property
    def _state(self) -> SweepState:
        return self._history.state

    def fill(self) -> bool:
        """Start trials on free slots; return whether it is done, and not to go on in a moment."""
        try:
            return self._fill()
        finally:
            self._parts.engine.release()

    def _fill(self) -> bool:
        state = self._state
        if len(state.running) >= len(state.slots) or state.closing:
            why = "" if state.slots or state.closing else self._parts.engine.refusal()
            self._refuse(why, len(state.slots))
            return True
        usable = set(self._parts.engine.slots)
        until = self._history.tick() + TURN_S
        for slot in state.slots:
            if slot in self._state.running or slot not in usable or self._state.closing:
                continue
            if self._parts.writer.is_behind:
                break
            if why := self._parts.engine.reserve(slot):
                if self._next() is None:
                    self._refuse("", len(self._state.running))
                else:
                    self._refuse(why, len(self._state.slots))
                return True
            self._know_reserved()
            trial = self._next()
            if trial is None:
                self._refuse("", len(self._state.running))
                return True
            self._begin(trial, slot)
            if self._history.tick() > until:
                return False
        self._refuse("", len(state.slots))
        return True

    def _refuse(self, why: str, demand: int) -> None:
        """Note why a slot cannot be had, if so, and how many trials could run at once."""
        self.refused = why
        running, allowed = len(self._state.running), self._state.allowed
        if why and allowed != running:
            self._history.apply(SlotsAllowed(running))
        if running:
            self._show("")
        self._parts.engine.demand(demand)
        self._count_slots()

    def _know_reserved(self) -> None:
        """Know that there is a slot beside those of the trials that run."""
        allowed, count = self._state.allowed, len(self._state.running) + 1
        if allowed is not None and count > allowed:
            self._history.apply(SlotsAllowed(count))

    def _count_slots(self) -> None:
        """Let the policy know how many slots can be used."""
        self._parts.policy.slots = max(1, self._state.usable)

    def _next(self) -> Trial | None:
        """The trial to run next, which is then waiting, or is paused; None if there is none now.

        Paused trials that will not go on are ended before.
        """
        self._count_slots()
        if preempted := self._state.preempted:
            return self._state.paused[preempted[0]].trial
        if not self._state.waiting:
            policy = self._parts.policy
            trial = policy.next(self._state.seconds)
            while trial is None and (dropped := policy.dropped()):
                for one, ended in dropped:
                    self._end(self._state.paused[one.trial.number], ended)
                trial = policy.next(self._state.seconds)
            if policy.stop and not self._state.search_ended:
                self._history.apply(SearchEnded(policy.stop))
            if trial is None or trial.number in self._state.paused:
                return trial
            self._history.apply(TrialProposed(trial))
        return self._state.waiting[0]

    def waits_for_a_slot(self) -> bool:
        """Whether there is a trial to place, but no slot."""
        slots = set(self._state.slots).intersection(self._parts.engine.slots)
        there = bool(slots) and not self.refused
        if there or self._state.closing or self._next() is None:
            self._show("")
            return False
        why = "waiting for a slot" if self.refused else "no slot is left: waiting for one"
        self._show(f"{why}: {self.refused}" if self.refused else why)
        return True

    def _show(self, why: str) -> None:
        """Say for which slots the sweep waits, also to whoever asks the store; empty for none."""
        if self._shown == why:
            return
        self._shown = why
        self._parts.journal.log_tags({Tag.WAITS: why})
        if why:
            self._parts.viewer.said(why)

    def _begin(self, trial: Trial, slot: Slot) -> None:
        """Start a trial on a slot, or let it go on that was paused."""
        parts, paused = self._parts, self._state.paused.get(trial.number)
        job = parts.task.job(trial, slot, parts.folder)
        if paused and paused.best_loss is not None:
            job = replace(job, best_loss=paused.best_loss)
        with needing_room(f"folder {job.folder}"):
            job.folder.mkdir(parents=True, exist_ok=True)
        self._history.tick()
        device = parts.engine.describe(slot)
        if paused:
            parts.journal.resume_trial(paused, device)
            self._history.apply(TrialResumed(trial.number, slot, job))
        else:
            known, remarks = parts.task.params(trial.config), parts.task.remarks(trial.config)
            self._history.apply(TrialPlaced(trial, slot, job))
            parts.journal.open_trial(trial, device, known, remarks)
        parts.policy.begin(self._state.running[slot])
        parts.writer.check()  # no worker is started once the store has failed
        parts.engine.start(job)
        self._history.apply(TrialStarted(slot))


#: seconds for which a trial keeps a slot that another sweep needs, if no checkpoint is written
#: meanwhile; twice as many each time that it had to go without one
KEEPS_S = 1_800.0


class Preemption:
    """Lets trials of one sweep wait while there are more than it may have slots.

    A trial gives its slot up as soon as it has a checkpoint of the round that it was in, so it goes
    on where it was. Without that, one whose start and round take longer than others let it have a
    slot would begin the same round again and again. One whose round takes longer than `KEEPS_S` is
    paused within it, and keeps its slot for twice as long the next time: so each gets on, and
    others wait at most twice as long as it takes to begin and to finish a round. A trial that runs
    code of the user has no checkpoint: it keeps its slot until it ends.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: since when there are too many trials, in seconds of the driver's clock
        self._since: float | None = None
        #: for how long each trial keeps its slot that had to wait without a checkpoint
        self._keeps_s: dict[int, float] = {}

    def receive(self, progress: TrialProgress, done: RoundDone, state: SweepState) -> None:
        """Let a trial wait that has just finished a round, if its slot is needed."""
        may = done.saved and not progress.last and _may_wait(progress)
        if may and not state.closing and self._engine.surplus():
            self._preempt(progress)

    def look(self, state: SweepState) -> None:
        """Let trials wait that have kept their slots for too long, the last that began first."""
        surplus = 0 if state.closing else self._engine.surplus()
        if not surplus:
            self._since = None
            return
        self._since = state.now if self._since is None else self._since
        kept = state.now - self._since
        late = [
            one
            for one in state.running.values()
            if _may_wait(one) and kept > self._keeps_s.get(one.trial.number, KEEPS_S)
        ]
        for progress in sorted(late, key=lambda one: -one.stretch_began)[:surplus]:
            number = progress.trial.number
            self._keeps_s[number] = 2 * self._keeps_s.get(number, KEEPS_S)
            self._preempt(progress)

    def _preempt(self, progress: TrialProgress) -> None:
        epoch = progress.trial.epoch_text(len(progress.rounds))
        waits = Paused(f"at epoch {epoch}: makes room", preempted=True)
        self._engine.stop(progress.slot, waits)


def _may_wait(progress: TrialProgress) -> bool:
    return bool(progress.started and progress.job and not progress.job.training.runs_user_code)
