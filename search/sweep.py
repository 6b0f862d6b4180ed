"""The loop of a sweep: propose, place, listen, decide, record."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from models import baselines
from models.config import TrialConfig
from models.corpus import Corpus
from models.errors import InputError
from models.size import Verdict
from models.windows import scoring_targets
from search import ladder, report
from search.cost import Extent
from search.engines.base import Engine
from search.interrupt import Shield
from search.journal import Journal, data_tags
from search.policy import Policy
from search.spec import SweepSpec
from search.state import INTERRUPTED, Display, State
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

#: draws by which a space is measured against the size rule, and how many must pass
SIZE_DRAWS = 1_000
SIZE_SHARE = 1 / 50
#: the baseline that knows nothing but how frequent each symbol is
GUESSING = "unigram"
#: times a trial is tried whose worker dies
ATTEMPTS = 3
#: seconds between two looks at the clock while nothing happens
TICK_S = 0.25


def check_space(spec: SweepSpec, corpus: Corpus) -> float:
    """Share of drawn configs that the size rule admits.

    Raises:
        InputError: the rule rejects nearly all, or a window does not fit a split.
    """
    corpus.check_windows(int(spec.space.largest("sequence_length")))
    rng = np.random.default_rng(spec.seed)
    rule, size, symbols = spec.rule(), len(corpus.alphabet), len(corpus.train)
    verdicts = [rule.judge(spec.space.sample(rng), size, symbols) for _ in range(SIZE_DRAWS)]
    passed = sum(verdict.admitted for verdict in verdicts) / SIZE_DRAWS
    if spec.size_rule == "reject" and passed < SIZE_SHARE:
        counts = [verdict.parameters for verdict in verdicts]
        raise InputError(
            f"size rule: {passed:.1%} of {SIZE_DRAWS:,} draws pass, expected at least "
            f"{SIZE_SHARE:.0%}; they have {min(counts):,} to {max(counts):,} parameters and "
            f"{symbols:,} training symbols admit {rule.low * symbols:,.0f} to "
            f"{rule.high * symbols:,.0f}; change layer_size by --set, or --size-rule warn"
        )
    return passed


def check_budget(spec: SweepSpec) -> None:
    """Refuse a budget that ends before the search begins.

    Raises:
        InputError: the ladder alone may take as many trials.
    """
    rates = ladder.of(spec.space) if spec.ladder else ()
    if rates and spec.trials <= len(rates):
        raise InputError(
            f"--trials is {spec.trials}, but the ladder alone may take {len(rates)} "
            f"(learning rates {rates[0]:g} to {rates[-1]:g}): expected at least {len(rates) + 1}, "
            f"or --ladder off"
        )


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._corpus, self._store = spec, corpus, store
        self._engine, self._display, self._clock = engine, display, clock
        self._rule = spec.rule()
        self._admits = self._fits if spec.size_rule == "reject" else lambda config: True
        self._shield = Shield()
        self._watched = True
        self._kept: list[Course] = []
        self._folder = Path(tempfile.mkdtemp(prefix="lstm-sweep-"))
        self.state = State(name, spec, "", engine.slots, {}, began=clock(), now=clock())
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
        try:
            self._begin()
            self._work()
        except KeyboardInterrupt:
            self.state.closing = INTERRUPTED
            raise
        except BaseException as error:
            self.state.closing = f"failed: {type(error).__name__}"
            raise
        finally:
            with self._shield.hold(to_the_end=True):
                self._finish()
        return self.state

    def _begin(self) -> None:
        spec, state = self._spec, self.state
        tags = {"sweep.name": state.name} | data_tags(spec.source(), self._corpus, spec.scoring())
        own = {
            "sweep.role": "sweep",
            "sweep.space_digest": spec.space.digest(),
            "sweep.seed": str(spec.seed),
            "sweep.state": "running",
        }
        with self._shield.hold():
            state.run_id = self._store.create_run(state.name, tags | own)
        self._journal = Journal(self._store, state.run_id, self._corpus, tags)
        written = spec.to_dict() | {"name": state.name}
        params = {key: value for key, value in written.items() if key != "space"}
        space = {f"space.{key}": json.dumps(value) for key, value in written["space"].items()}
        self._store.log(state.run_id, params=params | space)
        self._store.log_dataset(
            state.run_id, name=self._corpus.name, digest=self._corpus.digest, source=written["data"]
        )
        text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True)
        self._store.keep_text(state.run_id, text, "sweep.yaml")

        self._corpus.save(self._folder / "corpus")
        scoring = spec.scoring()
        targets = scoring_targets(self._corpus.validation, scoring.targets, scoring.seed)
        for score in baselines.score_all(self._corpus, targets):
            with self._shield.hold():
                self._journal.log_baseline(score)
            state.baselines[score.name] = score.metrics["loss"]
        state.policy = self._policy = Policy(
            spec.plan(),
            spec.space,
            Extent(len(self._corpus.train), len(self._corpus.alphabet), len(targets)),
            sweep=state.name,
            slots=len(self._engine.slots),
            guessing=state.baselines[GUESSING],
            admits=self._admits,
        )

    def _work(self) -> None:
        state = self.state
        while True:
            with self._shield.hold():
                self._fill_slots()
            if not state.running:
                return
            heard = self._engine.wait(TICK_S)
            with self._shield.hold():
                for slot, message in heard:
                    self._hear(state.running[slot], message)
            self._tick()
            if state.deadline is not None and state.now >= state.deadline and not state.closing:
                self._close(f"{self._spec.minutes:g} minutes are over")
            self._show(lambda: self._display.update(state))

    def _tick(self) -> None:
        self.state.now = self._clock()

    def _close(self, reason: str) -> None:
        """Begin nothing more, and end what runs."""
        self.state.closing = reason
        for slot in self.state.running:
            self._engine.stop(slot, Ended(Outcome.STOPPED, reason))

    def _fill_slots(self) -> None:
        state = self.state
        for slot in self._engine.slots:
            if slot in state.running or state.closing:
                continue
            self._tick()
            trial = state.again.pop() if state.again else self._policy.next(state.seconds)
            if trial is None:
                return
            self._place(trial, slot)

    def _place(self, trial: Trial, slot: Slot) -> None:
        verdict = self._verdict(trial.config)
        tags = {} if verdict.admitted else {"sweep.size_rule": verdict.reason}
        scoring = self._spec.scoring()
        job = Job(
            trial=trial,
            slot=slot,
            corpus=self._folder / "corpus",
            targets=scoring.targets,
            targets_seed=scoring.seed,
            folder=self._folder / f"{trial.number}.{trial.attempt}",
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
            if verdict := self._policy.judge(course):
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
        keep = course in state.ranked[: self._spec.keep] and course.job.weights.exists()
        self._journal.close_trial(course, keep=keep)
        if keep:
            self._kept.append(course)
        for displaced in [c for c in self._kept if c not in state.ranked[: self._spec.keep]]:
            self._kept.remove(displaced)
            self._journal.drop_weights(displaced.run_id)
        if state.best is not before:
            self._log_progress()
        shutil.rmtree(course.job.folder, ignore_errors=True)
        lost = ended.outcome is Outcome.LOST and not state.closing
        if lost and course.trial.attempt < ATTEMPTS:
            state.again.append(course.trial.next_attempt())
        else:
            self._end(course)
        self._show(lambda: self._display.trial_ended(course, state))

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
        done = sum(self.state.counts.values())
        metrics = {"trials_done": float(done)}
        if self.state.best and self.state.best.ranked_loss is not None:
            metrics["best_val_loss"] = self.state.best.ranked_loss
        self._store.log(self.state.run_id, metrics=metrics, step=done)

    def _finish(self) -> None:
        """End workers, close every run, and leave no files behind."""
        state = self.state
        try:
            self._engine.close()
            for course in list(state.running.values()):
                self._conclude(course, Ended(Outcome.STOPPED, state.closing or "the sweep ended"))
            self._tick()
            if state.run_id:
                self._close_parent()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _keep_evidence(self) -> None:
        """Pictures and numbers that say why the best trial is the best."""
        state, corpus = self.state, self._corpus
        found = report.evidence(state, len(corpus.alphabet), len(corpus.train))
        text = json.dumps(found, indent=1, allow_nan=False)
        self._store.keep_text(state.run_id, text, "evidence.json")
        for name, draw in report.plots(found, state):
            file = self._folder / f"{name}.png"
            draw(file)
            self._store.keep_file(state.run_id, file)

    def _close_parent(self) -> None:
        state = self.state
        self._log_progress()
        self._keep_evidence()
        word, status = "finished", "FINISHED"
        if state.closing == INTERRUPTED:
            word, status = INTERRUPTED, "KILLED"
        elif state.closing.startswith("failed"):
            word, status = "failed", "FAILED"
        reason = state.ending
        tags = {"sweep.state": word, "sweep.reason": reason}
        tags["mlflow.note.content"] = report.describe(state)  # shown at the head of the run's page
        self._store.log(state.run_id, tags=tags)
        self._store.finish(state.run_id, status)
