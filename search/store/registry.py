"""MLflow's logged models, and versions of them in its model registry.

A logged model belongs to the run of the trial that trained it. The registry is in the same store as
the runs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.store import mlflow_setup
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.settings import UNWRITABLE
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Store

#: the alias of the version that is the best one
CHAMPION = "champion"
#: characters of the longest name of a registered model
LONGEST_NAME = 250
#: metrics of a trial's run that its logged model has, too
METRICS = ("best_val_loss", "bits_per_symbol", "best_epoch")

#: writes the folder of a model, given MLflow's `Model`
WriteModel = Callable[[Path, Any], None]


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    name: str
    version: int
    #: the logged model that it is
    model_id: str
    #: whether it has the alias `champion` now
    champion: bool
    #: why it has, or has not
    why: str

    @property
    def uri(self) -> str:
        """URI by which MLflow loads the version."""
        return f"models:/{self.name}{f'@{CHAMPION}' if self.champion else f'/{self.version}'}"

    @property
    def text(self) -> str:
        """A line for people: version, role and reason."""
        role = "the champion" if self.champion else "not the champion"
        return f"version {self.version} of {self.name}, {role}: {self.why}"

    @classmethod
    def of(cls, written: Mapping[str, Any]) -> Version:
        """A version from what `to_dict` has made."""
        return cls(**{name: value for name, value in written.items() if name != "uri"})

    def to_dict(self) -> dict[str, Any]:
        """The version as `export --json` prints it."""
        return {
            "name": self.name,
            "version": self.version,
            "model_id": self.model_id,
            "uri": self.uri,
            "champion": self.champion,
            "why": self.why,
        }


def check_name(name: object) -> str:
    """A name of a registered model.

    Raises:
        InputError: MLflow takes no such name.
    """
    valid = (
        isinstance(name, str)
        and 0 < len(name) <= LONGEST_NAME
        and name.strip() == name
        and name not in (".", "..")
        and not set("/:") & set(name)
        and not UNWRITABLE.search(name)
    )
    if not valid:
        raise InputError(
            f"--register is {shown(name)}: expected the name of a model, without / and :, of at "
            f"most {LONGEST_NAME} characters"
        )
    return str(name)


def logged_model_of(store: Store, run_id: str) -> str | None:
    """ID of the newest model that was logged of a run; None if there is none that is whole."""
    from mlflow.exceptions import MlflowException

    outputs = store.ask(lambda: store.client.get_run(run_id)).outputs
    whole = []
    for output in outputs.model_outputs if outputs else []:
        try:
            found = store.ask(lambda: store.client.get_logged_model(output.model_id))  # noqa: B023
        except MlflowException:  # it was deleted
            continue
        if found.status == "READY" and found.source_run_id == run_id:
            whole.append(found)
    newest = max(whole, key=lambda one: one.creation_timestamp, default=None)
    return None if newest is None else str(newest.model_id)


def log_model(store: Store, run_id: str, name: str, write: WriteModel) -> str:
    """Make a logged model of a run from the folder that `write` writes; return its ID.

    It has the run's params, and the last values of its most important metrics.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client, run = store.client, store.ask(lambda: store.client.get_run(run_id))
    model = store.ask(
        lambda: client.create_logged_model(
            run.info.experiment_id, _model_name(name), run_id, params=dict(run.data.params)
        )
    )
    status = "FAILED"
    try:
        place = store.ask(lambda: store.experiment.place_of_model(model))
        about = Model(
            artifact_path=place, run_id=run_id, model_id=model.model_id, model_uuid=model.model_id
        )
        with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
            with mlflow_setup.applied(store.settings):
                write(Path(scratch) / "model", about)
            files = store.files_at(place)
            store.ask(lambda: files.log_artifacts(str(Path(scratch) / "model")))
        status = "READY"
    finally:
        store.ask(lambda: client.finalize_logged_model(model.model_id, status))
    points = _last_points(store, run_id, model.model_id)
    step = max((point.step for point in points), default=0)
    output = LoggedModelOutput(model.model_id, step)
    store.ask(lambda: client.log_batch(run_id, points))
    store.ask(lambda: client.log_outputs(run_id, [output]))
    return str(model.model_id)


