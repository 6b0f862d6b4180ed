"""The MLflow experiment of a store, whose files this machine can access; and MLflow itself, silent.

With a database, files are in a folder or a bucket. Runs that were created through a tracking server
have addresses of the form `mlflow-artifacts:/`, which only the server resolves.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.process.scoped import Overrides, variable
from lstm_sweep.search.store.faults import BadRunError, reason
from lstm_sweep.search.store.settings import Settings, missing
from lstm_sweep.search.store.tags import Tag

#: held by the thread that imports MLflow
_importing = threading.Lock()
_overrides = Overrides()


def load_mlflow() -> Any:
    """The module `mlflow`, whose log messages below errors are off if it is imported here."""
    with _importing:
        if "mlflow" not in sys.modules:
            with variable("MLFLOW_DISABLE_TELEMETRY", "true"), warnings.catch_warnings():
                # by tqdm, in a notebook that has no widgets
                warnings.filterwarnings("ignore", "IProgress not found")
                import mlflow
            for name in ("alembic", "mlflow"):  # importing MLflow sets their levels
                logging.getLogger(name).setLevel(logging.ERROR)
            # it logs each failure of a database with a traceback; `faults` reports it in a line
            logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        import mlflow
    return mlflow


def applied(settings: Settings) -> AbstractContextManager[None]:
    """Within it, MLflow prints nothing, and fails within the timeout of the settings.

    Only defaults are changed, so that MLflow's environment variables take precedence; except for
    the number of retries, which is 0, since requests are retried by `faults.retry`.
    """
    from mlflow import environment_variables as variables
    from mlflow.store.db import utils

    values = [
        (variables.MLFLOW_DISABLE_TELEMETRY, "default", True),
        (variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT, "default", True),
        (variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR, "default", False),
        (variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES, "get", lambda: 0),
        (variables.MLFLOW_HTTP_REQUEST_TIMEOUT, "default", settings.request_timeout_s),
        # a model's requirements are those that are named, not those of a project in this folder
        (variables.MLFLOW_UV_AUTO_DETECT, "default", False),
        (variables.MLFLOW_LOG_UV_FILES, "default", False),
        # the default retries for 100 s, even with a wrong password
        (utils, "MAX_RETRY_COUNT", 1),
        # it says that it checks the example of a model
        (logging.getLogger("mlflow").getChild("pyfunc"), "disabled", True),
    ]
    return _overrides.hold(values)


def read_any_text(client: Any) -> None:
    """Let a client of an SQLite file read texts that are no UTF-8, their bytes escaped.

    One such text would otherwise make the whole file unreadable.
    """
    from sqlalchemy import event

    engine = client._tracking_client.store.engine
    if not event.contains(engine, "connect", _escape_bytes):
        event.listen(engine, "connect", _escape_bytes)
        engine.dispose()  # connections that are already open


def _escape_bytes(connection: sqlite3.Connection, record: object) -> None:
    connection.text_factory = lambda text: text.decode("utf-8", "backslashreplace")


# --- places of files ------------------------------------------------------------------------------

#: scheme of addresses that only a tracking server resolves
PROXIED = "mlflow-artifacts"
#: characters of the place of an experiment's files: MLflow's tables hold 200 for those of a run
LONGEST_PLACE = 200 - len(f"/{'0' * 32}/artifacts")


def folder_of(location: str) -> Path | None:
    """The folder that an address of files names; None if it names no local folder."""
    place = urlsplit(location)
    return Path(unquote(place.path)) if place.scheme in ("", "file") else None


def why_not_read(location: str, settings: Settings) -> str:
    """Why files at `location`, which a store names, are not accessed; "" if they are.

    A tracking server may lead anywhere, and so may a place on a server, which MLflow would send the
    password of a tracking server: only what the server itself stores, and what is within
    `artifacts` of the settings, is accepted of those.
    """
    place = urlsplit(location)
    if place.scheme == PROXIED and not settings.is_server:
        return (
            "a tracking server keeps its files: expected the address of that server in "
            "place of the database's, or another `experiment` in mlflow.yaml"
        )
    if place.scheme == "s3" and (why := missing("boto3")):
        return f"its files are at {location}, and {why}"
    may_lead_away = settings.is_server or place.scheme in ("http", "https", PROXIED)
    leads_out = ".." in unquote(place.path).split("/")
    if not may_lead_away or (place.scheme == PROXIED and not place.netloc):
        return ""
    own = settings.artifacts
    if own and not leads_out and f"{location}/".startswith(f"{own.rstrip('/')}/"):
        return ""
    return (
        f"its files are at {shown(location)}, a place that your settings do not name: use another "
        f"`experiment`, or set `artifacts` to it or a folder above it if you trust it"
    )


def check_place(location: str) -> None:
    """Check that files can be written at a place that this machine accesses directly.

    Nothing is written there.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    why, folder = "", folder_of(location)
    if folder is not None:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            why = f"{there} is a file, expected a folder"
        elif not os.access(there, os.W_OK | os.X_OK):
            why = f"no permission to write to {there}, expected a folder that can be written"
    elif not (why := missing("boto3") if urlsplit(location).scheme == "s3" else ""):
        try:
            get_artifact_repository(location).list_artifacts()
        except Exception as error:
            why = (
                f"{reason(error)}; expected a place that answers, and what it takes to log in "
                f"there in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
    if why:
        raise InputError(f"artifacts {location}: {why}")


# --- how MLflow's pages show the runs -------------------------------------------------------------

#: key of the view in addresses
KEY = "lstm-sweep"
#: sections of ours, which MLflow sorts by their names, with the charts in a row, and MLflow's own
#: below them, the last one closed; it loses one that a view does not name
COLUMNS = {"Learning curves": 2, "Trials by config": 1}
SECTIONS = (*COLUMNS, "Model metrics", "System metrics")
#: pixels of a chart in them
HEIGHT = 360
#: metrics, and over what they are drawn: "" is the step, which is the number of a round
LINES = (
    ("val_loss", ""), ("val_loss", "epochs_done"),
    ("train_loss", "epochs_done"), ("val_accuracy", "epochs_done"),
)  # fmt: skip
#: fields of a config as parallel axes, and the loss that gives a trial its colour
AXES = (
    "direction", "layers", "layer_size", "learning_rate", "dropout", "sequence_length",
    "batch_size",
)  # fmt: skip
LOSS = "best_val_loss"
#: columns by their kind, in order
SHOWN = {
    "tags": (Tag.PHASE, Tag.OUTCOME),
    "metrics": (LOSS, "bits_per_symbol", "best_epoch"),
    "params": ("parameters", *AXES),
}


def _cards() -> Iterator[dict[str, Any]]:
    curves, configs = map(_id, COLUMNS)
    for metric, over in LINES:
        yield {
            "type": "LINE",
            "metricSectionId": curves,
            "metricKey": metric,
            "selectedMetricKeys": [metric],
            "xAxisKey": "metric" if over else "step",
            "selectedXAxisMetricKey": over,
            "useGlobalXaxisKey": False,  # the page has one choice of an axis for all charts
            "xAxisScaleType": "linear",
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "scaleType": "linear",
            "range": {},
            "lineSmoothness": 0,
            "useGlobalLineSmoothing": True,
            "ignoreOutliers": False,
        }
    yield {
        "type": "PARALLEL",
        "metricSectionId": configs,
        "selectedParams": AXES,
        "selectedMetrics": (LOSS,),
        "showAllRuns": True,
    }


def _id(name: str) -> str:
    return f"lstm-sweep-{name.lower().replace(' ', '-')}"


def view_tag() -> dict[str, str]:
    state = {
        "orderByKey": f"metrics.`{LOSS}`",
        "orderByAsc": True,
        "selectedColumns": [f"{kind}.`{name}`" for kind, names in SHOWN.items() for name in names],
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunSections": [
            {"uuid": _id(name), "name": name, "display": name != SECTIONS[-1], "isReordered": False}
            | ({"columns": COLUMNS[name], "cardHeight": HEIGHT} if name in COLUMNS else {})
            for name in SECTIONS
        ],
        "compareRunCharts": [
            {"uuid": f"{_id('chart')}-{number}", "deleted": False, "isGenerated": False} | card
            for number, card in enumerate(_cards(), start=1)
        ],
    }
    return {Tag.VIEW_STATE + KEY: json.dumps(state, separators=(",", ":"))}


