"""A sweep in a store, its trials, and what takes long: shown, and ended in order by Ctrl-C."""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from lstm_sweep import _tables
from lstm_sweep._model import Model, load
from lstm_sweep.models.errors import InputError, path_text
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.values.spec import ray_address

if TYPE_CHECKING:
    import pandas as pd

    from lstm_sweep.search.actions.remote import Actions
    from lstm_sweep.search.actions.rerun import Rerun
    from lstm_sweep.search.actions.sweeps import SweepResult, SweepStatusReport, TrialComparison
    from lstm_sweep.search.driver.state import Observer
    from lstm_sweep.search.store.reader import TrialRecord

#: a file or folder
PathLike = str | os.PathLike[str]


class Sweep:
    """A sweep in a store, here or of a service; `launch` and `sweep` return one.

    It keeps nothing: each question is asked of the store, which another process may be writing to.
    Each may raise `InputError`, if the sweep is there no more or the store does not answer, or
    `StoreError`, if the store fails once it has answered.
    """

    def __init__(self, name: str, actions: Actions) -> None:
        #: name of the sweep
        self.name = name
        self._actions = actions

    def __repr__(self) -> str:
        return f"<Sweep {self.name} in {self._actions}>"

    def trials(self) -> pd.DataFrame:
        """All trials: a row for each, by its ID, the best first, those without a result last.

        While the sweep runs, the best round of a trial that has not ended is a result, too.

        Columns: `run_id` of MLflow and its `status`, `outcome`, `phase` of the search, `attempt`,
        `val_loss` (nats) and the `best_epoch` that has it, `epochs` that were trained,
        `parameters`, `seed`, and each field of the config. A field whose name is another column's
        has `config_` before it, such as `config_epochs`.
        """
        listing = self._actions.trials(self.name)
        warn_of_left_out(listing.left_out)
        return _tables.trials(listing.to_list())

    def trial(self, number: int | str) -> Trial:
        """One trial.

        Args:
            number: its number, or its ID, as in the index of `trials`
        """
        reference = number if isinstance(number, str) else f"{self.name}/{number}"
        record = self._actions.show(reference).record
        if record.sweep != self.name:
            raise InputError(
                f"trial {record.id} is none of sweep '{self.name}', expected one that is"
            )
        return Trial._of(record, self._actions)

    @property
    def best(self) -> Trial:
        """The trial with the lowest validation loss of those that have ended.

        While the sweep runs, `status().best` may be another one, which has not.
        """
        best = self._actions.trials(self.name).best
        if best is None:
            now = self.status()
            why = f" ({now.why})" if now.why else ""
            raise InputError(
                f"sweep '{self.name}' has no trial with a result, expected one; it is "
                f"{now.state}{why}"
            )
        return Trial._of(best, self._actions)

    @property
    def baselines(self) -> dict[str, float]:
        """Loss of each baseline on the same targets as the trials, nats; empty for a template."""
        return dict(self._actions.trials(self.name, 1).baselines)

    def status(self) -> SweepStatusReport:
        """The state of the sweep, as its store has it."""
        return self._actions.status(self.name)

    def report(self, to: PathLike | None = None) -> str:
        """The report of the sweep as it is now: an HTML page that loads nothing from elsewhere.

        It shows the best trial and how sure that is, the pictures behind it, what has failed, and
        what to try next. Returns the page.

        Args:
            to: a file to write the page to; a report that is there is replaced
        """
        return self._actions.report(self.name, _path("to", to)).html

    def export(
        self,
        to: PathLike,
        *,
        format: str = "keras",
        unchecked: bool = False,
        register: str | None = None,
    ) -> Model:
        """Write its best network to a new folder, as `Trial.export`; of classes, with others.

        These are its best trials, whose probabilities are averaged as far as that lowers the
        validation loss.
        """
        return _export(self._actions, self.name, to, format, unchecked, register)

    def resume(
        self,
        *,
        trials: int | None = None,
        minutes: float | None = None,
        workers: int | None = None,
        per_gpu: int | None = None,
        on: str | None = None,
        max_failures: int | None = None,
        keep: int | None = None,
        template: PathLike | None = None,
        progress: bool | None = None,
        address: str | None = None,
    ) -> None:
        """Go on with a sweep that was broken off, or that gets more to do.

        Like `launch`, it returns when the sweep has ended. A finished sweep goes on only if it gets
        more trials or minutes than it had.

        Args:
            trials: trials at most, with those that there are
            minutes: wall time at most, with what was used
            workers: trials at once
            per_gpu: trials that share a GPU
            on: where trials run
            max_failures: end when so many trials in a row have failed
            keep: of so many of the best trials the weights are kept
            template: your own file, if the sweep is over one that is not where it was
            progress: as for `launch`
            address: as for `launch`; `on="ray"` has to be given with it
        """
        given = {
            "trials": trials, "minutes": minutes, "workers": workers, "per_gpu": per_gpu, "on": on,
            "max_failures": max_failures, "keep": keep,
        }  # fmt: skip
        changes = {name: value for name, value in given.items() if value is not None}
        file, cluster = _path("template", template), ray_address(address, on)
        observer = observer_of(progress)
        drive(
            lambda interrupts: self._actions.resume(
                self.name, changes, None, file, observer, interrupts, cluster
            ),
            advice=how_to_go_on,
        )

    def stop(self) -> str:
        """End the sweep, which another process or thread drives, and wait until it has ended.

        Returns the state in which it is then, such as `stopped`.
        """
        stopped = self._actions.stop(self.name)
        warn_of_left_out(stopped.left_out)
        return stopped.state

    def delete(self) -> int:
        """Delete the sweep for good: its runs, their files and logged models; the bytes of these.

        It has to have ended. Versions of registered models stay, with the files of their model.
        """
        return self._actions.delete(self.name).bytes


