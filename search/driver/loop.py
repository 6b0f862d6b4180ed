"""The loop of a sweep: start trials, receive messages, decide, and have all of it written."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

from lstm_sweep.models.config import values_text
from lstm_sweep.models.network.checkpoint import keep_reported
from lstm_sweep.search.driver import health, resume
from lstm_sweep.search.driver.dispatch import LoopParts, Placing, Preemption, needing_room
from lstm_sweep.search.driver.health import Watch
from lstm_sweep.search.driver.resume import ResumeState
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.transitions import (
    EndEstimated,
    ProgressReported,
    Resumed,
    RoundReported,
    RunCreated,
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
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupted
from lstm_sweep.search.store.journal import Attempt, attempt_of
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
    Trial,
    TrialFiles,
)

#: longest wait for an event of the engine, seconds
TICK_S = 0.25
#: seconds between two looks for trials that hang
LOOK_S = 0.2
#: seconds between two estimates of the end, at least, and the share of the time that they take
ESTIMATE_S, ESTIMATE_SHARE = 1.0, 0.01


class Loop:
    """Runs the trials of a sweep that has begun, from the first to the last."""

    def __init__(self, parts: LoopParts) -> None:
        self._parts, self._history = parts, parts.history
        self._watch = Watch(self._state.now, parts.silent_s)
        self._preemption = Preemption(parts.engine)
        self._placing = Placing(parts, self._conclude)
        #: attempts whose weights are in the store, or will be
        self._kept = set[Attempt]()
        #: trials that have ended before they got a run, of which nobody was shown the end
        self._unshown: dict[Attempt, TrialProgress] = {}
        #: whether the best loss may be another one than was logged last
        self._is_news = False
        #: when trials that hang were looked for last, and when to estimate the end next
        self._looked = self._next_estimate = -math.inf
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
        parts.journal.runs |= past.weights
        for progress in paused:
            parts.journal.take_up(progress)
        self._kept |= past.weights.keys()
        self._drop_displaced()
        for progress in (one for one in past.paused if one.run_id not in past.scheduled):
            parts.journal.wait_again(progress)

    def run(self) -> None:
        """Run trials until none is left to try.

        Raises:
            Interrupted: the user interrupts the sweep.
        """
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Start trials, and decide on what others report; return whether to go on."""
        parts = self._parts
        self._check_interrupted()
        with parts.interrupts.hold():
            full = self._placing.fill()
            idle = full and not self._state.running
            behind = idle and parts.writer.is_behind
            over = idle and not behind and not self._placing.waits_for_a_slot()
            parts.clock.hold(held=idle and not over and bool(self._placing.refused))
            self._preemption.look(self._state)
            parts.writer.look()
        if over:
            return False
        if behind:
            parts.writer.breathe(TICK_S)
        events = parts.engine.wait(TICK_S if full and not behind else 0.0)
        with parts.interrupts.hold():
            for slot, event in events:
                self._receive(slot, event)
            self._log_news()
            self._stop_hung()
            self._stop_overdue()
        self._check_deadline()
        self._estimate_end()
        parts.viewer.update(self._state)
        return True

    def _check_interrupted(self) -> None:
        if number := self._parts.interrupts.signal_number:
            raise Interrupted(number)

    def break_off(self) -> None:
        """Close the runs of running trials, whose workers have ended already, as stopped."""
        state = self._state
        stopped = _ended_with(state.stop, state)
        with self._parts.journal.side_by_side():
            for progress in state.running.values():
                self._conclude(progress, stopped)
            for progress in state.paused.values():
                goes_on = state.broken_off or progress.preempted
                self._conclude(progress, stopped if goes_on else pruned(progress.paused))

    def name_run(self, trial: Trial, run_id: str) -> None:
        """Know the run of a trial."""
        state = self._history.apply(RunCreated(trial, run_id))
        if progress := self._unshown.pop(attempt_of(trial), None):
            self._parts.viewer.trial_ended(replace(progress, run_id=run_id), state)

    def _check_deadline(self) -> None:
        state = self._state
        if state.deadline is not None and state.now >= state.deadline and not state.closing:
            self.end(out_of_time(60 * (state.spec.minutes or 0.0)))

    def _estimate_end(self) -> None:
        """Estimate when the sweep ends if it is time; what that takes grows with the trials."""
        state = self._state
        if state.now < self._next_estimate:
            return
        left = self._parts.policy.expected_left(state.seconds)
        self._history.apply(EndEstimated(None if left is None else state.now + left))
        took = self._history.tick() - state.now
        self._next_estimate = state.now + max(ESTIMATE_S, took / ESTIMATE_SHARE)

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
        """Stop the trial if the policy ends it (pruned, patience, ladder); log its round.

        That of a trial that is stopped is logged when it waits or ends.
        """
        parts = self._parts
        if repeated:  # an earlier attempt of this trial was judged at this round, and went on
            parts.journal.log_round(progress, soon=False)
            parts.policy.note(progress)
            return
        verdict = parts.policy.judge(progress)
        if verdict:
            self._tell(progress, verdict)
        if not progress.unlogged:
            parts.journal.log_round(progress, soon=not verdict)
            self._is_news = self._is_news or parts.journal.is_news(progress.best_loss)

    def _log_news(self) -> None:
        """Log the best loss if a round may have changed it."""
        if self._is_news:
            self._is_news, state = False, self._state
            self._parts.journal.follow(state.trials_done, state.leading_loss, new_best=False)

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
        self._collect(progress)
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

    def _stop_overdue(self) -> None:
        """Stop trials of the search when the time for confirmation begins."""
        for one, ended in self._parts.policy.overdue(self._state.seconds):
            self._tell(one, ended)

    def end(self, why: Stop) -> None:
        """Start no more trials, and stop those that run."""
        state = self._history.apply(SweepClosing(why))
        for slot in state.running:
            self._parts.engine.stop(slot, _ended_with(why, state))

    def _conclude(self, progress: TrialProgress, ended: Ended) -> None:
        """Close the run of a trial that has ended; try it again, or let the policy learn from it.

        If an earlier call has failed while it collected its files, the outcome of that call stays.
        """
        self._history.tick()
        self._told.pop(progress.trial.number, None)
        if not progress.ended:
            ended = replace(ended, reason=without_secrets(ended.reason))
            number = progress.trial.number
            state = self._history.apply(TrialEnded(number, ended))
            progress = state.open_trial(number) or progress
        again = resume.goes_on(progress, itertools.chain(self._state.finished, [progress]))
        self._close(progress, needed=again)
        if again and not self._state.closing:
            self._parts.policy.lose(progress)
            self._history.apply(TrialQueuedAgain(progress.trial.number))
        else:
            self._learn(progress)
        if not self._state.closing:
            self._look_for_failure(progress)
        if progress.run_id:
            self._parts.viewer.trial_ended(progress, self._state)
        else:
            self._unshown[attempt_of(progress.trial)] = progress

    def _close(self, progress: TrialProgress, *, needed: bool) -> None:
        """Have it written how a trial has ended, with its weights if it is among the best.

        Its folder is kept if it is `needed` for another attempt.
        """
        parts, state = self._parts, self._state
        best_before = state.best
        files = self._collect(progress)
        among_best = state.is_among_best(progress, parts.spec.keep)
        keep = among_best and files is not None and files.weights.exists()
        if among_best and files is not None and not keep:
            self._name_without_weights(progress)
        remove = progress.job.folder if progress.job and not needed else None
        parts.journal.close_trial(progress, files, keep=keep, remove=remove)
        state = self._history.apply(TrialClosed(progress.trial.number))
        if keep:
            self._kept.add(attempt_of(progress.trial))
        self._drop_displaced()
        is_best = state.best is not best_before
        if parts.interrupts.signal_number:
            return  # it is logged once, at the end of all
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

    def _collect(self, progress: TrialProgress) -> TrialFiles | None:
        """Files that a trial has written; None if no worker was started for it."""
        parts, number = self._parts, progress.trial.number
        if number in self._state.paused:  # they were collected when it was paused
            folder = parts.folder / str(number)
            return TrialFiles(folder=folder) if folder.exists() else None
        if not progress.job:
            return None
        if not progress.started:  # if it has waited, it has written files before
            folder = progress.job.folder
            return TrialFiles(folder=folder) if progress.waited and folder.exists() else None
        with needing_room(f"folder {progress.job.folder}"):
            files = TrialFiles(folder=parts.engine.collect(progress.slot))
            keep_reported(files.weights, len(progress.rounds))
            return files

    def _drop_displaced(self) -> None:
        """Delete stored weights of trials that are no longer among the best."""
        parts, state = self._parts, self._state
        best = {attempt_of(one.trial) for one in state.ranked[: parts.spec.keep]}
        for attempt in self._kept - best:
            if attempt[0] not in state.paused:
                parts.journal.drop_weights(attempt)
                self._kept.discard(attempt)

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
            self.end(Stop(StopReason.NO_ROOM, f"{progress.ended.reason} in {folder}"))
        elif why := health.failing(
            self._state.final, self._parts.spec.max_failures, self._state.under_way
        ):
            self.end(Stop(StopReason.FAILURES, why))


def _ended_with(why: Stop, state: SweepState) -> Ended:
    """How a trial ends that runs while its sweep ends: its time is over, or it goes on later."""
    outcome = Outcome.STOPPED if state.broken_off else Outcome.OUT_OF_TIME
    return Ended(outcome, why.text, state.broken_off)
