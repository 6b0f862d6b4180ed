"""The loop of a sweep: propose, place, listen, decide, record."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.stop_reason import Stop, StopReason
from lstm_sweep.search.process import workdir
from lstm_sweep.search.process.interrupts import Interrupts
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupted
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import Journal
from lstm_sweep.search.sweep import health
from lstm_sweep.search.sweep.lease import BEAT_S, Lease
from lstm_sweep.search.sweep.observer import Viewer
from lstm_sweep.search.sweep.outage import Listener
from lstm_sweep.search.sweep.resume import ResumeState, goes_on
from lstm_sweep.search.sweep.state import ON_REQUEST, State
from lstm_sweep.search.sweep.task import Task
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
    TrialProgress,
)


@dataclass(kw_only=True)
class Loop:
    """The trials of a sweep that has begun, from the first one to the last."""

    spec: SweepSpec
    state: State
    policy: Policy
    task: Task
    engine: Engine
    listener: Listener
    journal: Journal
    lease: Lease
    interrupts: Interrupts
    viewer: Viewer
    #: the sweep's folder on this machine, with what workers need in it
    folder: Path
    #: seconds of silence after which a trial may count as hung
    silent_s: float
    clock: Callable[[], float]
    #: runs whose weights are in the store, by the number of their trial
    _kept: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._beaten = self.state.now
        self._watch = Watch(self.state.now, self.silent_s)

    def take_up(self, past: ResumeState) -> None:
        """Take up the trials that have ended, and those that were under way."""
        state = self.state
        self._kept = dict(past.weights)
        state.finished = list(past.finished)
        state.again = list(past.again)
        for progress in state.finished:
            progress.began += state.began
            if progress.best_loss is not None:
                state.note_loss(progress.best_loss, progress.began + progress.seconds)
        now, was = self.spec, past.spec
        more_time = (now.minutes or math.inf) > (was.minutes or math.inf)
        extended = more_time or now.trials > was.trials
        self.policy.restore(state.finished, state.again, extended=extended)
        with self.interrupts.hold():
            self._drop_displaced()

    def run(self) -> None:
        """Run trials until none is left to be tried.

        Raises:
            Interrupted: an end is wanted.
        """
        state = self.state
        while True:
            if self.interrupts.asked:
                raise Interrupted(self.interrupts.asked)
            with self.interrupts.hold():
                self._fill_slots()
            if not state.running:
                return
            heard = self.listener.hear()
            with self.interrupts.hold():
                for slot, message in heard:
                    self._hear(state.running[slot], message)
                    self._beat()  # many may have come, and each takes its time to be written
                self._end_hung()
                self._beat()
                self._make_room()
            if state.deadline is not None and state.now >= state.deadline and not state.closing:
                over = f"{self.spec.minutes:g} minutes are over"
                self._close(Stop(StopReason.MINUTES, over))
            self.viewer.update(state)

    def break_off(self) -> None:
        """Record the trials under way, whose workers have ended already, as stopped."""
        state = self.state
        for progress in list(state.running.values()):
            reason = state.closing or "the sweep ended"
            stopped = Ended(Outcome.STOPPED, reason, state.broken_off)
            self._conclude(
                progress, progress.ended or stopped
            )  # it had ended if its end was not kept

    def _tick(self) -> None:
        self.state.now = self.clock()

    def _fill_slots(self) -> None:
        state = self.state
        for slot in self.engine.slots:
            if slot in state.running or state.closing:
                continue
            self._tick()
            if not state.again:
                trial = self.policy.next(state.seconds)
                if trial is None:
                    return
                state.again.append(trial)
            self._place(state.again[0], slot)

    def _place(self, trial: Trial, slot: Slot) -> None:
        """Begin the first of the trials that wait; it waits until its run is there."""
        job = self.task.job(trial, slot, self.folder)
        with needing_room(f"folder {job.folder}"):
            job.folder.mkdir(parents=True, exist_ok=True)
        self._tick()
        run_id = self.journal.open_trial(trial, slot, self.task.remarks(trial.config))
        progress = TrialProgress(trial, run_id, slot, job, began=self.state.now)
        self.state.running[slot] = progress
        self.state.again.remove(trial)
        self.policy.begin(progress)
        self.journal.log_config(progress, self.task.params(trial.config))
        self.engine.start(job)

    def _hear(self, progress: TrialProgress, message: Message) -> None:
        self._tick()
        self._watch.hear(progress, message, self.state.now)
        if isinstance(message, Computing):
            return
        if isinstance(message, Progressed):
            progress.latest = message
        elif isinstance(message, EpochDone):
            progress.take(message)
            if not progress.unlogged:
                self.journal.log_epoch(progress)
            self._tick()
            if progress.best_loss is not None:
                self.state.note_loss(progress.best_loss)
            if message.repeated:  # an earlier attempt was judged here, and went on
                self.policy.note(progress)
            elif verdict := self.policy.judge(progress):
                self.engine.stop(progress.slot, verdict)
        else:
            self._conclude(progress, message)

    def _end_hung(self) -> None:
        """End trials that are silent for too long."""
        self._tick()
        for progress, ended in self._watch.look(self.state.running.values(), self.state.now):
            self.engine.stop(progress.slot, ended)

    def _beat(self) -> None:
        """Show that the sweep is driven, and see whether somebody wants it to stop."""
        self._tick()
        if self.state.now - self._beaten < BEAT_S:
            return
        self._beaten = self.state.now
        workdir.touch(self.folder)
        if self.lease.beat(self.state.seconds) and not self.state.closing:
            self._close(ON_REQUEST)

    def _make_room(self) -> None:
        """End trials of the search once the time for confirming has come."""
        for progress, ended in self.policy.overdue(self.state.seconds):
            self.engine.stop(progress.slot, ended)

    def _close(self, why: Stop) -> None:
        """Begin nothing more, and end what runs."""
        state = self.state
        state.close(why)
        for slot in state.running:
            self.engine.stop(slot, Ended(Outcome.STOPPED, why.text, state.broken_off))

    def _conclude(self, progress: TrialProgress, ended: Ended) -> None:
        """Record a trial that has ended, and let TPE know.

        It counts as under way until its run is closed.
        """
        state = self.state
        self._tick()
        ended = replace(ended, reason=without_secrets(ended.reason))
        progress.ended, progress.seconds = ended, state.now - progress.began
        if progress.ranked_loss is not None:
            state.note_loss(progress.ranked_loss)
        before = state.best
        keep = state.is_among_best(progress, self.spec.keep) and progress.job.weights.exists()
        self.journal.close_trial(progress, keep=keep)
        del state.running[progress.slot]
        state.finished.append(progress)
        if keep:
            self._kept[progress.trial.number] = progress.run_id
        self._drop_displaced()
        if state.best is not before:
            self.journal.log_progress(state.trials_done, state.best_loss)
        again = goes_on(progress, state.finished)
        if not again:
            shutil.rmtree(progress.job.folder, ignore_errors=True)
        if again and not state.closing:
            state.again.append(progress.trial.next_attempt())
            self.policy.lose(progress)
        else:
            self._learn(progress)
        if not state.closing:
            self._look_for_failure(progress)
        self.viewer.trial_ended(progress, state)

    def _drop_displaced(self) -> None:
        """Let go of weights of trials that are no longer among the best."""
        best = {progress.run_id for progress in self.state.ranked[: self.spec.keep]}
        for number, run_id in list(self._kept.items()):
            if run_id not in best:
                self.journal.drop_weights(run_id)
                del self._kept[number]

    def _learn(self, progress: TrialProgress) -> None:
        """Let the policy learn from a trial that has ended, and end those not needed any more."""
        climbing = self.policy.ladder is None
        for other, ended in self.policy.end(progress):
            self.engine.stop(other.slot, ended)
        if climbing and (decision := self.policy.ladder):
            rates = self.policy.space[self.policy.space.rate or ""].describe()
            text = f"ladder: {decision.reason}; the search goes on with learning rates {rates}"
            self.viewer.said(text)

    def _look_for_failure(self, progress: TrialProgress) -> None:
        """End a sweep in which nothing works any more."""
        assert progress.ended
        if progress.ended.unfinished:  # though nobody has broken it off: it found no room
            self._close(Stop(StopReason.NO_ROOM, f"{progress.ended.reason} in {self.folder}"))
        elif why := health.failing(self.state.final, self.spec.max_failures):
            self._close(Stop(StopReason.FAILURES, why))


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
