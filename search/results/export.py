"""`export`: the network of a trial as a checked bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.new_paths import become, scratch_beside
from lstm_sweep.search.results.register import register
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.task import unchecked_reason
from lstm_sweep.search.sweep.tasks import task_kind_of_run


def choose(store: Store, reference: str) -> TrialRecord:
    """The best trial of a sweep, or the trial that `reference` means; its weights are there.

    Raises:
        InputError: there is no such sweep or trial, or it has no weights.
    """
    if reader.find_sweep(store, reference):
        ranked = reader.ranked(reader.trials(store, reference))
        if not ranked:
            raise InputError(f"sweep '{reference}' has no trial with a result, expected one")
        record = ranked[0]
    else:
        record = reader.find_trial(store, reference)
    if not record.has_weights:
        raise InputError(
            f"trial {record.trial.id} has no weights (a sweep keeps those of its best trials); "
            f"`lstm-sweep rerun {record.run_id}` makes a run that has them"
        )
    return record


def export(
    store: Store,
    record: TrialRecord,
    to: Path,
    format: str,
    *,
    unchecked: bool = False,
    model: str | None = None,
) -> dict[str, Any]:
    """Write the bundle of a trial to folder `to`; return what `export --json` prints.

    The test split is scored here and nowhere else. The bundle is then loaded by a clean process
    with plain Keras, and appears under its name only if it predicts what the trial's network does.
    Where that cannot be checked, it appears only if the caller says that it may be `unchecked`.
    With the name of a registered `model`, it becomes a version of that, too.

    Raises:
        InputError: the data are not those of the trial, the folder cannot be made, or the bundle
            cannot be checked.
        StoreError: the store has failed, or refuses a version.
    """
    write = task_kind_of_run(record.tags).bundle_writer(store, record)
    scratch = scratch_beside(to)
    try:
        result = write(scratch / "bundle", format)
        checked = result["parity"]["windows"] > 0
        if model is not None and not checked:
            raise InputError(
                f"trial {record.trial.id}: {unchecked_reason(result)}, so it cannot be served: "
                "expected no --register"
            )
        if not (checked or unchecked):
            raise InputError(
                f"trial {record.trial.id}: {unchecked_reason(result)}, so its bundle is not "
                "checked: expected --unchecked, to export it all the same"
            )
        become(scratch / "bundle", to)
        if model is not None:
            version = register(store, record, model, to, scratch, result)
            result["model_version"] = version.to_dict()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"bundle": str(to), **result}
