"""A sweep from its beginning to its end, and what it leaves; what happens between is in `loop`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.lease import Lease, LeaseLostError, reserve_name
from lstm_sweep.search.driver.loop import Loop, needing_room
from lstm_sweep.search.driver.read_back import EVIDENCE, read_findings, time_tags
from lstm_sweep.search.driver.resume import Resumed
from lstm_sweep.search.driver.state import (
    INTERRUPTED,
    ON_REQUEST,
    PAUSED,
    SILENT,
    History,
    Observer,
    SweepState,
    Viewer,
)
from lstm_sweep.search.driver.task import Task
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.problem import EarlierBest
from lstm_sweep.search.process import files
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.report.figures import Findings
from lstm_sweep.search.report.report_page import report_page
from lstm_sweep.search.store import experiment
from lstm_sweep.search.store.faults import StoreError, reason
from lstm_sweep.search.store.journal import Journal, spec_tags
from lstm_sweep.search.store.tags import Tag, prior_tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.store.writer import Writer
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import Stop, StopReason
from lstm_sweep.search.values.trial import Trial


class NameTakenError(InputError):
    """Another sweep of this name has begun at the same time, and owns it."""


class Sweep:
    """One sweep: it begins or goes on, runs its trials, and is closed whatever has happened."""

    def __init__(
        self,
        spec: SweepSpec,
        *,
        name: str,
        task: Task,
        store: Store,
        engine: Engine,
        observer: Observer = SILENT,
        interrupts: Interrupts | None = None,
        past: Resumed | None = None,
        prior: Sequence[EarlierBest] = (),
        clock: Callable[[], float] = time.monotonic,
        writer: type[Writer] = Writer,
    ) -> None:
        spec = task.settled(spec)
        self._spec, self._task, self._store = spec, task, store
        self._engine, self._past = engine, past
        self._prior = past.prior if past else tuple(prior)
        self._interrupts, self._viewer = interrupts or Interrupts(), Viewer(observer)
        self._writer = writer(store, self._interrupts, self._viewer.said)
        #: released at its end, however soon that comes
        self._lease = past.lease if past else Lease(store, "")
        #: what there is of the sweep as soon as it has begun
        self._journal: Journal | None = None
        self._folder: Path | None = None
        self._policy: Policy | None = None
        self._reported = False
        self._loop: Loop | None = None
        #: whether another driver has taken the sweep over, so that its runs are left alone
        self._lost = False
        #: why not all was written at the end
        self._unwritten: StoreError | None = None
        state = replace(
            past.state if past else SweepState(name=name, spec=spec, slots=()),
            spec=spec,
            slots=engine.slots,
            unknown_share=task.unknown_share,
            deadline=None if spec.minutes is None else 60 * spec.minutes,
        )
        self._history = History(state, clock)

    @property
    def state(self) -> SweepState:
        return self._history.state

    def run(self) -> SweepState:
        """Run to the end of the budget, or until interrupted, in any thread.

        The store is left whole, unless a `StoreError` says what could not be written.
        """
        try:
            self._run()
        finally:
            self._writer.close()
            self._viewer.ended(self.state)
        return self.state

    def _run(self) -> None:
        try:
            self._loop = self._begin()
            self._viewer.started(self.state)
            if self._past:
                self._loop.take_up(self._past)
            self._loop.run()
        except KeyboardInterrupt as interrupt:
            self._lost = isinstance(interrupt.__cause__, LeaseLostError)
            self._history.learn(closed=INTERRUPTED)
            raise
        except BaseException as error:
            self._lost = isinstance(error, LeaseLostError)
            why = Stop(StopReason.FAILED, str(error) or type(error).__name__)
            self._history.learn(closed=why)
            raise
        finally:
            with self._interrupts.hold(to_the_end=True):
                self._finish()
        if self._unwritten:
            raise self._unwritten

    def _begin(self) -> Loop:
        spec, past = self._spec, self._past
        tags = {Tag.NAME: self.state.name} | self._task.tags()
        with self._interrupts.hold():
            run_id = self._writer.ask(lambda: self._open_run(tags))
            self._history.learn(run_id=run_id)
            self._writer.regularly(self._beat, lease.BEAT_S)
            step = past.step if past else None
            self._journal = journal = Journal(
                self._writer, run_id, self._task.dataset, tags, step, self._created
            )
            if past:
                self._writer.put(lambda: self._reopen(past, tags if past.is_new else {}))
            journal.describe(spec, self.state.name, past.params if past else frozenset())
        name = self.state.name
        is_new = not past or past.is_unclaimed
        if is_new and not self._writer.ask(lambda: reserve_name(self._store, name, run_id)):
            raise NameTakenError(f"sweep '{name}' was begun by another at the same time")
        self._folder = folder = self._open_folder()
        self._score_baselines(journal)
        problem = self._task.problem(spec, self.state.baselines, self._prior)
        slots = max(1, len(self._engine.slots))
        self._policy = policy = Policy(spec.plan(), problem, sweep=name, slots=slots)
        return Loop(
            history=self._history, task=self._task, policy=policy, engine=self._engine,
            journal=journal, viewer=self._viewer, folder=folder,
        )  # fmt: skip

    def _open_run(self, tags: dict[str, str]) -> str:
        """Make the sweep's run, which holds the lease, or take the lease of an earlier driver."""
        if self._past:
            self._lease.beat(self.state.seconds)
            return self.state.run_id
        own = {
            Tag.ROLE: "sweep",
            Tag.SEED: str(self._spec.seed),
            Tag.STATE: "running",
            Tag.SLOTS: str(len(self._engine.slots)),
        } | spec_tags(self._spec, self.state.name)
        own |= prior_tag(self._prior) | {Tag.CREATION: self._lease.mine.token}
        run_id = self._store.create_run(self.state.name, tags | own | self._lease.tag)
        self._lease.run_id = run_id
        return run_id

    def _beat(self) -> None:
        """Renew the lease, which says whether the sweep is to end; called by the writer."""
        state, end = self.state, self.state.expected_end
        if self._folder:
            files.touch(self._folder)
        expected = "" if end is None else f"{end:.3f}"
        if self._lease.beat(state.seconds, {Tag.EXPECTED_SECONDS: expected}) and self._loop:
            self._writer.tell(self._end_as_asked)

    def _end_as_asked(self) -> None:
        if self._loop and not (self.state.closing or self._interrupts.ending):
            self._loop.end(PAUSED if self._lease.asked == lease.PAUSE else ON_REQUEST)

    def _created(self, trial: Trial, run_id: str) -> None:
        if self._loop:
            self._loop.name_run(trial, run_id)

    def _reopen(self, past: Resumed, tags: dict[str, str]) -> None:
        """Let the run of a sweep go on that was broken off, or waited; `tags` are those of data."""
        run_id = self.state.run_id
        self._store.log(run_id, tags={Tag.STOP: ""})
        self._store.reopen(run_id)
        before = self._store.tags(run_id)
        written = spec_tags(self._spec, self.state.name, before)
        if self._store.signer:
            own = {Tag.NAME: self.state.name} | written
            written |= self._store.signer.of_spec(run_id, own)
        driven = {Tag.STATE: "running", Tag.SLOTS: str(len(self._engine.slots))}
        driven |= {tag: "" for tag in (Tag.CHANGES, Tag.WAITS) if before.get(tag)}
        if past.is_new:
            driven |= prior_tag(past.prior) | {Tag.STARTED: f"{time.time():.3f}"}
        self._store.log(run_id, tags=tags | driven | written)

    def _open_folder(self) -> Path:
        """The sweep's folder on this machine, with what workers need in it.

        Nothing is in it of trials of which the store knows nothing, as after a kill.
        """
        with needing_room("the user's cache folder"):
            folder = files.open_folder(self.state.run_id)
        state = self.state
        needed = [*state.paused, *(trial.number for trial in state.waiting)]
        with needing_room(f"folder {folder}"):
            files.empty(folder, set(map(str, needed)))
            self._task.save(folder)
        return folder

    def _score_baselines(self, journal: Journal) -> None:
        past = self._past
        known, begun = self.state.baselines, past.begun_baselines if past else {}
        for score in self._task.baselines(known):
            journal.log_baseline(score, self._task.runs.objective, begun.get(score.name))
            self._writer.look()
            scored = {**self.state.baselines, score.name: score.metrics["loss"]}
            self._history.learn(baselines=scored)

    def _finish(self) -> None:
        """End workers, close every run, delete files; report and logged model come last.

        After a signal, which leaves seconds, `resume` makes them.
        """
        try:
            self._close()
        finally:
            self._lease.release()
            self._report()
            if self._folder and not self._lost:
                unclosed = self._journal.unclosed if self._journal else set()
                kept = {str(number) for number, _ in unclosed}
                files.clear(self._folder, self.state.going_on | kept)
        is_closed = self._folder and not (self._lost or self.state.left_open)
        if is_closed and not self._interrupts.signal_number:
            with tried("no report was saved", self._viewer.said):
                self._writer.ask(self._keep_result)

    def _keep_result(self) -> None:

        def said(text: str) -> None:
            self._writer.tell(lambda: self._viewer.said(text))

        keep_result(self._task, self._store, self.state, said)
        log_best_model(self._task, self._store, self.state, said)

    def _close(self) -> None:
        """End workers, and close every run, unless another driver has taken the sweep over.

        If the store fails, `resume` closes what is left open.
        """
        try:
            try:
                self._engine.close()
            finally:
                if self._journal and not self._lost:
                    self._close_runs(self._journal)
        except StoreError as fault:
            self._writer.close()
            self._unwritten = fault
            self._lost = self._lost or isinstance(fault, LeaseLostError)
            self._history.learn(left_open=True)
            if not self.state.closing:
                self._history.learn(closed=Stop(StopReason.FAILED, str(fault)))
            self._viewer.said(f"runs were left open: {fault}")

    def _close_runs(self, journal: Journal) -> None:
        """Close the runs of trials and then the sweep's own, which ends the lease."""
        if isinstance(fault := self._writer.fault, LeaseLostError):
            raise fault
        self._writer.again()
        self._close_trials(journal)
        self._report()
        state = self.state
        note, why = "", Stop(state.stop.reason, state.ending)
        with tried("the sweep is not described", self._viewer.said):
            note = describe(state)
        tags = time_tags(state) | {Tag.UNCONFIRMED: state.unconfirmed}
        journal.close_sweep(
            state.status, why, state.seconds, note, tags,
            has_result=state.best is not None,
        )  # fmt: skip
        self._writer.drain()

    def _close_trials(self, journal: Journal) -> None:
        """Close the runs of trials, and log the number of trials and the best loss.

        A trial whose run cannot be closed, though the store answers, is left to `resume`.
        """
        if self._loop:
            self._loop.break_off(self._leave_open)
        while True:
            try:
                self._writer.drain()
                break
            except StoreError:
                raise
            except Exception as error:
                self._leave_open(error)
                self._writer.again(without_first=True)
        self._history.tick()
        state = self.state
        journal.log_progress(state.trials_done, state.best_loss)

    def _leave_open(self, error: Exception) -> None:
        why = one_line(error)
        self._viewer.said(f"runs of trials were left open: {why}")
        if self.state.stop.reason is not StopReason.FAILED:
            self._history.learn(closed=Stop(StopReason.FAILED, why))

    def _report(self) -> None:
        if (policy := self._policy) is None or self._reported:
            return
        self._reported = True
        with tried("the search is not reported", self._viewer.said):
            again = policy.confirmation
            found = {"confirmed": tuple(again.results()), "unconfirmed": again.omitted()}
            self._history.learn(ladder=policy.ladder_report(), **found)


