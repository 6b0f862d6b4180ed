"""The loop of a sweep: propose trials, place them, receive messages, decide, log."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import replace

from lstm_sweep.models.config import values_text
from lstm_sweep.models.network.checkpoint import keep_reported
from lstm_sweep.search.driver import health, lease, resume
from lstm_sweep.search.driver.dispatch import (
    EndEstimates,
    LoopParts,
    Placing,
    Preemption,
    Turn,
    expected_tags,
    needing_room,
)
from lstm_sweep.search.driver.health import Watch
from lstm_sweep.search.driver.inbox import Hearing
from lstm_sweep.search.driver.lease import BEAT_S
from lstm_sweep.search.driver.resume import ResumeState, goes_on
from lstm_sweep.search.driver.state import ON_REQUEST, PAUSED, SweepState
from lstm_sweep.search.driver.transitions import (
    ProgressReported,
    Resumed,
    RoundReported,
    SlotCame,
    SlotGone,
    SweepClosing,
    TrialClosed,
    TrialEnded,
    TrialPaused,
    TrialQueuedAgain,
)
from lstm_sweep.search.engines import base as engines
from lstm_sweep.search.policy.halving import pruned
from lstm_sweep.search.policy.stopping import out_of_time
from lstm_sweep.search.process import workdir
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupted
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.stop_reason import Stop, StopReason
from lstm_sweep.search.values.trial import (
    Computing,
    Ended,
    Message,
    Outcome,
    Paused,
    Progressed,
    RoundDone,
    Slot,
    TrialFiles,
)


class Closing:
    """Closes runs of one sweep."""

    def __init__(self, parts: LoopParts) -> None:
        self._parts = parts
        #: runs whose weights are in the store, by the number of their trial
        self._kept: dict[int, str] = {}

    def take_up(self, weights: Mapping[int, str]) -> None:
        """Know the runs with weights of an earlier driver, and delete what is not needed."""
        self._kept = dict(weights)
        self._drop_displaced()

    def close(self, progress: TrialProgress) -> None:
        """Log how a trial has ended, with its weights if it is among the best."""
        with self._parts.beating():  # large files may take long
            self._close(progress)

    def _close(self, progress: TrialProgress) -> None:
        parts, state = self._parts, self._parts.history.state
        best_before = state.best
        files = self.collect(progress)
        among_best = state.is_among_best(progress, parts.spec.keep)
        keep = among_best and files is not None and files.weights.exists()
        if among_best and files is not None and not keep:
            self._name_without_weights(progress)
        keep = keep and not parts.interrupts.short_of_time
        try:
            parts.journal.close_trial(progress, files, keep=keep)
        except StoreError:
            if not (keep and parts.interrupts.signal_number):
                raise
            keep = False  # there was no time for its weights, but may be for its end
            parts.journal.close_trial(progress, files, keep=False)
        state = parts.history.apply(TrialClosed(progress.trial.number))
        if keep:
            self._kept[progress.trial.number] = progress.run_id
        self._drop_displaced()
        is_best = state.best is not best_before
        # to find the best of thousands of trials under way takes long
        if is_best or parts.journal.was_news(progress.best_loss):
            parts.journal.follow(state.trials_done, state.leading_loss, new_best=is_best)

    def _name_without_weights(self, progress: TrialProgress) -> None:
        """Tell people of a trial that has lost its weights, which a resume would not bring back."""
        goes_on = progress.ended is not None and progress.ended.unfinished
        if not (goes_on or progress.trial.objective.returned):
            why = f"its files could not be had from {progress.slot}"
            text = f"{progress.trial.id} has no weights: {why}; its rerun has them"
            self._parts.viewer.said(text)

    def collect(self, progress: TrialProgress) -> TrialFiles | None:
        """Files that a trial has written; None if no worker was started for it."""
        parts, number = self._parts, progress.trial.number
        if number in parts.history.state.paused:  # they were collected when it was paused
            folder = parts.folder / str(number)
            return TrialFiles(folder=folder) if folder.exists() else None
        if not progress.job:
            return None
        if not progress.started:  # if it has waited, it has written files before
            folder = progress.job.folder
            return TrialFiles(folder=folder) if progress.waited and folder.exists() else None
        with needing_room(f"folder {progress.job.folder}"), parts.beating():
            files = TrialFiles(folder=parts.engine.collect(progress.slot))
            keep_reported(files.weights, len(progress.rounds))
            return files

    def _drop_displaced(self) -> None:
        """Delete stored weights of trials that are no longer among the best."""
        parts = self._parts
        state = parts.history.state
        best = {one.run_id for one in state.ranked[: parts.spec.keep]}
        for number, run_id in list(self._kept.items()):
            if run_id not in best and number not in state.paused:
                parts.journal.drop_weights(run_id)
                del self._kept[number]


#: seconds between two looks for trials that hang
LOOK_S = 0.2


class Loop:
    """Runs the trials of a sweep that has begun, from the first to the last."""

    def __init__(self, parts: LoopParts) -> None:
        self._parts, self._history = parts, parts.history
        self._closing = Closing(parts)
        self._last_heartbeat = self._state.now
        self._watch = Watch(self._state.now, parts.silent_s)
        self._hearing = Hearing(self._receive, lambda slot: slot in self._state.running)
        #: whether the best loss may be another one than was logged last
        self._is_news = False
        #: when trials that hang were looked for last
        self._looked = -math.inf
        self._preemption = Preemption(parts.engine)
        self._estimates = EndEstimates(parts)
        self._placing = Placing(parts, self._conclude, self._is_changing)
        #: how trials that run were told to end or to wait, by their number
        self._told: dict[int, Ended | Paused] = {}
        #: lines that were shown on networks that are left out for want of memory
        self._left_out: set[str] = set()

    @property
    def _state(self) -> SweepState:
        return self._history.state

    def take_up(self, past: ResumeState) -> None:
        """Restore the trials of the earlier driver: those that have ended, and those that go on."""
        parts = self._parts
        state = self._history.apply(
            Resumed(past.finished, past.again, past.unfinished, past.paused)
        )
        spec, old_spec = parts.spec, past.spec
        extended = any(
            resume.raised(getattr(old_spec, limit), getattr(spec, limit))
            for limit in ("minutes", "trials")
        )
        paused = list(state.paused.values())
        parts.policy.restore(state.finished, state.waiting, paused, extended=extended)
        with parts.interrupts.hold():
            self._closing.take_up(past.weights)
        for progress in (one for one in past.paused if one.run_id not in past.scheduled):
            with parts.interrupts.hold():
                self._beat()  # there may be many trials
                parts.journal.wait_again(progress)
            self._check_interrupted()

    def run(self) -> None:
        """Run trials until none is left to try.

        Raises:
            Interrupted: the user interrupts the sweep.
        """
        hearing = self._parts.inbox.hearing_meanwhile(self._hearing.meanwhile)
        with hearing:
            while self._turn():
                pass

    def _turn(self) -> bool:
        """Start, hear, decide and log, as there is time for; return whether to go on."""
        parts = self._parts
        self._check_interrupted()
        with parts.interrupts.hold():
            full = self._placing.fill()
            idle = full and not self._state.running
            over = idle and not self._placing.waits_for_a_slot()
            parts.clock.hold(held=idle and not over and bool(self._placing.refused))
            self._preemption.look(self._state)
        if over:
            return False
        wait = full and not self._hearing.waits and not parts.journal.is_behind
        self._hearing.add(parts.inbox.receive(wait=wait))
        with parts.interrupts.hold():
            while self._hearing.next():
                self._beat()  # there may be many events
            self._receive_ends()
            self._log_rounds()
            self._stop_hung()
            self._beat()
            self._stop_overdue()
        self._check_deadline()
        self._estimates.look()
        parts.viewer.update(self._state)
        return True

    def _check_interrupted(self) -> None:
        if number := self._parts.interrupts.signal_number:
            raise Interrupted(number)

    def break_off(self) -> None:
        """Close the runs of running trials, whose workers have ended already, as stopped."""
        self._receive_ends(all_of_them=True)
        state = self._state
        stopped = _ended_with(state.stop, state)
        if state.broken_off:
            state = self._close_ahead(stopped)
        for progress in state.running.values():
            self._conclude(progress, stopped)
        for progress in state.paused.values():
            goes_on = state.broken_off or progress.preempted
            self._conclude(progress, stopped if goes_on else pruned(progress.paused))

    def _close_ahead(self, stopped: Ended) -> SweepState:
        """Note the end of all trials, and close their runs at once, before what takes longer."""
        stopped = replace(stopped, reason=without_secrets(stopped.reason))
        for progress in self._state.under_way:
            if not progress.ended:
                self._history.apply(TrialEnded(progress.trial.number, stopped))
        state = self._state
        self._parts.journal.close_ahead(state.under_way)
        return state

    def _is_changing(self, slot: Slot) -> bool:
        return self._hearing.is_changing(slot) or self._parts.inbox.is_changing(slot)

    def _check_deadline(self) -> None:
        state = self._state
        if state.deadline is not None and state.now >= state.deadline and not state.closing:
            self._close(out_of_time(60 * (state.spec.minutes or 0.0)))

    def _receive_ends(self, *, all_of_them: bool = False) -> None:
        """Receive the last messages of trials, as many as there is time for before other ones."""
        turn = Turn(self._history)
        while self._hearing.kept and (all_of_them or turn.goes_on()):
            slot = next(iter(self._hearing.kept))
            for event in self._hearing.kept.pop(slot):
                self._receive(slot, event)
                if not all_of_them:  # else the lease is renewed meanwhile
                    self._beat()

    def _receive(self, slot: Slot, event: engines.Event) -> None:
        self._history.tick()
        if isinstance(event, engines.SlotAdded):
            self._history.apply(SlotCame(slot))
        elif isinstance(event, engines.SlotLost):
            if slot in self._state.running:
                self._receive_message(slot, Ended(Outcome.LOST, event.reason))
            self._history.apply(SlotGone(slot))
            if not event.told:
                self._parts.viewer.said(f"{slot} is lost: {event.reason}")
        else:
            self._receive_message(slot, event)

    def _receive_message(self, slot: Slot, message: Message) -> None:
        self._watch.receive(self._state.running[slot], message, self._state.now)
        if isinstance(message, Computing):
            return
        if isinstance(message, Progressed):
            self._history.apply(ProgressReported(slot, message))
        elif isinstance(message, Paused):
            self._pause(slot, message)
        elif isinstance(message, RoundDone):
            known = message.number <= len(self._state.running[slot].rounds)
            self._history.apply(RoundReported(slot, message))
            if not known:  # a trial that was paused reports its rounds once more
                self._judge(self._state.running[slot], repeated=message.repeated)
                self._preemption.receive(self._state.running[slot], message, self._state)
        else:
            self._conclude(self._state.running[slot], message)

    def _judge(self, progress: TrialProgress, *, repeated: bool) -> None:
        """Stop the trial if the policy ends it (pruned, patience, ladder); hold its round.

        What is held is logged soon, or when the trial that is stopped waits or ends.
        """
        parts = self._parts
        if repeated or not progress.unlogged:
            parts.journal.hold_round(progress)
        if repeated:  # an earlier attempt of this trial was judged at this round, and went on
            parts.policy.note(progress)
            return
        if verdict := parts.policy.judge(progress):
            self._tell(progress, verdict)
        elif not progress.unlogged:
            parts.journal.queue_round(progress)
        if not progress.unlogged and parts.journal.is_news(progress.best_loss):
            self._is_news = True

    def _log_rounds(self) -> None:
        """Log the best loss, and rounds that were held, as there is time before other messages."""
        state, turn = self._state, Turn(self._history)
        if self._is_news:
            self._is_news = False  # there may be more, while this is logged
            self._parts.journal.follow(state.trials_done, state.leading_loss, new_best=False)
        while self._parts.journal.is_behind and turn.goes_on():
            self._parts.journal.log_next()

    def _pause(self, slot: Slot, paused: Paused) -> None:
        """Free the slot of a trial that may go on later; it has ended if it has no round left."""
        progress = self._state.running[slot]
        told = self._told.pop(progress.trial.number, paused)
        if paused.preempted and isinstance(told, Ended):
            self._conclude(progress, told)
            return
        if progress.last:
            self._conclude(progress, Ended(Outcome.COMPLETE))
            return
        paused = told if isinstance(told, Paused) else paused
        self._closing.collect(progress)
        self._history.tick()
        state = self._history.apply(TrialPaused(slot, paused))
        progress = state.paused[progress.trial.number]
        if not progress.preempted:
            self._parts.policy.pause(progress)
        self._parts.journal.pause_trial(progress)

    def _tell(self, one: TrialProgress, verdict: Ended | Paused) -> None:
        """Let a trial end or wait that runs, or that makes room just now, and then ends at once."""
        waiting = self._state.paused.get(one.trial.number)
        if waiting and isinstance(verdict, Ended):
            self._conclude(waiting, verdict)
            return
        self._told[one.trial.number] = verdict
        self._parts.engine.stop(one.slot, verdict)

    def _stop_hung(self) -> None:
        """Stop trials that have sent no message for too long."""
        now = self._history.tick()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        for progress, ended in self._watch.look(self._state.running.values(), now):
            self._parts.engine.stop(progress.slot, ended)

    def _beat(self) -> None:
        """Renew the lease every `BEAT_S` seconds; close the sweep if `stop` was requested."""
        now = self._history.tick() + self._parts.clock.held
        if now - self._last_heartbeat < BEAT_S:
            return
        self._last_heartbeat = now
        workdir.touch(self._parts.folder)
        state = self._state
        if self._parts.lease.beat(state.seconds, expected_tags(state)) and not state.closing:
            self._close(PAUSED if self._parts.lease.asked == lease.PAUSE else ON_REQUEST)

    def _stop_overdue(self) -> None:
        """Stop trials of the search when the time for confirmation begins."""
        for one, ended in self._parts.policy.overdue(self._state.seconds):
            self._tell(one, ended)

    def _close(self, why: Stop) -> None:
        """Start no more trials, and stop those that run."""
        state = self._history.apply(SweepClosing(why))
        for slot in state.running:
            self._parts.engine.stop(slot, _ended_with(why, state))

    def _conclude(self, progress: TrialProgress, ended: Ended) -> None:
        """Close the run of a trial that has ended; try it again, or let the policy learn from it.

        The trial counts as running until its run is closed. If an earlier call has failed while it
        closed the run, the outcome of that call stays.
        """
        self._history.tick()
        self._told.pop(progress.trial.number, None)
        if not progress.ended:
            ended = replace(ended, reason=without_secrets(ended.reason))
            number = progress.trial.number
            state = self._history.apply(TrialEnded(number, ended))
            progress = state.open_trial(number) or progress
        self._closing.close(progress)
        self._retry_or_learn(progress)
        if not self._state.closing:
            self._look_for_failure(progress)
        self._parts.viewer.trial_ended(progress, self._state)

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

    def _learn(self, progress: TrialProgress) -> None:
        """Tell the policy that a trial has ended; stop the trials that it needs no more."""
        policy = self._parts.policy
        climbing = policy.ladder is None
        for other, ended in policy.end(progress):
            self._tell(other, ended)
        if climbing and (decision := policy.ladder):
            kept = values_text(policy.space[policy.space.rate or ""].describe())
            self._parts.viewer.said(f"ladder: {decision.reason}; the search tries rates {kept}")
        for line in policy.left_out():
            if line not in self._left_out:
                self._left_out.add(line)
                self._parts.viewer.said(line)

    def _look_for_failure(self, progress: TrialProgress) -> None:
        """Close the sweep if its trials keep failing, or if there is no room for files here.

        A node of a cluster without room is left out by the engine.
        """
        assert progress.ended
        if progress.ended.outcome.ranks and not progress.ended.unfinished:
            return
        if progress.ended.unfinished and progress.slot.node is None:
            folder = self._parts.folder
            self._close(Stop(StopReason.NO_ROOM, f"{progress.ended.reason} in {folder}"))
        elif why := health.failing(
            self._state.final, self._parts.spec.max_failures, self._state.under_way
        ):
            self._close(Stop(StopReason.FAILURES, why))


def _ended_with(why: Stop, state: SweepState) -> Ended:
    """How a trial ends that runs while its sweep ends: its time is over, or it goes on later."""
    outcome = Outcome.STOPPED if state.broken_off else Outcome.OUT_OF_TIME
    return Ended(outcome, why.text, state.broken_off)