def _export(
    actions: Actions, reference: str, to: PathLike, format: str, unchecked: bool, model: str | None
) -> Model:
    done = actions.export(
        reference, path_text("to", to), format, unchecked=unchecked, register=model
    )
    loaded = load(done.bundle)
    loaded.version = done.version.version if done.version else None
    return loaded


@dataclass(frozen=True, repr=False)
class Trial:
    """A trial as it stood in the store when it was asked for."""

    #: `SWEEP/NUMBER`
    id: str
    #: number in its sweep, from 0
    number: int
    #: ID of its run in MLflow
    run_id: str
    #: MLflow's: `RUNNING`, `SCHEDULED` (it waits), `FINISHED`, `FAILED` or `KILLED`
    status: str
    #: how it has ended, such as `complete`, `pruned` or `diverged`; None if it goes on
    outcome: str | None
    #: why it has ended so, a sentence; empty if there is nothing to say
    reason: str
    #: part of the search: `ladder`, `search`, `confirm` or `rerun`
    phase: str
    #: what was trained: the fields of its config, or the hyperparameters of the template
    config: dict[str, Any]
    #: seed of weights, order and dropout
    seed: int
    #: lowest validation loss, nats; of a template what it has returned; None without one
    val_loss: float | None
    #: that loss in bits; None without one, and for a template
    bits_per_symbol: float | None
    #: epoch with the lowest validation loss, from 1; a fraction if epochs have rounds
    best_epoch: float | None
    #: epochs that were trained; a fraction if epochs have rounds
    epochs: float
    #: weights of the network; 0 if that is not known
    parameters: int
    _state: str
    _actions: Actions

    @classmethod
    def _of(cls, record: TrialRecord, actions: Actions) -> Trial:
        listed = record.to_dict() | {
            "id": record.id,
            "number": record.number,
            "reason": record.reason,
            "bits_per_symbol": record.objective.bits_per_symbol(record.best_loss),
            "_state": record.state,
            "_actions": actions,
        }
        return cls(**{one.name: listed[one.name] for one in fields(cls)})

    def __repr__(self) -> str:
        loss = "no loss" if self.val_loss is None else f"val_loss {self.val_loss:.4f}"
        return f"<Trial {self.id}: {self._state}, {loss}>"

    def curve(self) -> pd.DataFrame:
        """Its metrics: a row for each round, by epoch; NaN where a metric was not logged.

        Where an epoch has one round, epochs are whole numbers from 1, else fractions.

        Columns: `train_loss` and `val_loss` (nats), `val_accuracy`, `val_top5_accuracy`; for a
        template what its `fit` reports.
        """
        found = self._actions.show(self.run_id)
        rounds = found.record.rounds_per_epoch
        return _tables.curve(found.by_epoch, found.record.results, rounds)

    def compare(self, other: Trial | str) -> TrialComparison:
        """Compare it with another trial: configs, curves, and which one is better.

        Args:
            other: a trial, or its ID or run ID
        """
        reference = other.run_id if isinstance(other, Trial) else other
        return self._actions.compare(self.run_id, reference)

    def export(
        self,
        to: PathLike,
        *,
        format: str = "keras",
        unchecked: bool = False,
        register: str | None = None,
    ) -> Model:
        """Write its network to a new folder that works without this package, and load it.

        The folder appears only if a clean process with plain Keras predicts the same from it. The
        test data are scored here, and nowhere else.

        Args:
            to: the folder
            format: `keras`, or `savedmodel` for a TensorFlow SavedModel beside it, or `onnx` for
                ONNX files beside it, which needs the extra `onnx`
            unchecked: also the network of a template that cannot be checked, since it has layers
                of your own, or the store has nothing that it was trained on
            register: name of a registered model in MLflow, of which it becomes a version; the
                alias `champion` goes to it if it beats the present one on the same targets

        Raises:
            InputError: the trial has no weights (a sweep keeps those of its best trials), its data
                are not what they were, the folder is taken, the network cannot be checked, or not
                be registered
            StoreError: the folder is there, but the store has failed before it was registered
        """
        return _export(self._actions, self.run_id, to, format, unchecked, register)

    def rerun(
        self,
        *,
        set: Mapping[str, int | float | str] | None = None,
        on: str = "local",
        template: PathLike | None = None,
        progress: bool | None = None,
    ) -> Rerun:
        """Train it again in a new run, and compare every metric of every round.

        `Sweep.trial` finds the new run by its `rerun_run_id`.

        Args:
            set: other values for fields of its config, which make a variation
            on: where it runs: `local`, `ray` on a cluster, or `inline` to debug
            template: your own file, if it is about one that is not where it was
            progress: as for `launch`
        """
        observer, file = observer_of(progress), _path("template", template)
        return drive(
            lambda interrupts: self._actions.rerun(self.run_id, set, on, file, observer, interrupts)
        )


