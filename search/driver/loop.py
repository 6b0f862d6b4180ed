"""The loop of a sweep: start trials, receive messages, decide, and have all of it written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lstm_sweep.models.config import values_text
from lstm_sweep.models.network.checkpoint import keep_reported
from lstm_sweep.models.rounds import Progressed, RoundDone
from lstm_sweep.search.driver import health, resume
from lstm_sweep.search.driver.health import Watch
from lstm_sweep.search.driver.resume import Resumed
from lstm_sweep.search.driver.state import (
    History,
    SweepState,
    Viewer,
    progress_reported,
    round_reported,
    run_created,
    slot_came,
    slot_gone,
    trial_ended,
    trial_paused,
    trial_proposed,
    trial_started,
)
from lstm_sweep.search.driver.task import Task
from lstm_sweep.search.engines import base as engines
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.policy.halving import pruned
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import out_of_time
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupted
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.journal import Journal
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.sweep import Stop, StopReason
from lstm_sweep.search.values.trial import (
    Attempt,
    Computing,
    Ended,
    Job,
    Message,
    Outcome,
    Paused,
    Slot,
    Trial,
    TrialFiles,
)

#: longest wait for an event of the engine, seconds
TICK_S = 0.25
#: seconds for which trials are started before messages are received
TURN_S = 0.03
#: seconds between two looks for trials that hang
LOOK_S = 0.2
#: seconds between two estimates of the end
ESTIMATE_S = 1.0


@contextmanager
def needing_room(where: str) -> Iterator[None]:
    """Write files on this machine; a `StoreError` says that they cannot be written."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise StoreError(f"{where}: {why}, expected room to work") from error


