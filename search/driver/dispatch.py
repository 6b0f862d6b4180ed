"""Gives the slots of a sweep to its trials: which one starts, and which has to wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lstm_sweep.search.driver.inbox import Inbox
from lstm_sweep.search.driver.lease import Lease
from lstm_sweep.search.driver.observer import Viewer
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.task import Task
from lstm_sweep.search.driver.transitions import (
    EndEstimated,
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
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Ended, Job, Paused, RoundDone, Slot, Trial

#: seconds for which trials are started or closed, or rounds logged, before messages are received
TURN_S = 0.03
#: how many that are at least
FEWEST = 2
#: seconds between two estimates of the end, at least, and the share of the time that they take
ESTIMATE_S, ESTIMATE_SHARE = 1.0, 0.01


@dataclass(frozen=True, kw_only=True)
class LoopParts:
    """The parts that the loop of a sweep uses, once the sweep has begun."""

    spec: SweepSpec
    task: Task
    history: History
    policy: Policy
    engine: Engine
    inbox: Inbox
    journal: Journal
    lease: Lease
    interrupts: Interrupts
    viewer: Viewer
    clock: SweepClock
    #: the sweep's folder on this machine, with what workers need in it
    folder: Path
    #: seconds of silence after which a trial may count as hung
    silent_s: float

    def beating(self) -> AbstractContextManager[None]:
        """A context of what may take longer than a lease lasts, in which it is renewed."""
        return self.lease.beating(lambda: self.history.state.seconds)


class Turn:
    """Counts what is done before messages are received again."""

    def __init__(self, history: History) -> None:
        self._history, self._until, self._done = history, history.tick() + TURN_S, 0

    def goes_on(self) -> bool:
        """Whether there is time for one more, which is counted."""
        self._done += 1
        return self._done <= FEWEST or self._history.tick() < self._until


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


def _estimated_end(state: SweepState, policy: Policy) -> EndEstimated:
    """When a sweep ends, by what its policy knows now."""
    left = policy.expected_left(state.seconds)
    return EndEstimated(None if left is None else state.now + left)


class EndEstimates:
    """Estimates when a sweep ends, every `ESTIMATE_S` seconds or less often.

    What an estimate takes grows with the trials.
    """

    def __init__(self, parts: LoopParts) -> None:
        self._history, self._policy = parts.history, parts.policy
        #: when to estimate it next
        self._next = -math.inf

    def look(self) -> None:
        """Estimate it if it is time."""
        state = self._history.state
        if state.now < self._next:
            return
        self._history.apply(_estimated_end(state, self._policy))
        took = self._history.tick() - state.now
        self._next = state.now + max(ESTIMATE_S, took / ESTIMATE_SHARE)


def expected_tags(state: SweepState) -> dict[str, str]:
    """The tag that says for how long a sweep is expected to be driven in all."""
    end = state.expected_end
    return {Tag.EXPECTED_SECONDS: "" if end is None else f"{end - state.began:.3f}"}


class Placing:
    """Starts trials on the free slots of one sweep."""

    def __init__(
        self,
        parts: LoopParts,
        end: Callable[[TrialProgress, Ended], None],
        is_changing: Callable[[Slot], bool],
    ) -> None:
        """`end` concludes a paused trial that will not go on.

        `is_changing` says whether a slot was lost or has come, of which the state does not know
        yet.
        """
        self._parts, self._history, self._end = parts, parts.history, end
        self._is_changing = is_changing
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
        turn = Turn(self._history)
        for slot in state.slots:
            if slot in self._state.running or slot not in usable or self._state.closing:
                continue
            if self._is_changing(slot):
                continue
            if not turn.goes_on():
                return False
            if why := self._parts.engine.reserve(slot):
                if self._next() is None:
                    self._refuse("", len(self._state.running))
                else:
                    self._refuse(why, len(self._state.slots))
                return True
            self._know_reserved()
            trial = self._next(turn)
            if trial is None:
                self._refuse("", len(self._state.running))
                return not self._parts.policy.dropped()
            if trial.number in self._state.paused:
                self._resume(trial, slot)
            else:
                self._place(trial, slot)
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

    def _next(self, turn: Turn | None = None) -> Trial | None:
        """The trial to run next, which is then waiting, or is paused; None if there is none now.

        Paused trials that will not go on are ended before, as many as there is time for in a turn.
        """
        self._count_slots()
        if preempted := self._state.preempted:
            return self._state.paused[preempted[0]].trial
        if not self._state.waiting:
            policy = self._parts.policy
            trial = policy.next(self._state.seconds)
            while trial is None and (dropped := policy.dropped()):
                for one, ended in dropped:
                    if turn and not turn.goes_on():
                        return None
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
        self._parts.journal.store.log(self._state.run_id, tags={Tag.WAITS: why})
        if why:
            self._parts.viewer.said(why)

    def _place(self, trial: Trial, slot: Slot) -> None:
        """Start a waiting trial on a slot.

        MLflow creates a run without params, so the config is logged by a second request: soon, or
        with the first round.
        """
        parts = self._parts
        job = parts.task.job(trial, slot, parts.folder)
        with needing_room(f"folder {job.folder}"):
            job.folder.mkdir(parents=True, exist_ok=True)
        self._history.tick()
        device, remarks = parts.engine.describe(slot), parts.task.remarks(trial.config)
        run_id = parts.journal.open_trial(trial, device, remarks)
        self._history.apply(TrialPlaced(trial, slot, run_id, job))
        progress = self._state.running[slot]
        parts.policy.begin(progress)
        parts.journal.queue_config(progress, parts.task.params(trial.config))
        self._start(job)

    def _resume(self, trial: Trial, slot: Slot) -> None:
        """Let a trial that was paused go on, on any slot."""
        parts = self._parts
        progress = self._state.paused[trial.number]
        best = math.inf if progress.best_loss is None else progress.best_loss
        job = replace(parts.task.job(trial, slot, parts.folder), best_loss=best)
        with needing_room(f"folder {job.folder}"):
            job.folder.mkdir(parents=True, exist_ok=True)
        parts.journal.resume_trial(progress, parts.engine.describe(slot))
        self._history.tick()
        self._history.apply(TrialResumed(trial.number, slot, job))
        parts.policy.begin(self._state.running[slot])
        self._start(job)

    def _start(self, job: Job) -> None:
        """Start a worker for a trial that a slot was given to.

        Not if the slot was lost while the store was told of the trial: that is received next.
        """
        if self._is_changing(job.slot):
            return
        with self._parts.beating():  # the process that workers are forked from may import Keras
            self._parts.engine.start(job)
        self._history.apply(TrialStarted(job.slot))


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
