"""`Sweep`: a sweep in a store, while it runs and when it has ended."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lstm_sweep import _tables
from lstm_sweep._progress import drive, observer_of
from lstm_sweep._trial import Trial
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.field_checks import path_text
from lstm_sweep.search.values.spec import ray_address

if TYPE_CHECKING:
    import pandas as pd

    from lstm_sweep.search.actions.remote import Actions
    from lstm_sweep.search.actions.sweeps import SweepResult, SweepStatusReport


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

        Raises:
            InputError: the sweep has no such trial
        """
        reference = number if isinstance(number, str) else f"{self.name}/{number}"
        record = self._actions.show(reference).record
        if record.trial.sweep != self.name:
            raise InputError(
                f"trial {record.trial.id} is none of sweep '{self.name}', expected one that is"
            )
        return Trial(record, self._actions)

    @property
    def best(self) -> Trial:
        """The trial with the lowest validation loss of those that have ended.

        While the sweep runs, `status().best` may be another one, which has not.

        Raises:
            InputError: no trial has a result
        """
        best = self._actions.trials(self.name).best
        if best is None:
            now = self.status()
            why = f" ({now.why})" if now.why else ""
            raise InputError(
                f"sweep '{self.name}' has no trial with a result, expected one; it is "
                f"{now.state}{why}"
            )
        return Trial(best, self._actions)

    @property
    def baselines(self) -> dict[str, float]:
        """Loss of each baseline on the same targets as the trials, nats; empty for a template."""
        return dict(self._actions.trials(self.name, 1).baselines)

    def status(self) -> SweepStatusReport:
        """The state of the sweep, as its store has it."""
        return self._actions.status(self.name)

    def report(self, to: str | os.PathLike[str] | None = None) -> str:
        """The report of the sweep as it is now: an HTML page that loads nothing from elsewhere.

        It shows the best trial and how sure that is, the pictures behind it, what has failed, and
        what to try next. Returns the page.

        Args:
            to: a file to write the page to; a report that is there is replaced

        Raises:
            InputError: the file cannot be written, or something else is there
        """
        given = path_text("to", to) if to is not None else None
        return self._actions.report(self.name, given).html

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
        template: str | os.PathLike[str] | None = None,
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

        Raises:
            InputError: another process drives it, or its data or template are not what they were
        """
        given = {
            "trials": trials, "minutes": minutes, "workers": workers, "per_gpu": per_gpu, "on": on,
            "max_failures": max_failures, "keep": keep,
        }  # fmt: skip
        changes = {name: value for name, value in given.items() if value is not None}
        own_file = path_text("template", template) if template is not None else None
        cluster, observer = ray_address(address, on), observer_of(progress)
        drive(
            lambda interrupts: self._actions.resume(
                self.name,
                changes,
                template=own_file,
                observer=observer,
                interrupts=interrupts,
                ray_address=cluster,
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

        Raises:
            InputError: it runs, waits for a service, or one of its trials is trained again
        """
        return self._actions.delete(self.name).freed.bytes


def how_to_go_on(result: SweepResult) -> str:
    """The call that goes on with a sweep that was interrupted, or whose store has failed."""
    name, call = result.sweep, f"lstm_sweep.sweep('{result.sweep}').resume()"
    if result.left_open:
        why = "the store failed at its end, so runs were left open"
        return f"sweep '{name}': {why}; {call} closes them and goes on"
    return f"sweep '{name}' has ended, and its runs are closed; {call} goes on with it"


def warn_of_left_out(sentences: Iterable[str]) -> None:
    """Warn of runs that cannot be read, and say why."""
    for sentence in sentences:
        warnings.warn(f"left out: {sentence}", stacklevel=3)