#: name of the report among the files of a sweep's run
REPORT = "report.html"


def describe(state: SweepState) -> str:
    """A sweep's result in Markdown; MLflow shows the first lines, and the others on request."""
    best = state.best
    if best is None or best.ranked_loss is None:
        return "No trial has a result."
    objective = best.objective
    in_bits = objective.bits_per_symbol(best.ranked_loss)
    lines = [
        f"**{best.id}** is the best trial: {best.ranked_loss:.4f}"
        f"{'' if in_bits is None else f', or {in_bits:.4f} bits per symbol'} "
        f"({best.config.headline()}).",
        "",
    ]
    rows = [(f"best trial, {best.id}", best.ranked_loss), *state.baselines.items()]
    lines += [f"| | {objective.name} |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {loss:.4f} |" for name, loss in rows]
    if text := unknown_text(state.unknown_share):
        lines += ["", f"{text}."]
    config = ", ".join(f"{name} {value}" for name, value in best.config.to_dict().items())
    lines += ["", f"Config of the best trial: {config}."]
    if state.ladder:
        lines += ["", f"Ladder of learning rates: {state.ladder['reason']}."]
    if state.confirmed:
        lines += ["", "Trained again:", "", *(f"- {one}" for one in state.confirmed)]
    return "\n".join(lines)


