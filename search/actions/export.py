"""`export`: the network of a trial as a checked bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver.task import unchecked_reason
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.process.new_paths import become, scratch_beside
from lstm_sweep.search.store import reader, registry
from lstm_sweep.search.store.faults import StoreError, reason
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.registry import Version
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore


def register(
    store: MlflowStore,
    record: TrialRecord,
    name: str,
    bundle: Path,
    scratch: Path,
    written: Mapping[str, Any],
) -> Version:
    """Make a version of the model that is logged of a trial, which is logged if it is not yet.

    `written` is what was exported to folder `bundle`; `scratch` has what its writer has left there.

    Raises:
        InputError: that fails; the message says that the bundle is there.
        StoreError: so it does, by the store's fault.
    """
    try:
        model_id = registry.logged_model_of(store, record.run_id)
        if model_id is None:
            write = task_kind_of_run(record.tags).model_writer(store, record, bundle, scratch)
            model_id = registry.log_model(store, record.run_id, record.trial.id, write)
        about = _description(record, written)
        return registry.register(store, name, model_id, record.run_id, _tags(record), about)
    except StoreError as error:
        raise StoreError(f"{_there(bundle)}: {error}") from error
    except InputError as error:
        raise InputError(f"{_there(bundle)}: {error}") from None
    except Exception as error:
        raise InputError(
            f"{_there(bundle)}: {reason(error)}, expected a store that takes '{name}'"
        ) from error


def _there(bundle: Path) -> str:
    return f"the bundle is in {bundle}, but no model was registered"


def _tags(record: TrialRecord) -> dict[str, str]:
    """What a version says of itself, by which it is compared with others."""
    tags = {Tag.NAME: record.trial.sweep, Tag.TRIAL: str(record.trial.number)}
    if record.best_loss is not None:
        tags[Tag.MODEL_LOSS] = repr(record.best_loss)
    known = (Tag.CORPUS_DIGEST, Tag.SCORING)
    return tags | {tag: record.tags[tag] for tag in known if tag in record.tags}


def _description(record: TrialRecord, written: Mapping[str, Any]) -> str:
    test = written["test_loss"]
    tested = "" if test is None else f", test loss {test:.4f}"
    return f"lstm-sweep trial {record.trial.id}: loss {record.best_loss:.4f}{tested}"


def choose(store: MlflowStore, reference: str) -> TrialRecord:
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
    store: MlflowStore,
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
