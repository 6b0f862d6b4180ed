"""Deletes runs for good: their artifacts and logged models, and what the database has of them.

MLflow's own `delete_run` only marks a run, and leaves its files. What `mlflow gc` does with marked
runs is done here at once; a tracking server offers no request for that, so there runs are marked,
and their files are deleted.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from lstm_sweep.search.store import experiment
from lstm_sweep.search.store.base import quoted
from lstm_sweep.search.store.registry import logged_models
from lstm_sweep.search.store.tracking import MlflowStore, size_of
from lstm_sweep.search.values.documents import Document


@dataclass(frozen=True)
class Freed(Document):
    """What was deleted, or would be."""

    runs: int = 0
    #: of files
    bytes: int = 0
    #: runs that a tracking server has only marked as deleted
    marked: int = 0
    #: versions of registered models that stay, and have the files of their model
    kept: tuple[str, ...] = ()

    def __add__(self, other: Freed) -> Freed:
        return Freed(
            self.runs + other.runs,
            self.bytes + other.bytes,
            self.marked + other.marked,
            self.kept + other.kept,
        )

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        return cls(given["runs"], given["bytes"], given["marked"], tuple(given["kept"]))


def size(store: MlflowStore, run_id: str) -> Freed:
    """What `delete` would delete of a run.

    Raises:
        BadRunError: its files are not where its experiment has them.
    """
    models, kept = _models(store, run_id)
    found = sum(store.ask(partial(_size_at, store, place)) for _, place in models)
    return Freed(1, store.bytes_of(run_id) + found, 0, kept)


def delete(store: MlflowStore, run_id: str) -> Freed:
    """Delete a run, with its files and its logged models; the latter stay if they have versions.

    It may be repeated if it breaks off: the run is deleted last.

    Raises:
        BadRunError: its files are not where its experiment has them; nothing is deleted.
    """
    run_place = store.ask(partial(store.experiment.place_of, run_id))
    (models, kept), freed = _models(store, run_id), 0
    for model_id, place in models:
        freed += store.ask(partial(_delete_files, store, place))
        _purge(store, "logged_model", model_id)
    freed += store.ask(partial(_delete_files, store, run_place))
    is_purged = _purge(store, "run", run_id)
    return Freed(1, freed, int(not is_purged), kept)


def _models(store: MlflowStore, run_id: str) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """The logged models of a run that have no versions, with their places; all versions."""
    free, kept = list[tuple[str, str]](), list[str]()
    for model in logged_models(store, run_id):
        model_id, versions = str(model.model_id), list[Any]()
        place = store.ask(partial(store.experiment.place_of_model, model))
        for source in (place, f"models:/{model_id}"):
            search = partial(store.client.search_model_versions, f"source_path = {quoted(source)}")
            versions += store.ask(search)
        kept += [f"version {one.version} of {one.name}" for one in versions]
        if not versions:
            free.append((model_id, place))
    return free, tuple(kept)


def _size_at(store: MlflowStore, place: str) -> int:
    return size_of(store.files_at(place))


def _delete_files(store: MlflowStore, place: str) -> int:
    """Delete all files at a place; how many bytes they had."""
    found = _size_at(store, place)
    if (folder := experiment.folder_of(place)) is None:
        store.files_at(place).delete_artifacts()
    elif folder.exists():
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # that of the run or the model, if it has nothing else
    return found


def _purge(store: MlflowStore, kind: str, name: str) -> bool:
    """Delete a run or a model; whether the database has nothing of it any more."""
    for_good = getattr(store.backend, f"_hard_delete_{kind}", None)
    store.ask(partial(for_good or getattr(store.client, f"delete_{kind}"), name))
    return for_good is not None
