"""The loop of a sweep: propose, place, listen, decide, record."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from models import baselines
from models.config import TrialConfig
from models.corpus import Corpus
from models.size import Verdict
from models.windows import scoring_targets
from search import health, report, scratch
from search.cost import Extent
from search.engines.base import Engine
from search.faults import NO_SPACE, StoreError
from search.interrupt import Interrupted, Shield
from search.journal import Journal, data_tags, spec_tags
from search.lease import BEAT_S, STOP, Lease, LeaseLostError
from search.policy import Policy
from search.resume import Past, goes_on
from search.spec import SweepSpec
from search.state import FAILED, INTERRUPTED, ON_REQUEST, Display, State
from search.tracking import Store
from search.trial import (
    Course,
    Ended,
    EpochDone,
    Job,
    Message,
    Outcome,
    Progressed,
    Slot,
    Trial,
)

#: the baseline that knows nothing but how frequent each symbol is
GUESSING = "unigram"
#: seconds that the store gets to answer once the user wants an end
GIVE_UP_S = 3.0
#: a driver that has not looked for so many seconds cannot tell who was silent
BLIND_S = 5.0
#: seconds between two looks at the clock while nothing happens
TICK_S = 0.25


class Sweep:
    """One sweep under way."""

    def __init__(
        self,
        spec: SweepSpec,
        *,
        name: str,
        corpus: Corpus,
        store: Store,
        engine: Engine,
        display: Display,
        past: Past | None = None,
        silent_s: float = health.SILENT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._past, self._silent_s = past, silent_s
        self._spec, self._corpus, self._store = spec, corpus, store
        self._engine, self._display, self._clock = engine, display, clock
        self._rule = spec.rule()
        self._admits = self._fits if spec.size_rule == "reject" else lambda config: True
        self._shield = Shield()
        self._watched = True
        #: runs whose weights are in the store, by the number of their trial
        self._kept = dict(past.weights) if past else {}
        self._folder: Path | None = None
        #: messages that came while the store did not answer
        self._heard: list[tuple[Slot, Message]] = []
        self._waited = 0.0
        #: whether another driver has taken the sweep over
        self._lost = False
        began = clock() - (past.seconds if past else 0.0)
        self.state = State(name, spec, "", engine.slots, {}, began=began, now=clock())
        self._beaten = self._looked = clock()
        if spec.minutes is not None:
            self.state.deadline = self.state.began + 60 * spec.minutes

    def _fits(self, config: TrialConfig) -> bool:
        return self._verdict(config).admitted

    def _verdict(self, config: TrialConfig) -> Verdict:
        return self._rule.judge(config, len(self._corpus.alphabet), len(self._corpus.train))

    def run(self) -> State:
        """Run to the end of the budget, or until interrupted; the store is left whole."""
        with self._shield.up():
            return self._run()

    def _run(self) -> State:
        self._store.waiting = self._wait_for_store
        try:
            self._begin()
            self._work()
        except KeyboardInterrupt:
            self.state.closing = INTERRUPTED
            raise
        except BaseException as error:
            self._lost = isinstance(error, LeaseLostError)
            self.state.closing = f"{FAILED}{error or type(error).__name__}"
            raise
        finally:
            with self._shield.hold(to_the_end=True):
                self._finish()
            self._store.waiting = None
        return self.state

    def _wait_for_store(self, why: str, seconds: float) -> None:
        """The store does not answer: listen to the trials meanwhile."""
        if self._shield.asked and not self._shield.ending:
            raise Interrupted(self._shield.asked)
        self._waited += seconds
        if self._shield.asked and self._waited > GIVE_UP_S:
            raise StoreError(f"store {self._store.settings} does not answer: {why}")
        self._show(lambda: self._display.say(f"the store does not answer, waiting: {why}"))
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            began = time.monotonic()
            self._heard += self._engine.wait(min(left, TICK_S))
            if time.monotonic() - began < TICK_S / 2:
                time.sleep(min(left, TICK_S / 2))
            if self._shield.asked and not self._shield.ending:
                raise Interrupted(self._shield.asked)

    def _begin(self) -> None:
        spec, state, past = self._spec, self.state, self._past
        tags = {"sweep.name": state.name} | data_tags(spec.source(), self._corpus, spec.scoring())
        with self._shield.hold():
            if past:
                self._lease = Lease(self._store, past.run_id, past.seconds)
                self._lease.take()
                state.run_id = past.run_id
                self._store.drop_tag(past.run_id, STOP)
                self._store.reopen(past.run_id)
                running = {"sweep.state": "running"} | spec_tags(spec, state.name)
                self._store.log(past.run_id, tags=running)
            else:
                self._lease = Lease(self._store, "")
                own = {
                    "sweep.role": "sweep",
                    "sweep.seed": str(spec.seed),
                    "sweep.state": "running",
                } | spec_tags(spec, state.name)
                state.run_id = self._store.create_run(state.name, tags | own | self._lease.tag)
                self._lease.run_id = state.run_id
            self._journal = Journal(self._store, state.run_id, self._corpus, tags)
        self._journal.describe(spec, state.name, past.params if past else frozenset())
        self._folder = self._open_folder()
        self._score_baselines()
        state.policy = self._policy = Policy(
            spec.plan(),
            spec.space,
            Extent(
                len(self._corpus.train),
                len(self._corpus.alphabet),
                min(spec.targets, len(self._corpus.validation)),
            ),
            sweep=state.name,
            slots=len(self._engine.slots),
            guessing=state.baselines[GUESSING],
            admits=self._admits,
        )
        if past:
            self._restore(past)

    def _open_folder(self) -> Path:
        """The sweep's folder on this machine, with the corpus in it."""
        folder = scratch.open_folder(self.state.run_id)
        try:
            shutil.rmtree(folder / "corpus", ignore_errors=True)
            self._corpus.save(folder / "corpus")
        except OSError as error:
            raise StoreError(f"folder {folder}: {error.strerror}, expected room to work") from error
        return folder

    def _score_baselines(self) -> None:
        """Score and log the baselines that the store does not have."""
        past, scoring = self._past, self._spec.scoring()
        known = past.baselines if past else {}
        begun = past.begun_baselines if past else {}
        self.state.baselines.update(known)
        if GUESSING in known and len(known) == len(baselines.FAMILIES):
            return
        targets = scoring_targets(self._corpus.validation, scoring.targets, scoring.seed)
        for score in baselines.score_all(self._corpus, targets):
            if score.name not in known:
                with self._shield.hold():
                    self._journal.log_baseline(score, begun.get(score.name))
                self.state.baselines[score.name] = score.metrics["loss"]

    def _restore(self, past: Past) -> None:
        """Take up the trials that have ended, and those that were under way."""
        state = self.state
        state.finished = list(past.finished)
        state.again = list(past.again)
        for course in state.finished:
            course.began += state.began
            if course.best_loss is not None:
                state.note_loss(course.best_loss, course.began + course.seconds)
        waiting = {trial.number for trial in state.again}
        extended = self._spec.trials > past.spec.trials
        self._policy.restore(state.finished, waiting, extended=extended)
        with self._shield.hold():
            self._drop_displaced()

    def _work(self) -> None:
        state = self.state
        while True:
            with self._shield.hold():
                self._fill_slots()
            if not state.running:
                return
            heard = self._heard or self._engine.wait(TICK_S)
            self._heard = []
            with self._shield.hold():
                for slot, message in heard:
                    self._hear(state.running[slot], message)
                self._watch({slot for slot, _ in heard})
                self._beat()
            if state.deadline is not None and state.now >= state.deadline and not state.closing:
                self._close(f"{self._spec.minutes:g} minutes are over")
            self._show(lambda: self._display.update(state))

    def _tick(self) -> None:
        self.state.now = self._clock()

    def _watch(self, heard: set[Slot]) -> None:
        """End trials that are silent for too long."""
        self._tick()
        state = self.state
        blind = state.now - self._looked
        self._looked = state.now
        for slot, course in state.running.items():
            if slot in heard:
                course.heard = state.now
                if course.progress and not course.first_progress:
                    course.first_progress = state.now, course.progress.share
            elif course.heard is not None and blind > BLIND_S:
                course.heard += blind
            elif why := health.hung(course, state.now, self._silent_s):
                self._engine.stop(slot, Ended(Outcome.HUNG, why))

    def _beat(self) -> None:
        """Show that the sweep is driven, and see whether somebody wants it to stop."""
        self._tick()
        if self.state.now - self._beaten < BEAT_S:
            return
        self._beaten = self.state.now
        if self._folder:
            scratch.touch(self._folder)
        if self._lease.beat(self.state.seconds) and not self.state.closing:
            self._close(ON_REQUEST)

    def _close(self, reason: str) -> None:
        """Begin nothing more, and end what runs."""
        state = self.state
        state.closing = reason
        for slot in state.running:
            self._engine.stop(slot, Ended(Outcome.STOPPED, reason, state.broken_off))

    def _fill_slots(self) -> None:
        state = self.state
        for slot in self._engine.slots:
            if slot in state.running or state.closing:
                continue
            self._tick()
            trial = state.again.pop(0) if state.again else self._policy.next(state.seconds)
            if trial is None:
                return
            self._place(trial, slot)

    def _place(self, trial: Trial, slot: Slot) -> None:
        verdict = self._verdict(trial.config)
        tags = {} if verdict.admitted else {"sweep.size_rule": verdict.reason}
        scoring, folder = self._spec.scoring(), self._folder
        assert folder
        job = Job(
            trial=trial,
            slot=slot,
            corpus=folder / "corpus",
            targets=scoring.targets,
            targets_seed=scoring.seed,
            folder=folder / str(trial.number),
        )
        self._tick()
        run_id = self._journal.open_trial(trial, slot, tags)
        course = Course(trial, run_id, slot, job, began=self.state.now)
        self.state.running[slot] = course
        self._policy.begin(course)
        self._engine.start(job)

    def _hear(self, course: Course, message: Message) -> None:
        if isinstance(message, Progressed):
            course.progress = message
        elif isinstance(message, EpochDone):
            course.take(message)
            if not course.unlogged:
                self._journal.log_epoch(course)
            self._tick()
            self.state.note_loss(message.metrics["val_loss"])
            if message.repeated:  # an earlier attempt was judged here, and went on
                self._policy.note(course)
            elif verdict := self._policy.judge(course):
                self._engine.stop(course.slot, verdict)
        else:
            self._conclude(course, message)

    def _conclude(self, course: Course, ended: Ended) -> None:
        """Record a trial that has ended, and let TPE know."""
        state = self.state
        self._tick()
        course.ended, course.seconds = ended, state.now - course.began
        before = state.best
        del state.running[course.slot]
        state.finished.append(course)
        best = state.ranked[: self._spec.keep]
        keep = course in best and course.job.weights.exists()
        self._journal.close_trial(course, keep=keep)
        if keep:
            self._kept[course.trial.number] = course.run_id
        self._drop_displaced()
        if state.best is not before:
            self._log_progress()
        again = goes_on(course, state.finished)
        if not again:
            shutil.rmtree(course.job.folder, ignore_errors=True)
        if again and not state.closing:
            state.again.append(course.trial.next_attempt())
        else:
            self._end(course)
        if not state.closing:
            self._look_for_failure(course)
        self._show(lambda: self._display.trial_ended(course, state))

    def _drop_displaced(self) -> None:
        """Let go of weights of trials that are no longer among the best."""
        best = {course.run_id for course in self.state.ranked[: self._spec.keep]}
        for number, run_id in list(self._kept.items()):
            if run_id not in best:
                del self._kept[number]
                self._journal.drop_weights(run_id)

    def _look_for_failure(self, course: Course) -> None:
        """End a sweep in which nothing works any more."""
        assert course.ended
        why = health.failing(self.state.finished, self._spec.max_failures)
        if course.ended.reason.startswith(NO_SPACE):
            why = f"{course.ended.reason} in {self._folder}"
        if why:
            self._close(f"{FAILED}{why}")

    def _end(self, course: Course) -> None:
        """Let the policy learn from a trial that has ended, and end those not needed any more."""
        climbing = self._policy.ladder is None
        for other, ended in self._policy.end(course):
            self._engine.stop(other.slot, ended)
        if climbing and (decision := self._policy.ladder):
            rates = self._policy.space["learning_rate"].describe()
            text = f"ladder: {decision.reason}; the search goes on with learning rates {rates}"
            self._show(lambda: self._display.say(text))

    def _show(self, call: Callable[[], None]) -> None:
        """Show something; if nobody reads any more, the sweep goes on in silence."""
        if self._watched:
            try:
                call()
            except (OSError, SystemExit):  # Rich turns a broken pipe into an exit
                self._watched = False

    def _log_progress(self) -> None:
        best = self.state.best
        loss = best.ranked_loss if best else None
        self._journal.log_progress(sum(self.state.counts.values()), loss)

    def _finish(self) -> None:
        """End workers, close every run, and leave no files behind that nobody needs."""
        state, self._waited = self.state, 0.0
        unfinished = {str(c.trial.number) for c in state.running.values()}
        try:
            self._engine.close()
            if state.run_id and not self._lost:
                for course in list(state.running.values()):
                    reason = state.closing or "the sweep ended"
                    self._conclude(course, Ended(Outcome.STOPPED, reason, state.broken_off))
                self._tick()
                self._close_parent()
        except StoreError as fault:  # what is open now, `resume` will close
            text = f"runs were left open: {fault}"
            self._show(lambda: self._display.say(text))
        finally:
            if self._folder and not self._lost:
                # what goes on when the sweep does
                unfinished |= {str(trial.number) for trial in state.again}
                stopped = (c for c in state.finished if c.ended and c.ended.unfinished)
                unfinished |= {str(course.trial.number) for course in stopped}
                scratch.leave(self._folder, unfinished if state.broken_off else set())

    def _keep_evidence(self) -> None:
        """Pictures and numbers that say why the best trial is the best."""
        state, corpus, folder = self.state, self._corpus, self._folder
        if folder is None:  # the sweep has not begun
            return
        found = report.evidence(state, len(corpus.alphabet), len(corpus.train))
        text = json.dumps(found, indent=1, allow_nan=False)
        self._store.keep_text(state.run_id, text, "evidence.json")
        for name, draw in report.plots(found, state):
            file = folder / f"{name}.png"
            draw(file)
            self._store.keep_file(state.run_id, file)

    def _close_parent(self) -> None:
        state = self.state
        self._log_progress()
        try:
            self._keep_evidence()
        except StoreError as error:  # pictures matter less than runs that are closed
            text = f"no pictures were kept: {error}"
            self._show(lambda: self._display.say(text))
        self._journal.close_sweep(
            state.word, state.ending, state.seconds, note=report.describe(state)
        )