def _path(name: str, given: PathLike | None) -> str | None:
    return None if given is None else path_text(name, given)


def how_to_go_on(result: SweepResult) -> str:
    """The call that goes on with a sweep that was interrupted, or whose store has failed."""
    name, call = result.sweep, f"lstm_sweep.sweep('{result.sweep}').resume()"
    if result.left_open:
        why = "the store failed at its end, so runs were left open"
        return f"sweep '{name}': {why}; {call} closes them and goes on"
    return f"sweep '{name}' has ended, and its runs are closed; {call} goes on with it"


def warn_of_left_out(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        warnings.warn(f"left out: {sentence}", stacklevel=3)


def observer_of(progress: bool | None) -> Observer:
    """What shows progress: a notebook's table, lines on standard error, or nothing.

    `progress` None means that it is shown in a notebook alone; IPython in a terminal is none.
    """
    from lstm_sweep.search.driver.state import SILENT

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    notebook = getattr(shell, "kernel", None) is not None
    if not (notebook if progress is None else progress):
        return SILENT
    from lstm_sweep.search.cli import open_console
    from lstm_sweep.search.cli.progress import Lines, NotebookTable

    return NotebookTable() if notebook else Lines(open_console(stderr=True))


Answer = TypeVar("Answer")

#: seconds between two looks whether the caller is interrupted
LOOK_S = 0.2


def drive(
    work: Callable[[Interrupts], Answer], advice: Callable[[Answer], str] | None = None
) -> Answer:
    """What `work` returns in a thread of its own.

    If this thread is interrupted, `work` is asked to end and waited for, and then the interruption
    is raised here, with a note of what `advice` makes of the answer, or of the result of a sweep
    whose store has failed. A second one does not wait: what is open then, `Sweep.resume` closes.
    """
    request, answer = Interrupts(), Future[Answer]()

    def run() -> None:
        try:
            answer.set_result(work(request))
        except BaseException as error:
            answer.set_exception(error)

    # with the context of the caller, by which a notebook knows the cell that output belongs to
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="lstm-sweep", daemon=True)
    try:
        thread.start()
        while not wait([answer], LOOK_S).done:  # a wait without a timeout may not notice Ctrl-C
            pass
        return answer.result()
    except BaseException as error:
        request.request()
        with contextlib.suppress(RuntimeError):  # it was not started
            thread.join()
        if advice and answer.done():
            failure = answer.exception()
            result = getattr(failure, "result", None) if failure else answer.result()
            if result is not None:
                error.add_note(advice(result))
        raise
