"""Places the trials of a sweep on slots: which one runs next, and how it is started."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.sweep.events import (
    SearchEnded,
    SlotsAllowed,
    TrialPlaced,
    TrialProposed,
    TrialStarted,
    TrialThawed,
)
from lstm_sweep.search.sweep.loop_parts import LoopParts, Turn, needing_room
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.trial import Ended, Job, Slot, Trial


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
                self._thaw(trial, slot)
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
        self._parts.policy.slots.count = max(1, self._state.usable)

    def _next(self, turn: Turn | None = None) -> Trial | None:
        """The trial to run next, which is then waiting, or is paused; None if there is none now.

        Paused trials that will not go on are ended before, as many as there is time for in a turn.
        """
        self._count_slots()
        if making_room := self._state.making_room:
            return self._state.paused[making_room[0]].trial
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

    def _thaw(self, trial: Trial, slot: Slot) -> None:
        """Let a trial that was paused go on, on any slot."""
        parts = self._parts
        progress = self._state.paused[trial.number]
        best = math.inf if progress.best_loss is None else progress.best_loss
        job = replace(parts.task.job(trial, slot, parts.folder), best_loss=best)
        with needing_room(f"folder {job.folder}"):
            job.folder.mkdir(parents=True, exist_ok=True)
        parts.journal.thaw_trial(progress, parts.engine.describe(slot))
        self._history.tick()
        self._history.apply(TrialThawed(trial.number, slot, job))
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
