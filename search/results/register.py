"""`export --register`: the network of a trial as a version of a registered model of MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store import registry
from lstm_sweep.search.store.faults import StoreError, reason
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.registry import Version
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.tasks import task_kind_of_run


def register(
    store: Store,
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
    if record.best_val_loss is not None:
        tags[Tag.MODEL_LOSS] = repr(record.best_val_loss)
    known = (Tag.CORPUS_DIGEST, Tag.SCORING)
    return tags | {tag: record.tags[tag] for tag in known if tag in record.tags}


def _description(record: TrialRecord, written: Mapping[str, Any]) -> str:
    test = written["test_loss"]
    tested = "" if test is None else f", test loss {test:.4f}"
    return f"lstm-sweep trial {record.trial.id}: loss {record.best_val_loss:.4f}{tested}"
