"""MLflow: the only store, and the only file that imports it.

The driver is the only writer. A trial takes one call to create its run, one for its params, one per
epoch (the last carries the outcome), and one for its final status, in that order: a run whose
status is not final is not finished.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import sqlite3
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.folder_lock import locked
from lstm_sweep.search.process.scoped import Overrides, variable
from lstm_sweep.search.store import address, artifacts
from lstm_sweep.search.store.experiment import Experiment
from lstm_sweep.search.store.faults import Waiting, insist, reason, refused, steady_clock
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag

Answer = TypeVar("Answer")

#: MLflow's limits on one `log_batch`
PARAMS_PER_BATCH = 100
#: longest value of a tag; MLflow would cut it off without an error
TAG_LENGTH = 8000
RUNS_PER_PAGE = 1000
_clock = steady_clock()


#: held by the thread that imports MLflow
_importing = threading.Lock()
#: what MLflow does otherwise while it is asked something here, and only then
_overrides = Overrides()


def _import_mlflow() -> Any:
    """Import MLflow; keep its own talk off the terminal, and it from reporting home.

    If the program around this one has imported it before, it is left as it is.
    """
    with _importing:
        if "mlflow" not in sys.modules:
            with variable("MLFLOW_DISABLE_TELEMETRY", "true"), warnings.catch_warnings():
                # by tqdm, in a notebook that has no widgets
                warnings.filterwarnings("ignore", "IProgress not found")
                import mlflow
            for name in ("alembic", "mlflow"):  # importing MLflow sets their levels
                logging.getLogger(name).setLevel(logging.ERROR)
        import mlflow
    return mlflow


def _settled(settings: Settings) -> AbstractContextManager[None]:
    """Let MLflow answer or fail in the time that is set, silently; we ask again ourselves.

    Its variables go before, but for how often it asks.
    """
    from mlflow import environment_variables as variables
    from mlflow.store.db import utils

    values = [
        (variables.MLFLOW_DISABLE_TELEMETRY, "default", True),
        (variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT, "default", True),
        (variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR, "default", False),
        (variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES, "get", lambda: 0),
        (variables.MLFLOW_HTTP_REQUEST_TIMEOUT, "default", settings.request_timeout_s),
        # it would ask a database for 100 s, also with a wrong password
        (utils, "MAX_RETRY_COUNT", 1),
    ]
    return _overrides.hold(values)


class Store:
    """Runs in one MLflow experiment, read and written through `MlflowClient`."""

    def __init__(self, settings: Settings) -> None:
        """Connect; make the tables if they are missing.

        Raises:
            InputError: the store cannot be reached, or its experiment is deleted.
        """
        if why := address.lacking(settings.tracking_uri):
            raise InputError(f"store {settings}: {why}")
        mlflow = _import_mlflow()
        self.settings = settings
        #: what to do while the store does not answer; None: fail at once
        self.waiting: Waiting | None = None
        #: within what each request is made, so that it can be given up
        self.asking: Callable[[], AbstractContextManager[None]] = nullcontext
        #: where files lie that are within reach
        self._reached: str | None = None
        #: where the files of runs lie, by their IDs, as far as that was looked up
        self._places: dict[str, str] = {}
        try:
            uri = settings.mlflow_uri
            if "PGCONNECT_TIMEOUT" not in os.environ:
                uri = address.with_timeout(uri, settings.request_timeout_s)
            with self._alone(), _settled(settings):
                self._use_write_ahead_log()
                self.client = mlflow.MlflowClient(uri, uri)
                self.experiment = Experiment(self.client, settings)
        except Exception as error:
            why = refused(error) or f"{reason(error)}; expected a store that answers"
            raise InputError(f"store {settings}: {why}") from None

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        def ask() -> Answer:
            with self.asking(), _settled(self.settings):
                return call()

        return insist(ask, str(self.settings), self.waiting)

    def _alone(self) -> AbstractContextManager[None]:
        """While the tables of an SQLite file are made: MLflow fails if two processes make them."""
        file = self.settings.database_file
        return nullcontext() if file is None else locked(file.parent)

    def _use_write_ahead_log(self) -> None:
        """Let readers and the writer of an SQLite file work at once; the file remembers it."""
        file = self.settings.database_file
        if file is None:
            return
        connection = sqlite3.connect(file)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()

    def prepare(self) -> None:
        """Make the experiment if it is missing, and be sure that its files can be kept.

        Raises:
            InputError: the store cannot be written, or they cannot.
        """
        try:
            with _settled(self.settings):
                self.experiment.make()
                self.experiment.check_reach()
        except InputError:
            raise
        except Exception as error:
            why = refused(error) or f"{reason(error)}; expected a store that can be written"
            raise InputError(f"store {self.settings}: {why}") from None
        if place := self.experiment.own_place:
            check_place(place)
            self._reached = place

    def _reach_files(self) -> None:
        """Refuse to go on if the files of runs are out of reach, or this machine may not read them.

        Raises:
            InputError: so it is.
        """
        self._ask(self.experiment.check_reach)
        place = self.experiment.own_place
        if place and place != self._reached and artifacts.folder_of(place) is None:
            check_place(place)
        self._reached = place

    def create_run(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Create a running run and return its ID.

        Raises:
            InputError: a tag is longer than MLflow keeps.
        """
        for key, value in tags.items():
            if len(value) > TAG_LENGTH:
                raise InputError(
                    f"{key} has {len(value):,} characters, expected at most {TAG_LENGTH:,}"
                )
        own = {"mlflow.user": _user(), "mlflow.source.name": "lstm-sweep"}
        own[Tag.CREATION] = uuid.uuid4().hex
        if parent:
            own["mlflow.parentRunId"] = parent
        now, tried = _now_ms(), False
        if self.experiment.id is None:
            self.prepare()
        self._reach_files()

        def create() -> str:
            nonlocal tried
            if tried and (made := self._search(f"tags.`{Tag.CREATION}` = '{own[Tag.CREATION]}'")):
                return str(made[0].info.run_id)
            tried = True
            run = self.client.create_run(
                self.experiment.id, start_time=now, tags={**own, **tags}, run_name=name
            )
            return str(run.info.run_id)

        return self._ask(create)

    def log(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
    ) -> None:
        """Log metrics, params and tags in one call; said twice, it changes nothing."""
        from mlflow.entities import Metric, Param, RunTag

        now = _now_ms()
        values = [Metric(key, value, now, step) for key, value in (metrics or {}).items()]
        fixed = [Param(key, str(value)) for key, value in (params or {}).items()]
        words = [RunTag(key, value) for key, value in (tags or {}).items()]
        self._ask(lambda: self.client.log_batch(run_id, values, fixed, words))

    def log_once(self, run_id: str, key: str, value: str) -> bool:
        """Write a param that has one value for good; return whether that is this one.

        Of several that write it at once, with different values, one succeeds.
        """
        from mlflow.exceptions import MlflowException

        try:
            self.log(run_id, params={key: value})
        except MlflowException:
            kept = self._ask(lambda: self.client.get_run(run_id)).data.params
            if key not in kept:
                raise
            return bool(kept[key] == value)
        return True

    def finish(self, run_id: str, status: str) -> None:
        """Give a run its final status."""
        now = _now_ms()
        self._ask(lambda: self.client.set_terminated(run_id, status=status, end_time=now))

    def reopen(self, run_id: str) -> None:
        """Let a run that has ended go on."""
        self._ask(lambda: self.client.update_run(run_id, status="RUNNING"))

    def drop_tag(self, run_id: str, key: str) -> None:
        """Take a tag away, if it is there."""
        if key in self.tags(run_id):
            self._ask(lambda: self.client.delete_tag(run_id, key))

    def tags(self, run_id: str) -> dict[str, str]:
        """All tags of a run."""
        return dict(self._ask(lambda: self.client.get_run(run_id)).data.tags)

    def log_dataset(self, run_id: str, *, name: str, digest: str, source: str) -> None:
        """Say which data a run used; the digest is ours, over all symbols."""
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest, "local", json.dumps({"uri": source}))
        context = [InputTag("mlflow.data.context", "training")]
        inputs = [DatasetInput(dataset, context)]
        self._ask(lambda: self.client.log_inputs(run_id, datasets=inputs))

    def keep_file(self, run_id: str, file: Path, folder: str | None = None) -> None:
        """Store a file as an artifact of a run."""
        self._reach_files()
        self._ask(lambda: self._files_of(run_id).log_artifact(str(file), folder))

    def keep_text(self, run_id: str, text: str, name: str) -> None:
        """Store a text as an artifact of a run."""
        from mlflow.store.artifact.artifact_repo import verify_artifact_path

        verify_artifact_path(name)
        folder, _, last = name.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
            file = Path(scratch) / last
            file.write_text(text, encoding="utf-8")
            self.keep_file(run_id, file, folder or None)

    def drop_folder(self, run_id: str, name: str) -> None:
        """Let go of a folder of artifacts."""
        self._reach_files()

        def drop() -> None:
            repository = self._files_of(run_id)
            if repository.list_artifacts(name):
                repository.delete_artifacts(name)

        self._ask(drop)

    def fetch(self, run_id: str, name: str, to: Path) -> Path:
        """Copy an artifact of a run into folder `to`; return where it lies."""
        self._reach_files()

        def download() -> Path:
            return Path(self._files_of(run_id).download_artifacts(name, str(to)))

        return self._ask(download)

    def _files_of(self, run_id: str) -> Any:
        """The files of a run, wherever its experiment has them, and nowhere else.

        Raises:
            InputError: the run says that its files lie elsewhere, or they are out of reach.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        place = self._places.get(run_id)
        if place is None:
            place = self._places[run_id] = self.experiment.place_of(run_id)
        return get_artifact_repository(place, tracking_uri=self.settings.mlflow_uri)

    def runs(self, **tags: str) -> list[Any]:
        """All runs with these tags (underscores for dots), oldest first."""
        conditions = [
            f"tags.`{key.replace('_', '.', 1)}` = '{value}'" for key, value in tags.items()
        ]
        return self._ask(lambda: self._search(" and ".join(conditions)))

    def _search(self, filter: str) -> list[Any]:
        found: list[Any] = []
        token = None
        if self.experiment.id is None:
            return found
        while True:
            page = self.client.search_runs(
                [self.experiment.id],
                filter,
                max_results=RUNS_PER_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            found.extend(page)
            token = page.token
            if not token:
                return found

    def run(self, run_id: str) -> Any:
        """One run by its ID; None if there is none."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._ask(lambda: self.client.get_run(run_id))
        except MlflowException:  # no run has this ID
            return None
        return run if run.info.experiment_id == self.experiment.id else None

    def history(self, run_id: str, key: str) -> dict[int, float]:
        """Values of a metric by step; a database keeps infinities as the largest numbers."""
        found = self._ask(lambda: self.client.get_metric_history(run_id, key))
        return {metric.step: _read_back(metric.value) for metric in found}

    def page(self, run_id: str = "") -> str:
        """Path of a run's page in the MLflow UI; without an ID, of the page of all runs."""
        if self.experiment.id is None:
            return "/#/experiments"
        path = f"/#/experiments/{self.experiment.id}/runs"
        return f"{path}{f'/{run_id}' if run_id else ''}?workflowType=machine_learning"


def at_once(store: Store) -> Store:
    """The same store for another thread: it does not wait, and cannot be given up."""
    beside = copy.copy(store)
    beside.waiting, beside.asking = None, nullcontext
    return beside


def check_place(location: str) -> None:
    """Make sure that files can be kept at a place that this machine writes to by itself.

    Raises:
        InputError: they cannot, as far as one sees without writing any.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if why := artifacts.lacking(location) or artifacts.not_writable(location):
        raise InputError(f"artifacts {location}: {why}")
    if artifacts.folder_of(location) is not None:
        return
    try:
        get_artifact_repository(location).list_artifacts()
    except Exception as error:
        raise InputError(
            f"artifacts {location}: {reason(error)}; expected a place that answers, and what it "
            f"takes to log in there in the environment, such as AWS_ACCESS_KEY_ID and "
            f"AWS_SECRET_ACCESS_KEY"
        ) from None


def _read_back(value: float) -> float:
    infinite = abs(value) >= sys.float_info.max
    return math.copysign(math.inf, value) if infinite else value


def _now_ms() -> int:
    return int(_clock() * 1000)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
