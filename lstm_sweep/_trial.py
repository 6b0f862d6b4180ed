"""`Trial`: one config that was trained with one seed, and what can be done with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lstm_sweep import _tables
from lstm_sweep._model import Model, load
from lstm_sweep._progress import drive, observer_of
from lstm_sweep.models.field_checks import path_text

if TYPE_CHECKING:
    import pandas as pd

    from lstm_sweep.search.actions.remote import Actions
    from lstm_sweep.search.actions.trials import TrialComparison
    from lstm_sweep.search.store.reader import TrialRecord


class Trial:
    """A trial as it stood in the store when it was asked for."""

    def __init__(self, record: TrialRecord, actions: Actions) -> None:
        self._record, self._actions = record, actions

    def __repr__(self) -> str:
        loss = "no loss" if self.val_loss is None else f"val_loss {self.val_loss:.4f}"
        return f"<Trial {self.id}: {self._record.state}, {loss}>"

    @property
    def id(self) -> str:
        """`SWEEP/NUMBER`."""
        return self._record.trial.id

    @property
    def number(self) -> int:
        """Number in its sweep, from 0."""
        return self._record.trial.number

    @property
    def run_id(self) -> str:
        """ID of its run in MLflow."""
        return self._record.run_id

    @property
    def status(self) -> str:
        """MLflow's: `RUNNING`, `SCHEDULED` (it waits), `FINISHED`, `FAILED` or `KILLED`."""
        return self._record.status

    @property
    def outcome(self) -> str | None:
        """How it has ended, such as `complete`, `pruned` or `diverged`; None if it goes on."""
        return None if self._record.waits else self._record.outcome or None

    @property
    def reason(self) -> str:
        """Why it has ended so, a sentence; empty if there is nothing to say."""
        return self._record.reason

    @property
    def phase(self) -> str:
        """Part of the search: `ladder`, `search`, `confirm` or `rerun`."""
        return str(self._record.trial.phase)

    @property
    def config(self) -> dict[str, Any]:
        """What was trained: the fields of its config, or the hyperparameters of the template."""
        return self._record.trial.config.to_dict()

    @property
    def seed(self) -> int:
        """Seed of weights, order and dropout."""
        return self._record.trial.seed

    @property
    def val_loss(self) -> float | None:
        """Lowest validation loss, nats; of a template what it has returned; None without one."""
        return self._record.best_loss

    @property
    def bits_per_symbol(self) -> float | None:
        """That loss in bits; None without one, and for a template."""
        return self._record.trial.objective.bits_per_symbol(self.val_loss)

    @property
    def best_epoch(self) -> float | None:
        """Epoch with the lowest validation loss, from 1; a fraction if epochs have rounds."""
        return self._record.best_epoch

    @property
    def epochs(self) -> float:
        """Epochs that were trained; a fraction if epochs have rounds."""
        return self._record.epochs

    @property
    def parameters(self) -> int:
        """Weights of the network; 0 if that is not known."""
        return self._record.parameters

    def curve(self) -> pd.DataFrame:
        """Its metrics: a row for each round, by epoch; NaN where a metric was not logged.

        Where an epoch has one round, epochs are whole numbers from 1, else fractions.

        Columns: `train_loss` and `val_loss` (nats), `val_accuracy`, `val_top5_accuracy`; for a
        template what its `fit` reports.
        """
        return _curve(self.run_id, self._actions)

    def compare(self, other: Trial | str) -> TrialComparison:
        """Compare it with another trial: configs, curves, and which one is better.

        Args:
            other: a trial, or its ID or run ID

        Raises:
            InputError: there is no such trial
        """
        reference = other.run_id if isinstance(other, Trial) else other
        return self._actions.compare(self.run_id, reference)

    def export(
        self,
        to: str | os.PathLike[str],
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
        done = self._actions.export(
            self.run_id,
            path_text("to", to),
            format,
            unchecked=unchecked,
            register=register,
        )
        model = load(done.bundle)
        model.version = done.version.version if done.version else None
        return model

    def rerun(
        self,
        *,
        set: Mapping[str, int | float | str] | None = None,
        on: str = "local",
        template: str | os.PathLike[str] | None = None,
        progress: bool | None = None,
    ) -> Rerun:
        """Train it again in a new run, and compare every metric of every round.

        Args:
            set: other values for fields of its config, which make a variation
            on: where it runs: `local`, `ray` on a cluster, or `inline` to debug
            template: your own file, if it is about one that is not where it was
            progress: as for `launch`

        Raises:
            InputError: its data or template are not what they were, or a value cannot be
        """
        observer = observer_of(progress)
        found = drive(
            lambda interrupts: self._actions.rerun(
                self.run_id,
                set,
                on,
                template=path_text("template", template) if template is not None else None,
                observer=observer,
                interrupts=interrupts,
            )
        )
        fields = found.to_dict()
        return Rerun(
            fields.pop("trial"), fields.pop("rerun_run_id"), **fields, _actions=self._actions
        )


@dataclass(frozen=True)
class Rerun:
    """What has come out when a trial was trained again."""

    #: ID of the trial
    trial: str
    #: ID of the new run in MLflow
    run_id: str
    #: `identical`, `within_tolerance` or `different`
    verdict: str
    #: epochs that both runs have
    epochs_compared: float
    #: largest absolute difference of two values of a metric; None if one of them is no number
    max_difference: float | None
    #: `epoch`, `metric`, `was` and `is` of the first difference; None without one
    first_difference: dict[str, Any] | None
    #: fields that were changed on purpose: `was` and `is`
    variation: dict[str, dict[str, Any]]
    #: packages with another version than then: `was` and `is`
    changed_versions: dict[str, dict[str, str]]
    #: kind of device, if it is another one: `was` and `is`
    changed_device: dict[str, str] | None
    #: how it has ended
    outcome: str
    _actions: Actions

    def __repr__(self) -> str:
        return f"<Rerun of {self.trial}: {self.verdict}, {self.epochs_compared:g} epochs compared>"

    def curve(self) -> pd.DataFrame:
        """Its metrics by epoch, as `Trial.curve` has those of the first run."""
        return _curve(self.run_id, self._actions)


def _curve(run_id: str, actions: Actions) -> pd.DataFrame:
    """Metrics of a run by epoch."""
    found = actions.show(run_id)
    rounds = found.record.trial.rounds_per_epoch
    return _tables.curve(found.by_epoch, found.record.results, rounds)
