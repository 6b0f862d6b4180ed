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
from typing import Any, Self

from lstm_sweep.search.store import experiment
from lstm_sweep.search.store.base import quoted
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
        """What was deleted from a document with the fields of `to_dict`."""
        return cls(given["runs"], given["bytes"], given["marked"], tuple(given["kept"]))


def size(store: MlflowStore, run_id: str) -> Freed:
    """What `delete` would delete of a run.

    Raises:
        BadRunError: its files are not where its experiment has them.
    """
    found, kept = store.bytes_of(run_id), list[str]()
    for model in _models(store, run_id):
        place = _place_of(store, model)
        if named := _versions(store, model.model_id, place):
            kept += named
        else:
            found += _bytes_at(store, place)
    return Freed(1, found, 0, tuple(kept))


def delete(store: MlflowStore, run_id: str) -> Freed:
    """Delete a run, with its files and its logged models; the latter stay if they have versions.

    It may be repeated if it breaks off: the run is deleted last.

    Raises:
        BadRunError: its files are not where its experiment has them; nothing is deleted.
    """
    run_place = store.ask(lambda: store.experiment.place_of(run_id))
    kept, freed = list[str](), 0
    for model in _models(store, run_id):
        place = _place_of(store, model)
        if named := _versions(store, model.model_id, place):
            kept += named
        else:
            freed += _delete_files(store, place)
            _delete_model(store, model.model_id)
    freed += _delete_files(store, run_place)
    is_purged = _purge(store, "_hard_delete_run", run_id)
    if not is_purged:
        store.ask(lambda: store.client.delete_run(run_id))
    return Freed(1, freed, int(not is_purged), tuple(kept))


def _delete_model(store: MlflowStore, model_id: str) -> None:
    if not _purge(store, "_hard_delete_logged_model", model_id):
        store.ask(lambda: store.client.delete_logged_model(model_id))


def _place_of(store: MlflowStore, model: Any) -> str:
    return store.ask(lambda: store.experiment.place_of_model(model))


def _bytes_at(store: MlflowStore, place: str) -> int:
    return store.ask(lambda: size_of(store.files_at(place)))


def _models(store: MlflowStore, run_id: str) -> list[Any]:
    """The logged models of a run, also those that are not whole."""
    found, token = list[Any](), None
    while True:
        page = store.ask(
            lambda: store.client.search_logged_models(
                [store.experiment.id],
                f"source_run_id = '{run_id}'",
                page_token=token,
            )
        )
        found += page
        if not (token := page.token):
            return found


def _versions(store: MlflowStore, model_id: str, place: str) -> list[str]:
    """Versions of registered models that a logged model with its files at `place` is."""
    found = list[str]()
    for source in (place, f"models:/{model_id}"):
        given = f"source_path = {quoted(source)}"
        versions = store.ask(lambda: store.client.search_model_versions(given))  # noqa: B023
        found += [f"version {one.version} of {one.name}" for one in versions]
    return found


def _delete_files(store: MlflowStore, place: str) -> int:
    """Delete all files at a place; how many bytes they had."""

    def delete_all() -> int:
        repository = store.files_at(place)
        found = size_of(repository)
        if (folder := experiment.folder_of(place)) is None:
            repository.delete_artifacts()
        elif folder.exists():
            shutil.rmtree(folder)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()  # that of the run or the model, if it has nothing else
        return found

    return int(store.ask(delete_all))


def _purge(store: MlflowStore, how: str, given: str) -> bool:
    """Delete a run or a model from the database for good; whether that can be done from here."""
    purge = getattr(store.backend, how, None)
    if purge is None:
        return False
    store.ask(lambda: purge(given))
    return True