def _model_name(trial: str) -> str:
    """Name of the logged model of a trial; MLflow takes neither slashes nor dots in it."""
    return trial.replace("/", "-").replace(".", "_")


def _last_points(store: Store, run_id: str, model_id: str) -> list[Any]:
    """The last point of each metric in `METRICS`, as one of a logged model.

    It is the same point of the run, which MLflow keeps once.
    """
    from mlflow.entities import Metric

    points = []
    for key in METRICS:
        if history := store.ask(lambda: store.client.get_metric_history(run_id, key)):  # noqa: B023
            last = max(history, key=lambda point: (point.step, point.timestamp))
            points.append(
                Metric(key, last.value, last.timestamp, last.step, model_id, run_id=run_id)
            )
    return points


def register(
    store: Store, name: str, model_id: str, run_id: str, tags: Mapping[str, str], about: str
) -> Version:
    """Make a version of a logged model, and decide whether it is the champion.

    `tags` are those of the version. `about` describes it. A logged model that is a version of this
    name already stays that one.
    """
    client = store.client
    aliases = _aliases(store, name, about)
    known = store.ask(lambda: client.search_model_versions(f"run_id = '{run_id}'"))
    model = store.ask(lambda: client.get_logged_model(model_id))
    # for an address `models:/`, MLflow would ask the store of its own settings
    place = store.ask(lambda: store.experiment.place_of_model(model))
    version = next((one for one in known if (one.name, one.source) == (name, place)), None)
    if version is None:
        version = store.ask(
            lambda: client.create_model_version(
                name, place, run_id, dict(tags), description=about, model_id=model_id
            )
        )
    number = int(version.version)
    present = aliases.get(CHAMPION)
    if present is None:
        better, why = True, "no version was the champion"
    elif int(present) == number:
        better, why = True, "it was the champion"
    else:
        other = store.ask(lambda: client.get_model_version(name, present))
        better, why = compare(int(present), dict(other.tags), tags)
    if better and present != str(number):
        store.ask(lambda: client.set_registered_model_alias(name, CHAMPION, str(number)))
    return Version(name, number, model_id, better, why)


def _aliases(store: Store, name: str, about: str) -> dict[str, str]:
    """Versions of a registered model by their aliases; it is made if it is missing."""
    from mlflow.exceptions import MlflowException

    client = store.client
    try:
        return dict(store.ask(lambda: client.get_registered_model(name)).aliases)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    try:
        store.ask(lambda: client.create_registered_model(name, description=about))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return {}


def compare(champion: int, theirs: Mapping[str, str], ours: Mapping[str, str]) -> tuple[bool, str]:
    """Whether a version beats the champion, by the tags of both; and why, a sentence's part."""
    named = f"version {champion}"
    for tag, what in ((Tag.CORPUS_DIGEST, "data"), (Tag.SCORING, "validation targets")):
        if tag not in ours:
            return False, f"not compared with {named}: what it was scored on is not known"
        if tag not in theirs:
            return False, f"not compared with {named}: what that was scored on is not known"
        if _plain(ours[tag]) != _plain(theirs[tag]):
            return False, f"not compared with {named}: that was scored on other {what}"
    try:
        own, other = float(ours[Tag.MODEL_LOSS]), float(theirs[Tag.MODEL_LOSS])
    except (KeyError, ValueError):
        raise BadRunError(
            f"{named}: tag {Tag.MODEL_LOSS} is {shown(theirs.get(Tag.MODEL_LOSS))}: expected a loss"
        ) from None
    if own < other:
        return True, f"its loss {own:.4f} is below {other:.4f} of {named}"
    return False, f"its loss {own:.4f} is not below {other:.4f} of {named}"


def _plain(text: str) -> Any:
    """The value of a tag, whatever spaces its JSON has."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