def page_of(experiment_id: str, *, curves: bool = False) -> str:
    """Address of the list of runs in this view, below that of the server; `curves` opens charts."""
    mode = "&compareRunsMode=CHART" if curves else ""
    path = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    return f"{path}&viewStateShareKey={KEY}{mode}"


def description(experiment_id: str) -> str:
    """What an experiment is, in Markdown; its list shows the beginning as plain text."""
    return (
        f"Sweeps of lstm-sweep: [runs, lowest loss first]({page_of(experiment_id)}), "
        f"[learning curves]({page_of(experiment_id, curves=True)}). A sweep is a run, and its "
        f"trials are the children of that."
    )


class Experiment:
    """An experiment by its name, which is created before the first run is written.

    Reading does not create it, since the place of its files is fixed at its creation.
    """

    def __init__(self, client: Any, settings: Settings) -> None:
        """Look the experiment up; raises `InputError` if it is deleted."""
        self._client, self._settings = client, settings
        self._is_checked = False
        self._found = self._find()

    @property
    def id(self) -> str | None:
        self._found = self._found or self._find()
        return self._found and str(self._found.experiment_id)

    def _find(self) -> Any:
        name = self._settings.experiment
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage != "active":
            raise InputError(
                f"experiment '{name}' is deleted; expected another name for it in mlflow.yaml, or "
                f"`mlflow experiments restore --experiment-id {found.experiment_id}` before"
            )
        return found

    def make(self) -> None:
        """Create the experiment unless it exists, and let MLflow's pages show it as a search.

        A description that users have changed or taken away stays as it is.
        """
        settings = self._settings
        if self.id is None:
            place, is_file = settings.artifacts, settings.is_server or settings.database_file
            if place and len(place) > LONGEST_PLACE and not is_file:
                raise InputError(
                    f"artifacts is {place} with {len(place)} characters, expected at most "
                    f"{LONGEST_PLACE}, for the database holds no more"
                )
            kind = {Tag.EXPERIMENT_KIND: "custom_model_development"}
            try:
                self._client.create_experiment(
                    settings.experiment, artifact_location=place, tags=kind
                )
            except Exception:
                if self.id is None:
                    raise  # else another process has created it, or the answer was lost
        if self.id is None or view_tag().items() <= self._found.tags.items():
            return
        tags = {Tag.NOTE: description(self.id)} | self._found.tags | view_tag()
        with contextlib.suppress(Exception):  # a user may have no right to change the experiment
            for key in (Tag.NOTE, *view_tag()):
                if tags[key] != self._found.tags.get(key):
                    self._client.set_experiment_tag(self.id, key, tags[key])
            self._found = self._find()

    @property
    def view(self) -> str:
        """What the address of its list of runs ends with, so that it opens as a search needs it."""
        has_view = self.id is not None and Tag.VIEW_STATE + KEY in self._found.tags
        return f"&viewStateShareKey={KEY}" if has_view else ""

    def check_reach(self, *, to_write: bool = False) -> None:
        """Check once that the files can be accessed, and are in a place that is accepted."""
        if self.id is None or (self._is_checked and not to_write):
            return
        location = self._found.artifact_location
        if why := why_not_read(location, self._settings):
            name = self._settings.experiment
            raise InputError(f"experiment '{name}' in store {self._settings}: {why}")
        is_direct = urlsplit(location).scheme != PROXIED
        if is_direct and (to_write or folder_of(location) is None):
            check_place(location)
        self._is_checked = True

    def place_of(self, run_id: str) -> str:
        """Place of the files of a run, which is within that of the experiment."""
        named = self._client.get_run(run_id).info.artifact_uri
        return self._own_place("run", run_id, named)

    def place_of_model(self, model: Any) -> str:
        model_id, named = str(model.model_id), model.artifact_location
        return self._own_place("model", model_id, named, "models")

    def _own_place(self, kind: str, name: str, named: str, *above: str) -> str:
        from mlflow.utils.uri import append_to_uri_path

        self.check_reach()
        if not re.fullmatch("[0-9A-Za-z-]+", name):
            raise InputError(
                f"the store returned {kind} ID {shown(name)}, expected letters and digits"
            )
        location = self._found.artifact_location
        expected = str(append_to_uri_path(location, *above, name, "artifacts"))
        if named != expected:
            raise BadRunError(
                f"{kind} {name}: its files are at {shown(named)}, expected {shown(expected)}, "
                f"where its experiment keeps them"
            )
        return expected