def evidence(state: SweepState, task: Task, found: Findings | None) -> dict[str, Any]:
    return {
        "sweep": state.name,
        "loss": task.runs.objective.name,
        "training_symbols": task.training_symbols,
        "size_rule": [state.spec.size_low, state.spec.size_high],
        "baselines": state.baselines,
        "unknown_share": state.unknown_share,
        "time": state.time_spent.to_dict(),
        "best_over_time": [{"seconds": t, "val_loss": loss} for t, loss in state.best_over_time],
        "ladder": state.ladder,
        "importance": found.importance or None if found else None,
        "verdicts": asdict(found.verdicts) if found and found.verdicts else None,
        "confirmed": [one.to_dict() for one in state.confirmed],
        "trials": [
            {
                "trial": progress.id,
                "phase": str(progress.phase),
                "outcome": str(progress.ended.outcome) if progress.ended else None,
                "parameters": task.parameters_of(progress.config),
                "val_loss": progress.ranked_loss,
                "losses": progress.val_losses,
                "rounds_per_epoch": progress.rounds_per_epoch,
            }
            for progress in state.finished
        ],
    }


def log_best_model(
    task: Task, store: Store, state: SweepState, said: Callable[[str], None]
) -> None:
    """Log the network of the best trial, if that can be done; `export` does it otherwise.

    A store that does not answer is not waited for. Models are MLflow's: a store in memory has none.
    """
    best = state.best
    if best is None or not isinstance(store, MlflowStore):
        return
    # the sweep has ended in order, and its weights are in the store
    with tried("the best model was not logged", said), experiment.applied(store.settings):
        task.log_model(store, best)


