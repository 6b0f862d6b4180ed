"""The loop of a sweep: propose, place, listen, decide, record."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

from lstm_sweep.search.engines import base as engines
from lstm_sweep.search.policy.stop_reason import Stop, StopReason
from lstm_sweep.search.process import workdir
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupted
from lstm_sweep.search.sweep import health
from lstm_sweep.search.sweep.events import (
    EpochReported,
    ProgressReported,
    Resumed,
    SearchEnded,
    SlotCame,
    SlotGone,
    SweepClosing,
    TrialClosed,
    TrialEnded,
    TrialPlaced,
    TrialProposed,
    TrialQueuedAgain,
    TrialStarted,
)
from lstm_sweep.search.sweep.lease import BEAT_S
from lstm_sweep.search.sweep.loop_parts import LoopParts, needing_room
from lstm_sweep.search.sweep.resume import ResumeState, goes_on
from lstm_sweep.search.sweep.state import ON_REQUEST, SweepState
from lstm_sweep.search.sweep.watch import Watch
from lstm_sweep.search.trial import (
    Computing,
    Ended,
    EpochDone,
    Message,
    Outcome,
    Progressed,
    Slot,
    Trial,
    TrialFiles,
    TrialProgress,
)


class Loop:
    """The trials of a sweep that has begun, from the first one to the last."""

    def __init__(self, parts: LoopParts) -> None:
        self._parts, self._history = parts, parts.history
        #: runs whose weights are in the store, by the number of their trial
        self._kept: dict[int, str] = {}
        self._beaten = self._state.now
        self._watch = Watch(self._state.now, parts.silent_s)
        #: whether people know that there is no slot
        self._told_of_no_slot = False

    @property
    def _state(self) -> SweepState:
        return self._history.state

    def take_up(self, past: ResumeState) -> None:
        """Take up the trials that have ended, and those that were under way."""
        parts = self._parts
        self._kept = dict(past.weights)
        state = self._history.apply(Resumed(past.finished, past.again))
        now, was = parts.spec, past.spec
        more_time = (now.minutes or math.inf) > (was.minutes or math.inf)
        extended = more_time or now.trials > was.trials
        parts.policy.restore(state.finished, state.waiting, extended=extended)
        with parts.interrupts.hold():
            self._drop_displaced()

    def run(self) -> None:
        """Run trials until none is left to be tried.

        Raises:
            Interrupted: an end is wanted.
        """
        parts = self._parts
        while True:
            if parts.interrupts.asked:
                raise Interrupted(parts.interrupts.asked)
            with parts.interrupts.hold():
                self._fill_slots()
                over = not self._state.running and not self._waits_for_a_slot()
            if over:
                return
            heard = parts.inbox.receive()
            with parts.interrupts.hold():
                for slot, event in heard:
                    self._hear(slot, event)
                    self._beat()  # many may have come, and each takes its time to be written
                self._end_hung()
                self._beat()
                self._make_room()
            self._heed_deadline()
            parts.viewer.update(self._state)

    def break_off(self) -> None:
        """Record the trials under way, whose workers have ended already, as stopped."""
        state = self._state
        reason = state.closing or "the sweep ended"
        stopped = Ended(Outcome.STOPPED, reason, state.broken_off)
        for progress in state.running.values():
            self._conclude(progress, stopped)

    def _heed_deadline(self) -> None:
        state = self._state
        if state.deadline is not None and state.now >= state.deadline and not state.closing:
            over = f"{state.spec.minutes:g} minutes are over"
            self._close(Stop(StopReason.MINUTES, over))

    def _fill_slots(self) -> None:
        there = self._parts.engine.slots
        for slot in self._state.slots:
            if slot in self._state.running or slot not in there or self._state.closing:
                continue
            self._history.tick()
            trial = self._next()
            if trial is None:
                return
            self._place(trial, slot)

    def _next(self) -> Trial | None:
        """The trial to begin next, which waits; None if there is none now."""
        if not self._state.waiting:
            policy = self._parts.policy
            trial = policy.next(self._state.seconds)
            if policy.stop and not self._state.search_ended:
                self._history.apply(SearchEnded(policy.stop))
            if trial is None:
                return None
            self._history.apply(TrialProposed(trial))
        return self._state.waiting[0]

    def _waits_for_a_slot(self) -> bool:
        """Whether there is something to be tried, and no slot for it as yet."""
        slots = set(self._state.slots).intersection(self._parts.engine.slots)
        if slots or self._state.closing or self._next() is None:
            self._told_of_no_slot = False
            return False
        if not self._told_of_no_slot:
            self._parts.viewer.said("no slot is left: waiting for one")
        self._told_of_no_slot = True
        return True

    def _place(self, trial: Trial, slot: Slot) -> None:
        """Begin a trial that waits; it waits until its run is there."""
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
        parts.journal.log_config(progress, parts.task.params(trial.config))
        parts.engine.start(job)
        predicted_s = parts.policy.epoch_seconds(trial.config)
        self._history.apply(TrialStarted(slot, predicted_s))

    def _hear(self, slot: Slot, event: engines.Event) -> None:
        self._history.tick()
        if isinstance(event, engines.SlotAdded):
            self._history.apply(SlotCame(slot))
        elif isinstance(event, engines.SlotLost):
            if slot in self._state.running:
                self._hear_trial(slot, Ended(Outcome.LOST, event.reason))
            self._history.apply(SlotGone(slot))
            self._parts.viewer.said(f"{slot} is lost: {event.reason}")
        else:
            self._hear_trial(slot, event)

    def _hear_trial(self, slot: Slot, message: Message) -> None:
        self._watch.hear(self._state.running[slot], message, self._state.now)
        if isinstance(message, Computing):
            return
        if isinstance(message, Progressed):
            self._history.apply(ProgressReported(slot, message))
        elif isinstance(message, EpochDone):
            self._history.apply(EpochReported(slot, message))
            self._judge(self._state.running[slot], repeated=message.repeated)
        else:
            self._conclude(self._state.running[slot], message)

    def _judge(self, progress: TrialProgress, *, repeated: bool) -> None:
        """Log an epoch, and end the trial if it is not worth another one."""
        parts = self._parts
        if not progress.unlogged:
            parts.journal.log_epoch(progress)
        self._history.tick()
        if repeated:  # an earlier attempt was judged here, and went on
            parts.policy.note(progress)
        elif verdict := parts.policy.judge(progress):
            parts.engine.stop(progress.slot, verdict)

    def _end_hung(self) -> None:
        """End trials that are silent for too long."""
        now = self._history.tick()
        for progress, ended in self._watch.look(self._state.running.values(), now):
            self._parts.engine.stop(progress.slot, ended)

    def _beat(self) -> None:
        """Show that the sweep is driven, and see whether somebody wants it to stop."""
        now = self._history.tick()
        if now - self._beaten < BEAT_S:
            return
        self._beaten = now
        workdir.touch(self._parts.folder)
        if self._parts.lease.beat(self._state.seconds) and not self._state.closing:
            self._close(ON_REQUEST)

    def _make_room(self) -> None:
        """End trials of the search once the time for confirming has come."""
        for progress, ended in self._parts.policy.overdue(self._state.seconds):
            self._parts.engine.stop(progress.slot, ended)

    def _close(self, why: Stop) -> None:
        """Begin nothing more, and end what runs."""
        state = self._history.apply(SweepClosing(why))
        for slot in state.running:
            self._parts.engine.stop(slot, Ended(Outcome.STOPPED, why.text, state.broken_off))

    def _conclude(self, progress: TrialProgress, ended: Ended) -> None:
        """Record a trial that has ended, and let TPE know.

        It counts as under way until its run is closed. If its end was recorded in part before,
        that end stays.
        """
        parts, slot = self._parts, progress.slot
        self._history.tick()
        if not progress.ended:
            ended = replace(ended, reason=without_secrets(ended.reason))
            progress = self._history.apply(TrialEnded(slot, ended)).running[slot]
        before, files = self._state.best, self._collect(progress)
        among_best = self._state.is_among_best(progress, parts.spec.keep)
        keep = among_best and files is not None and files.weights.exists()
        parts.journal.close_trial(progress, files, keep=keep)
        state = self._history.apply(TrialClosed(slot))
        if keep:
            self._kept[progress.trial.number] = progress.run_id
        self._drop_displaced()
        if state.best is not before:
            parts.journal.log_progress(state.trials_done, state.best_loss)
        again = goes_on(progress, state.finished)
        if not again:
            shutil.rmtree(progress.job.folder, ignore_errors=True)
        if again and not state.closing:
            parts.policy.lose(progress)
            self._history.apply(TrialQueuedAgain(progress.trial.number))
        else:
            self._learn(progress)
        if not self._state.closing:
            self._look_for_failure(progress)
        parts.viewer.trial_ended(progress, self._state)

    def _collect(self, progress: TrialProgress) -> TrialFiles | None:
        """What a trial has written; None if no worker was started for it."""
        if not progress.started:
            return None
        with needing_room(f"folder {progress.job.folder}"):
            return TrialFiles(folder=self._parts.engine.collect(progress.slot))

    def _drop_displaced(self) -> None:
        """Let go of weights of trials that are no longer among the best."""
        best = {progress.run_id for progress in self._state.ranked[: self._parts.spec.keep]}
        for number, run_id in list(self._kept.items()):
            if run_id not in best:
                self._parts.journal.drop_weights(run_id)
                del self._kept[number]

    def _learn(self, progress: TrialProgress) -> None:
        """Let the policy learn from a trial that has ended, and end those not needed any more."""
        policy = self._parts.policy
        climbing = policy.ladder is None
        for other, ended in policy.end(progress):
            self._parts.engine.stop(other.slot, ended)
        if climbing and (decision := policy.ladder):
            rates = policy.space[policy.space.rate or ""].describe()
            text = f"ladder: {decision.reason}; the search goes on with learning rates {rates}"
            self._parts.viewer.said(text)

    def _look_for_failure(self, progress: TrialProgress) -> None:
        """End a sweep in which nothing works any more."""
        assert progress.ended
        if progress.ended.unfinished:  # though nobody has broken it off: it found no room
            folder = self._parts.folder
            self._close(Stop(StopReason.NO_ROOM, f"{progress.ended.reason} in {folder}"))
        elif why := health.failing(self._state.final, self._parts.spec.max_failures):
            self._close(Stop(StopReason.FAILURES, why))