@dataclass(kw_only=True)
class Loop:
    """Runs the trials of a sweep that has begun, from the first to the last."""

    history: History
    task: Task
    policy: Policy
    engine: Engine
    journal: Journal
    viewer: Viewer
    #: the sweep's folder on this machine, with what workers need in it
    folder: Path

    def __post_init__(self) -> None:
        self._writer, self._interrupts = self.journal.writer, self.journal.writer.interrupts
        self._watch = Watch(self._state.now)
        #: attempts whose weights are in the store, or will be
        self._kept = set[Attempt]()
        #: trials that have ended before they got a run, of which nobody was shown the end
        self._unshown: dict[Attempt, Trial] = {}
        #: how trials that run were told to end or to wait, by their number
        self._told: dict[int, Ended | Paused] = {}
        #: numbers of trials that wait since other sweeps needed their slots; few or none, of many
        self._preempted = set[int]()
        #: why a slot could not be had that a trial waits for, and what people were told of it
        self._refused = self._waits = ""
        #: whether no further trial was started since too much waited to be written
        self._behind = False
        #: where a trial is about to be started
        self._starting: Slot | None = None
        #: the best trial and the lowest loss that were logged last
        self._logged: Any = (None, None)
        #: when trials that hang were looked for last, and when to estimate the end next
        self._looked = self._next_estimate = -math.inf

    @property
    def _state(self) -> SweepState:
        return self.history.state

    def take_up(self, past: Resumed) -> None:
        """Restore the trials of the earlier driver: those that have ended, and those that go on."""
        state, was = self._state, past.state.spec
        extended = any(
            resume.raised(getattr(was, limit), getattr(state.spec, limit))
            for limit in ("minutes", "trials")
        )
        paused = list(state.paused.values())
        self.policy.restore(state.finished, state.waiting, paused, extended=extended)
        self.journal.know({**past.weights, **{one.key: one.run_id for one in paused}})
        self._kept |= past.weights.keys()
        self._drop_displaced()
        self._logged = None  # it may be that of a trial which is tried again
        for one in past.wait_again:
            self.journal.wait_again(one)

    def run(self) -> None:
        """Run trials until none is left to try; `Interrupted` if the user wants an end."""
        while self._turn():
            pass

    def _turn(self) -> bool:
        if number := self._interrupts.signal_number:
            raise Interrupted(number)
        with self._interrupts.hold():
            try:
                full = self._start_trials()
            finally:
                self.engine.release()
            idle = full and not self._state.running
            behind = idle and (self._behind or self._writer.is_behind)
            over = idle and not behind and not self._waits_for_a_slot()
            self.history.hold(held=idle and not over and bool(self._refused))
            self._writer.look()
        if over:
            return False
        if behind:
            self._writer.breathe(TICK_S)
        events = self.engine.wait(TICK_S if full and not behind else 0.0)
        with self._interrupts.hold():
            for slot, event in events:
                self._receive(slot, event)
            self._log_best()
            self._stop_hung()
            for one, ended in self.policy.overdue(self._state.seconds):
                self._tell(one, ended)
        state = self._state
        if state.deadline is not None and state.now >= state.deadline and not state.closing:
            self.end(out_of_time(60 * (state.spec.minutes or 0.0)))
        if state.now >= self._next_estimate:
            self._estimate_end()
        self.viewer.update(self._state)
        return True

    # trials start

    def _start_trials(self) -> bool:
        """Start trials on free slots; return whether it is done, and not to go on in a moment."""
        state, self._behind = self._state, False
        if len(state.running) >= len(state.slots) or state.closing:
            why = "" if state.slots or state.closing else self.engine.refusal()
            self._note_demand(len(state.slots), why)
            return True
        usable = set(self.engine.slots)
        until = self.history.tick() + TURN_S
        for slot in state.slots:
            if slot in self._state.running or slot not in usable or self._state.closing:
                continue
            if self._writer.is_behind:
                self._behind = True
                break
            why = self.engine.reserve(slot)
            running = len(self._state.running)
            if not why and self._state.allowed is not None and running >= self._state.allowed:
                self.history.learn(allowed=running + 1)
            trial = self._next()
            if trial is None:
                self._note_demand(len(self._state.running))
                return True
            if why:
                self._note_demand(len(state.slots), why)
                return True
            self._start(trial, slot)
            if self.history.tick() > until:
                return False
        self._note_demand(len(state.slots))
        return True

    def _note_demand(self, demand: int, why: str = "") -> None:
        """Note how many trials could run at once, and why there is no further slot, if so."""
        self._refused = why
        running = len(self._state.running)
        if why:
            self.history.learn(allowed=running)
        if running:
            self._say_waits("")
        self.engine.demand(demand)
        self.policy.known.slots = max(1, self._state.usable)

    def _next(self) -> Trial | None:
        """The trial to run next, which is then waiting, or is paused; None if there is none now.

        Paused trials that will not go on are ended before.
        """
        policy = self.policy
        policy.known.slots = max(1, self._state.usable)
        if self._preempted and (preempted := next(self._state.preempted, None)):
            return preempted
        if not self._state.waiting:
            trial = policy.next(self._state.seconds)
            while trial is None and (dropped := policy.dropped()):
                for one, ended in dropped:
                    self._conclude(self._state.paused[one.number], ended)
                trial = policy.next(self._state.seconds)
            if policy.stop and not self._state.search_ended:
                self.history.learn(search_ended=policy.stop)
            if trial is None or trial.number in self._state.paused:
                return trial
            self.history.apply(trial_proposed, trial)
        return self._state.waiting[0]

    def _waits_for_a_slot(self) -> bool:
        there = set(self._state.slots).intersection(self.engine.slots) and not self._refused
        if there or self._state.closing or self._next() is None:
            self._say_waits("")
            return False
        none = "no slot is left: waiting for one"
        self._say_waits(f"waiting for a slot: {self._refused}" if self._refused else none)
        return True

    def _say_waits(self, why: str) -> None:
        """Say for which slots the sweep waits, also to whoever asks the store; empty for none."""
        if self._waits == why:
            return
        self._waits = why
        self.journal.log_tags({Tag.WAITS: why})
        if why:
            self.viewer.said(why)

    def _start(self, trial: Trial, slot: Slot) -> None:
        paused, folder = self._state.paused.get(trial.number), self.folder / str(trial.number)
        with needing_room(f"folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
        self.history.tick()
        device = self.engine.describe(slot)
        self._starting = slot
        self._preempted.discard(trial.number)
        self.history.apply(trial_started, trial, slot)
        if paused:
            self.journal.resume_trial(paused, device)
        else:
            params, remarks = self.task.params(trial.config), self.task.remarks(trial.config)
            self.journal.open_trial(trial, device, params, remarks)
        self.policy.put(self._state.running[slot])
        self._writer.check()  # no worker is started once the store has failed
        best, training = paused.best_loss if paused else None, self.task.training(self.folder)
        self.engine.start(
            Job(
                trial=trial.planned(), slot=slot, folder=folder, training=training,
                best_loss=math.inf if best is None else best,
            )
        )  # fmt: skip
        self._starting = None

    def name_run(self, trial: Trial, run_id: str) -> None:
        state = self.history.apply(run_created, trial, run_id)
        if progress := self._unshown.pop(trial.key, None):
            self.viewer.trial_ended(replace(progress, run_id=run_id), state)

    # trials report

    def _receive(self, slot: Slot, event: engines.Event) -> None:
        self.history.tick()
        if isinstance(event, engines.SlotAdded):
            self.history.apply(slot_came, slot)
        elif isinstance(event, engines.SlotLost):
            if slot in self._state.running:
                self._receive_message(slot, Ended(Outcome.LOST, event.reason))
            self.history.apply(slot_gone, slot)
            if not event.told:
                self.viewer.said(f"{slot} is lost: {event.reason}")
        else:
            self._receive_message(slot, event)

    def _receive_message(self, slot: Slot, message: Message) -> None:
        progress = self._state.running[slot]
        self._watch.receive(progress, message, self._state.now)
        match message:
            case Computing():
                pass
            case Progressed():
                self.history.apply(progress_reported, slot, message)
            case RoundDone():
                state = self.history.apply(round_reported, slot, message)
                if message.number > len(progress.rounds):  # else it had them before it was paused
                    self._judge(state.running[slot], repeated=message.repeated)
                    self._preempt(self._state.running[slot], message)
            case Paused():
                self._pause(progress, message)
            case Ended():
                self._conclude(progress, message)

    def _preempt(self, progress: Trial, done: RoundDone) -> None:
        """Let a trial that has a checkpoint wait while the sweep has too many slots.

        One that runs code of the user has none, and keeps its slot.
        """
        may = done.saved and not (progress.last or self.task.runs_user_code or self._state.closing)
        if may and self.engine.surplus():
            epoch = progress.epoch_text(len(progress.rounds))
            waits = Paused(f"at epoch {epoch}: makes room", preempted=True)
            self.engine.stop(progress.slot, waits)

    def _judge(self, progress: Trial, *, repeated: bool) -> None:
        """Stop the trial if the policy ends it (pruned, patience, ladder); log its round.

        That of a trial that is stopped is logged when it waits or ends.
        """
        if repeated:  # an earlier attempt of this trial was judged at this round, and went on
            self.journal.log_round(progress, soon=False)
            self.policy.note(progress)
            return
        verdict = self.policy.judge(progress)
        if verdict:
            self._tell(progress, verdict)
        if not progress.unlogged:
            self.journal.log_round(progress, soon=not verdict)

    def _log_best(self) -> None:
        state = self._state
        lowest = state.best_over_time[-1][1] if state.best_over_time else None
        best = (state.best and state.best.key, lowest)
        ending = (one for one in state.running.values() if one.unlogged)
        if best != self._logged and all(one.best_loss != lowest for one in ending):
            self._logged = best
            self.journal.log_progress(state.trials_done, lowest)

    def _pause(self, progress: Trial, paused: Paused) -> None:
        """Let a trial wait; it has ended if it has no round left."""
        told = self._told.pop(progress.number, paused)
        if paused.preempted and isinstance(told, Ended):
            self._conclude(progress, told)
            return
        if progress.last:
            self._conclude(progress, Ended(Outcome.COMPLETE))
            return
        paused = told if isinstance(told, Paused) else paused
        self._collect(progress)
        self.history.tick()
        state = self.history.apply(trial_paused, progress.slot, paused)
        progress = state.paused[progress.number]
        if progress.preempted:
            self._preempted.add(progress.number)
        else:
            self.policy.put(progress)
        self.journal.pause_trial(progress)

    def _tell(self, one: Trial, verdict: Ended | Paused) -> None:
        """Let a trial end or wait that runs, or that makes room just now, and then ends at once."""
        waiting = self._state.paused.get(one.number)
        if waiting and isinstance(verdict, Ended):
            if not self._state.closing:  # all that wait are closed at the end
                self._conclude(waiting, verdict)
            return
        self._told[one.number] = verdict
        self.engine.stop(one.slot, verdict)

    def _stop_hung(self) -> None:
        now = self.history.tick()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        for progress, ended in self._watch.look(self._state.running.values(), now):
            self.engine.stop(progress.slot, ended)

    def _estimate_end(self) -> None:
        state = self._state
        left = self.policy.expected_left(state.seconds)
        self.history.learn(expected_end=None if left is None else state.now + left)
        self._next_estimate = state.now + ESTIMATE_S

    # trials end

    def end(self, why: Stop) -> None:
        state = self.history.learn(closed=why)
        for slot in state.running:
            self.engine.stop(slot, _ended_with(why, state))

    def break_off(self, left_open: Callable[[Exception], None]) -> None:
        """Close the runs of running trials, whose workers have ended already, as stopped.

        `left_open` is told why one cannot be closed, though the store answers.
        """
        state = self._state
        stopped = _ended_with(state.stop, state)
        for progress in state.under_way:
            goes_on = not progress.paused or state.broken_off or progress.preempted
            try:
                self._conclude(progress, stopped if goes_on else pruned(progress.paused))
            except StoreError:
                raise
            except Exception as error:
                left_open(error)

    def _conclude(self, progress: Trial, ended: Ended) -> None:
        """Have it written how a trial has ended; try it again, or let the policy learn from it.

        Its weights are kept if it is among the best, and its folder for another attempt.
        """
        before, now = self._state, self.history.tick()
        self._told.pop(progress.number, None)
        self._preempted.discard(progress.number)
        ended = replace(ended, reason=without_secrets(ended.reason))
        files = self._collect(progress)
        progress = progress.with_end(ended, now)
        again = resume.goes_on(progress, itertools.chain(before.finished, [progress]))
        among_best = before.is_among_best(progress, self._most_kept)
        keep = among_best and files is not None and files.weights.exists()
        if among_best and files and not (keep or ended.unfinished or progress.objective.returned):
            why = f"its files could not be had from {progress.slot}"  # a resume brings none back
            self.viewer.said(f"{progress.id} has no weights: {why}; its rerun has them")
        remove = None if again else self.folder / str(progress.number)
        self.journal.close_trial(progress, files, keep=keep, remove=remove)
        tried = again and not before.closing
        number = progress.number
        self.history.apply(trial_ended, number, ended, again=tried)
        if keep:
            self._kept.add(progress.key)
        self._drop_displaced()
        if again:
            self.policy.put(progress)
        else:
            self._learn(progress)
        if not self._state.closing:
            self._look_for_failure(progress)
        if progress.run_id:
            self.viewer.trial_ended(progress, self._state)
        else:
            self._unshown[progress.key] = progress

    def _collect(self, progress: Trial) -> TrialFiles | None:
        folder = self.folder / str(progress.number)
        if progress.number in self._state.paused or progress.slot == self._starting:
            # they were collected when it was paused, if it was
            return TrialFiles(folder=folder) if folder.exists() else None
        with needing_room(f"folder {folder}"):
            files = TrialFiles(folder=self.engine.collect(progress.slot))
            keep_reported(files.weights, len(progress.rounds))
            return files

    @property
    def _most_kept(self) -> int:
        """Trials whose weights are kept."""
        return max(self._state.spec.keep, self.task.averaged)

    def _drop_displaced(self) -> None:
        state = self._state
        best = {one.key for one in state.ranked[: self._most_kept]}
        for attempt in self._kept - best:
            if attempt[0] not in state.paused:
                self.journal.drop_weights(attempt)
                self._kept.discard(attempt)

    def _learn(self, progress: Trial) -> None:
        policy = self.policy
        climbing = policy.ladder is None
        for other, ended in policy.end(progress):
            self._tell(other, ended)
        if climbing and (decision := policy.ladder):
            kept = values_text(policy.space[policy.space.rate or ""].describe())
            self.viewer.said(f"ladder: {decision.reason}; the search tries rates {kept}")

    def _look_for_failure(self, progress: Trial) -> None:
        """Close the sweep if its trials keep failing, or if there is no room for files here.

        A node of a cluster without room is left out by the engine.
        """
        assert progress.ended
        if progress.ended.outcome.ranks and not progress.ended.unfinished:
            return
        state = self._state
        if progress.ended.unfinished and progress.slot.node is None:
            self.end(Stop(StopReason.NO_ROOM, f"{progress.ended.reason} in {self.folder}"))
        elif why := health.failing(state.final, state.spec.max_failures, state.under_way):
            self.end(Stop(StopReason.FAILURES, why))


def _ended_with(why: Stop, state: SweepState) -> Ended:
    """How a trial ends that runs while its sweep ends: its time is over, or it goes on later."""
    outcome = Outcome.STOPPED if state.broken_off else Outcome.OUT_OF_TIME
    return Ended(outcome, why.text, state.broken_off)
