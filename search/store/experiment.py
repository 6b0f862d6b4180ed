"""The MLflow experiment of a store, and whether the files of its runs can be accessed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.store import artifacts
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag

#: sections of ours, which MLflow sorts by their names, with the charts in a row
CURVES, CONFIGS = "Learning curves", "Trials by config"
COLUMNS = {CURVES: 2, CONFIGS: 1}
#: pixels of a chart in them
HEIGHT = 360
#: MLflow's own sections, below ours, the last one closed; it loses one that a view does not name
OTHERS = ("Model metrics", "System metrics")
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


def charts() -> dict[str, Any]:
    """The part of a view with the charts: learning curves come first."""
    sections = [
        {"uuid": _id(name), "name": name, "display": name != OTHERS[-1], "isReordered": False}
        | ({"columns": COLUMNS[name], "cardHeight": HEIGHT} if name in COLUMNS else {})
        for name in (*COLUMNS, *OTHERS)
    ]
    cards = [_line(metric, over) for metric, over in LINES] + [_parallel()]
    return {
        "compareRunSections": sections,
        "compareRunCharts": [
            {"uuid": f"{_id('chart')}-{number}", "deleted": False, "isGenerated": False} | card
            for number, card in enumerate(cards, start=1)
        ],
    }


def _line(metric: str, over: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricSectionId": _id(CURVES),
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


def _parallel() -> dict[str, Any]:
    return {
        "type": "PARALLEL",
        "metricSectionId": _id(CONFIGS),
        "selectedParams": list(AXES),
        "selectedMetrics": [LOSS],
        "showAllRuns": True,
    }


def _id(name: str) -> str:
    return f"lstm-sweep-{name.lower().replace(' ', '-')}"


#: key of the view in addresses
KEY = "lstm-sweep"
#: metrics, fields of a config and tags that are columns, in order
METRICS = ("best_val_loss", "bits_per_symbol", "best_epoch")
PARAMS = (
    "parameters", "direction", "layers", "layer_size", "learning_rate", "dropout",
    "sequence_length", "batch_size",
)  # fmt: skip
TAGS = (Tag.PHASE, Tag.OUTCOME)


def view_tag() -> dict[str, str]:
    """The tag with the view: runs by their loss, the lowest first, with what a search is about."""
    named = {"tags": TAGS, "metrics": METRICS, "params": PARAMS}
    columns = [f"{kind}.`{name}`" for kind, names in named.items() for name in names]
    state = {
        "orderByKey": f"metrics.`{METRICS[0]}`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        **charts(),
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

    Reading does not create it, since the place of its files is fixed at its creation: `artifacts`
    of the settings for a database, the server's own storage for a tracking server.
    """

    def __init__(self, client: Any, settings: Settings) -> None:
        """Look the experiment up.

        Raises:
            InputError: it is deleted.
        """
        self._client = client
        self._settings = settings
        self._is_checked = False
        self._found = self._find()

    @property
    def id(self) -> str | None:
        """The ID; None if the experiment does not exist yet."""
        if self._found is None:
            self._found = self._find()
        return None if self._found is None else str(self._found.experiment_id)

    @property
    def own_place(self) -> str | None:
        """Place of the files if this machine accesses it directly; None if a server does."""
        if self.id is None:
            return None
        location = str(self._found.artifact_location)
        return None if artifacts.is_proxied(location) else location

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
        """Create the experiment unless it exists.

        Raises:
            InputError: the place of its files is too long for the database.
        """
        if self.id is not None:
            self._offer_view()
            return
        name, location = self._settings.experiment, self._settings.artifacts
        if location and (why := artifacts.too_long(location, self._settings)):
            raise InputError(why)
        kind = {Tag.EXPERIMENT_KIND: "custom_model_development"}
        try:
            self._client.create_experiment(name, artifact_location=location, tags=kind)
        except Exception:
            if self.id is None:
                raise  # else another process has created it, or the answer was lost
        self._offer_view()

    def _offer_view(self) -> None:
        """Add the view of the runs, and a description if there is none, if that is allowed.

        An experiment of an earlier version gets the view of this one. A description that users
        have changed or taken away stays as it is.
        """
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
        return f"&viewStateShareKey={KEY}" if self._has_view else ""

    @property
    def _has_view(self) -> bool:
        return self.id is not None and Tag.VIEW_STATE + KEY in self._found.tags

    def check_reach(self) -> None:
        """Check that the files can be accessed, and are in a place that is accepted.

        Raises:
            InputError: they cannot, or are not; see `artifacts.is_own`.
        """
        if self._is_checked or self.id is None:
            return
        location = str(self._found.artifact_location)
        why = artifacts.out_of_reach(location, self._settings)
        leads_away = self._settings.is_server or artifacts.is_on_server(location)
        if not why and leads_away and not artifacts.is_own(location, self._settings):
            why = artifacts.elsewhere(location)
        if why:
            name = self._settings.experiment
            raise InputError(f"experiment '{name}' in store {self._settings}: {why}")
        self._is_checked = True

    def place_of(self, run_id: str) -> str:
        """Place of the files of a run, which is within that of the experiment.

        Raises:
            BadRunError: the run names another place.
            InputError: the place cannot be accessed.
        """
        self.check_reach()
        if not run_id.isalnum():
            raise InputError(
                f"the store returned run ID {shown(run_id)}, expected letters and digits"
            )
        location = self._client.get_run(run_id).info.artifact_uri
        expected = artifacts.of_run(str(self._found.artifact_location), run_id)
        if location != expected:
            raise BadRunError(
                f"run {run_id}: its files are at {shown(location)}, expected {shown(expected)}, "
                f"where its experiment keeps them"
            )
        return expected

    def place_of_model(self, model: Any) -> str:
        """Place of the files of a logged model, which is within that of the experiment.

        Raises:
            BadRunError: the model is of another experiment, or names another place.
            InputError: the place cannot be accessed.
        """
        self.check_reach()
        found = str(model.artifact_location)
        expected = artifacts.of_model(str(self._found.artifact_location), str(model.model_id))
        if found != expected:
            raise BadRunError(
                f"model {shown(str(model.model_id))}: its files are at {shown(found)}, expected "
                f"{shown(expected)}, where its experiment keeps them"
            )
        return expected