def keep_result(task: Task, store: Store, state: SweepState, said: Callable[[str], None]) -> None:
    """Keep numbers and a report that show why the best trial is the best.

    The sweep's run is closed, and another driver may already use its folder. What cannot be kept
    matters less than a sweep that has ended in order.
    """
    found, told, best = None, None, state.best
    with tried("verdicts were not checked", said):
        if best and (checked := task.check_verdicts(store, best)):
            store.log(state.run_id, tags={Tag.VERDICTS: checked.to_text()})
    with tried("the report does not say how well classes are told", said):
        told = task.evidence(store, best) if best else None
    with tried("no report was saved", said):
        found = replace(read_findings(store, store.run(state.run_id)), classes=told)
        store.keep_text(state.run_id, page_of(found), REPORT)
    with tried("no numbers were saved", said):
        numbers = evidence(state, task, found)
        numbers |= {"classes": told.to_dict()} if told else {}
        store.keep_text(state.run_id, json_text(numbers, indent=1), EVIDENCE)


def page_of(found: Findings) -> str:
    """The report as an HTML page that says when it was written; without secrets."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    version = metadata.version("lstm-sweep")
    return without_secrets(report_page(found, f"Written by lstm-sweep {version} on {now}."))


@contextlib.contextmanager
def tried(what: str, said: Callable[[str], None]) -> Iterator[None]:
    """Do what a sweep can end without; if it fails, say so."""
    try:
        yield
    except Exception as error:
        said(f"{what}: {one_line(error)}")


def one_line(error: Exception) -> str:
    """An error in one line; the name of its class is left out if its message is enough."""
    own = isinstance(error, StoreError | OSError | ValueError)
    return reason(error) if own else f"{type(error).__name__}: {reason(error)}"
