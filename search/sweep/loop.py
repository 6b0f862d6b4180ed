"""The loop of a sweep: propose trials, place them, receive messages, decide, log."""

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
    ProgressReported,
    Resumed,
    RoundReported,
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
    Message,
    Outcome,
    Progressed,
    RoundDone,
    Slot,
    Trial,
    TrialFiles,
    TrialProgress,
)


class Loop:
    """Runs the trials of a sweep that has begun, from the first to the last."""

    def __init__(self, parts: LoopParts) -> None:
        self._parts, self._history = parts, parts.history
        #: runs whose weights are in the store, by the number of their trial
        self._kept: dict[int, str] = {}
        self._last_heartbeat = self._state.now
        self._watch = Watch(self._state.now, parts.silent_s)
        #: whether the user was shown that there is no slot
        self._showed_no_slot = False

    @property
    def _state(self) -> SweepState:
        return self._history.state

    def take_up(self, past: ResumeState) -> None:
        """Restore the trials of the earlier driver: those that have ended, and those that go on."""
        parts = self._parts
        self._kept = dict(past.weights)
        state = self._history.apply(Resumed(past.finished, past.again))
        spec, old_spec = parts.spec, past.spec
        more_time = (spec.minutes or math.inf) > (old_spec.minutes or math.inf)
        extended = more_time or spec.trials > old_spec.trials
        parts.policy.restore(state.finished, state.waiting, extended=extended)
        with parts.interrupts.hold():
            self._drop_displaced()

    def run(self) -> None:
        """Run trials until none is left to try.

        Raises:
            Interrupted: the user interrupts the sweep.
        """
        parts = self._parts
        while True:
            if parts.interrupts.signal_number:
                raise Interrupted(parts.interrupts.signal_number)
            with parts.interrupts.hold():
                self._fill_slots()
                over = not self._state.running and not self._waits_for_a_slot()
            if over:
                return
            events = parts.inbox.receive()
            with parts.interrupts.hold():
                for slot, event in events:
                    self._receive(slot, event)
                    self._beat()  # there may be many events, and logging each takes time
                self._stop_hung()
                self._beat()
                self._stop_overdue()
            self._check_deadline()
            parts.viewer.update(self._state)

    def break_off(self) -> None:
        """Close the runs of running trials, whose workers have ended already, as stopped."""
        state = self._state
        reason = state.closing or "the sweep ended"
        stopped = Ended(Outcome.STOPPED, reason, state.broken_off)
        for progress in state.running.values():
            self._conclude(progress, stopped)

    def _check_deadline(self) -> None:
        state = self._state
        if state.deadline is not None and state.now >= state.deadline and not state.closing:
            over = f"{state.spec.minutes:g} minutes are over"
            self._close(Stop(StopReason.MINUTES, over))

    def _fill_slots(self) -> None:
        usable = self._parts.engine.slots
        for slot in self._state.slots:
            if slot in self._state.running or slot not in usable or self._state.closing:
                continue
            self._history.tick()
            trial = self._next()
            if trial is None:
                return
            self._place(trial, slot)

    def _next(self) -> Trial | None:
        """The trial to place next, which is then waiting; None if there is none now."""
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
        """Whether there is a trial to place, but no slot."""
        slots = set(self._state.slots).intersection(self._parts.engine.slots)
        if slots or self._state.closing or self._next() is None:
            self._showed_no_slot = False
            return False
        if not self._showed_no_slot:
            self._parts.viewer.said("no slot is left: waiting for one")
        self._showed_no_slot = True
        return True

    def _place(self, trial: Trial, slot: Slot) -> None:
        """Start a waiting trial on a slot.

        MLflow creates a run without params, so the config is logged by a second request. The trial
        counts as running before that, so that its run is closed if this request fails.
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
        parts.journal.log_config(progress, parts.task.params(trial.config))
        parts.engine.start(job)
        predicted_s = parts.policy.round_seconds(trial.config)
        self._history.apply(TrialStarted(slot, predicted_s))

    def _receive(self, slot: Slot, event: engines.Event) -> None:
        self._history.tick()
        if isinstance(event, engines.SlotAdded):
            self._history.apply(SlotCame(slot))
        elif isinstance(event, engines.SlotLost):
            if slot in self._state.running:
                self._receive_message(slot, Ended(Outcome.LOST, event.reason))
            self._history.apply(SlotGone(slot))
            self._parts.viewer.said(f"{slot} is lost: {event.reason}")
        else:
            self._receive_message(slot, event)

    def _receive_message(self, slot: Slot, message: Message) -> None:
        self._watch.receive(self._state.running[slot], message, self._state.now)
        if isinstance(message, Computing):
            return
        if isinstance(message, Progressed):
            self._history.apply(ProgressReported(slot, message))
        elif isinstance(message, RoundDone):
            self._history.apply(RoundReported(slot, message))
            self._judge(self._state.running[slot], repeated=message.repeated)
        else:
            self._conclude(self._state.running[slot], message)

    def _judge(self, progress: TrialProgress, *, repeated: bool) -> None:
        """Log a round; stop the trial if the policy ends it (pruned, patience, ladder)."""
        parts = self._parts
        if not progress.unlogged:
            parts.journal.log_round(progress)
        self._history.tick()
        if repeated:  # an earlier attempt of this trial was judged at this round, and went on
            parts.policy.note(progress)
        elif verdict := parts.policy.judge(progress):
            parts.engine.stop(progress.slot, verdict)

    def _stop_hung(self) -> None:
        """Stop trials that have sent no message for too long."""
        now = self._history.tick()
        for progress, ended in self._watch.look(self._state.running.values(), now):
            self._parts.engine.stop(progress.slot, ended)

    def _beat(self) -> None:
        """Renew the lease every `BEAT_S` seconds; close the sweep if `stop` was requested."""
        now = self._history.tick()
        if now - self._last_heartbeat < BEAT_S:
            return
        self._last_heartbeat = now
        workdir.touch(self._parts.folder)
        if self._parts.lease.beat(self._state.seconds) and not self._state.closing:
            self._close(ON_REQUEST)

    def _stop_overdue(self) -> None:
        """Stop trials of the search when the time for confirmation begins."""
        for progress, ended in self._parts.policy.overdue(self._state.seconds):
            self._parts.engine.stop(progress.slot, ended)

    def _close(self, why: Stop) -> None:
        """Start no more trials, and stop those that run."""
        state = self._history.apply(SweepClosing(why))
        for slot in state.running:
            self._parts.engine.stop(slot, Ended(Outcome.STOPPED, why.text, state.broken_off))

    def _conclude(self, progress: TrialProgress, ended: Ended) -> None:
        """Close the run of a trial that has ended; try it again, or let the policy learn from it.

        The trial counts as running until its run is closed. If an earlier call has failed while it
        closed the run, the outcome of that call stays.
        """
        self._history.tick()
        if not progress.ended:
            ended = replace(ended, reason=without_secrets(ended.reason))
            state = self._history.apply(TrialEnded(progress.slot, ended))
            progress = state.running[progress.slot]
        self._close_run(progress)
        self._retry_or_learn(progress)
        if not self._state.closing:
            self._look_for_failure(progress)
        self._parts.viewer.trial_ended(progress, self._state)

    def _close_run(self, progress: TrialProgress) -> None:
        """Log how a trial has ended, with its weights if it is among the best."""
        journal, best_before = self._parts.journal, self._state.best
        files = self._collect(progress)
        among_best = self._state.is_among_best(progress, self._parts.spec.keep)
        keep = among_best and files is not None and files.weights.exists()
        journal.close_trial(progress, files, keep=keep)
        state = self._history.apply(TrialClosed(progress.slot))
        if keep:
            self._kept[progress.trial.number] = progress.run_id
        self._drop_displaced()
        if state.best is not best_before:  # this trial is the best one now
            journal.log_progress(state.trials_done, state.best_loss)

    def _retry_or_learn(self, progress: TrialProgress) -> None:
        """Queue a trial that gets another attempt; tell the policy of any other end."""
        retry = goes_on(progress, self._state.finished)
        if progress.job and not retry:
            shutil.rmtree(progress.job.folder, ignore_errors=True)
        if retry and not self._state.closing:
            self._parts.policy.lose(progress)
            self._history.apply(TrialQueuedAgain(progress.trial.number))
        else:
            self._learn(progress)

    def _collect(self, progress: TrialProgress) -> TrialFiles | None:
        """Files that a trial has written; None if no worker was started for it."""
        if not (progress.started and progress.job):
            return None
        with needing_room(f"folder {progress.job.folder}"):
            return TrialFiles(folder=self._parts.engine.collect(progress.slot))

    def _drop_displaced(self) -> None:
        """Delete stored weights of trials that are no longer among the best."""
        best = {progress.run_id for progress in self._state.ranked[: self._parts.spec.keep]}
        for number, run_id in list(self._kept.items()):
            if run_id not in best:
                self._parts.journal.drop_weights(run_id)
                del self._kept[number]

    def _learn(self, progress: TrialProgress) -> None:
        """Tell the policy that a trial has ended; stop the trials that it needs no more."""
        policy = self._parts.policy
        climbing = policy.ladder is None
        for other, ended in policy.end(progress):
            self._parts.engine.stop(other.slot, ended)
        if climbing and (decision := policy.ladder):
            rates = policy.space[policy.space.rate or ""].describe()
            text = f"ladder: {decision.reason}; the search goes on with learning rates {rates}"
            self._parts.viewer.said(text)

    def _look_for_failure(self, progress: TrialProgress) -> None:
        """Close the sweep if its trials keep failing, or if there is no room for files."""
        assert progress.ended
        if progress.ended.unfinished:  # the sweep is not closing: the trial found no room
            folder = self._parts.folder
            self._close(Stop(StopReason.NO_ROOM, f"{progress.ended.reason} in {folder}"))
        elif why := health.failing(self._state.final, self._parts.spec.max_failures):
            self._close(Stop(StopReason.FAILURES, why))
