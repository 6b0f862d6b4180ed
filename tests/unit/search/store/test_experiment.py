from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.store.experiment import (
    KEY,
    Experiment,
    check_place,
    description,
    page_of,
    view_tag,
    why_not_read,
)
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag
from tests.sweeps import store_in

HTTP, SQLITE, POSTGRES = "http://host:5000", "sqlite:////runs.db", "postgresql://host/runs"


class Client:
    """An MLflow client of a store with at most one experiment."""

    def __init__(self, location: str | None = None) -> None:
        self.found = None if location is None else _experiment(location)
        #: where its runs say that their files lie
        self.named = ""
        self.made: list[str | None] = []
        #: whether its tags may be changed
        self.may_change = True

    def get_experiment_by_name(self, name: str) -> Any:
        return self.found

    def create_experiment(self, name: str, artifact_location: str | None, tags: Any) -> None:
        self.made.append(artifact_location)
        self.found = _experiment(artifact_location or "mlflow-artifacts:/1")

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        if not self.may_change:
            raise PermissionError(experiment_id)
        assert self.found
        self.found.tags[key] = value

    def get_run(self, run_id: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(artifact_uri=self.named))


def _experiment(location: str) -> Any:
    return SimpleNamespace(
        experiment_id="1", artifact_location=location, lifecycle_stage="active", tags={}
    )


def shown_tags() -> dict[str, str]:
    """The tags by which MLflow's pages show experiment 1."""
    return {Tag.NOTE: description("1")} | view_tag()


def experiment_of(client: Client, uri: str, artifacts: str | None = None) -> Experiment:
    return Experiment(client, Settings(uri, artifacts, "mine", "test"))


@pytest.mark.parametrize("may_change", [True, False])
def test_an_experiment_of_an_earlier_version_gets_a_view_if_it_may_be_changed(
    may_change: bool,
) -> None:
    client = Client("file:///here")
    client.may_change = may_change
    experiment = experiment_of(client, SQLITE)
    assert experiment.view == ""
    experiment.make()
    assert experiment.view == ("&viewStateShareKey=lstm-sweep" if may_change else "")
    assert (
        client.found and client.found.tags.items() == (shown_tags() if may_change else {}).items()
    )


def test_somebody_who_made_it_at_the_same_time_is_no_failure() -> None:
    class Late(Client):
        def create_experiment(self, *arguments: Any, **more: Any) -> None:
            super().create_experiment("mine", None, {})
            raise RuntimeError("it exists")

    experiment = experiment_of(Late(), HTTP)
    experiment.make()
    assert experiment.id == "1"


MINE, SERVERS = "file:///mine", "http://runs.example"
ELSEWHERE = "a place that your settings do not name: use another"


@pytest.mark.parametrize(
    ("uri", "artifacts", "location", "why"),
    [
        # a server does not say where else files lie
        *((HTTP, MINE, location, ELSEWHERE) for location in (
            "file:///home/victim", "/home/victim", "s3://stranger/runs", "ftp://stranger/runs",
            "mlflow-artifacts://stranger:80/1", "file:///mine/../home", "file:///mine/%2e%2e/home",
            "file:///minefield", "http://stranger/1",
        )),
        # neither does a database name a server, which would be sent a password
        *((SQLITE, SERVERS, location, ELSEWHERE) for location in (
            "http://stranger/api/2.0/mlflow-artifacts/artifacts", "HTTPS://stranger/1",
            "http://runs.example/1/../2", "http://runs.example.org/1",
        )),
        (SQLITE, SERVERS, "http://runs.example/1", ""),
        (POSTGRES, None, "mlflow-artifacts:/1", "a tracking server keeps its files"),
        (HTTP, None, "mlflow-artifacts:/1", ""),
        (SQLITE, None, "file:///a", ""),
        (POSTGRES, None, "s3://bucket/a", "its files are at s3://bucket/a, and it needs boto3, "
         "expected: pip install lstm-sweep[server]"),
    ],
)  # fmt: skip
def test_files_are_accessed_where_the_settings_let_them_lie_and_can_be_reached(
    uri: str, artifacts: str | None, location: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if location.startswith("s3") and why != ELSEWHERE:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    experiment = experiment_of(Client(location), uri, artifacts)
    if why:
        with pytest.raises(InputError, match=re.escape(why)):
            experiment.check_reach()
    else:
        assert not why_not_read(location, Settings(uri, artifacts, "mine", "test"))


@pytest.mark.parametrize("uri", [HTTP, SQLITE])
@pytest.mark.parametrize(
    "named",
    ["file:///home/victim", "file:///mine/b2/artifacts", "file:///mine/a1/artifacts/../../..",
     "s3://stranger/a1/artifacts", "", "file:///mine"],
)  # fmt: skip
def test_files_of_a_run_lie_where_its_experiment_has_them(uri: str, named: str) -> None:
    client = Client("file:///mine")
    client.named = "file:///mine/a1/artifacts"
    assert experiment_of(client, uri, "file:///mine").place_of("a1") == client.named
    client.named = named
    with pytest.raises(
        BadRunError, match=r"run a1: its files are at .*, expected 'file:///mine/a1"
    ):
        experiment_of(client, uri, "file:///mine").place_of("a1")


def test_an_id_that_leads_out_is_none() -> None:
    experiment, out = experiment_of(Client("file:///mine"), SQLITE), "../../home"
    model = SimpleNamespace(model_id=out, artifact_location=f"file:///mine/models/{out}/artifacts")
    with pytest.raises(InputError, match="expected letters and digits"):
        experiment.place_of(out)
    with pytest.raises(InputError, match="expected letters and digits"):
        experiment.place_of_model(model)


@pytest.mark.parametrize("uri", [HTTP, SQLITE, POSTGRES])
def test_a_place_that_a_database_cannot_hold_is_refused(uri: str) -> None:
    most, longer = f"file:///{'a' * 149}", f"file:///{'a' * 150}"
    assert len(f"{most}/{'0' * 32}/artifacts") == 200
    experiment_of(Client(), uri, most).make()
    if uri != POSTGRES:
        experiment_of(Client(), uri, longer).make()
        return
    with pytest.raises(InputError, match="158 characters, expected at most 157"):
        experiment_of(Client(), uri, longer).make()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    check_place((tmp_path / "new" / "er").as_uri())
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"{tmp_path}/file is a file, expected a folder"):
        check_place((tmp_path / "file" / "a").as_uri())


def test_the_list_of_runs_of_a_new_store_opens_sorted_by_loss(
    workplace: Callable[[str], Path],
) -> None:
    store = store_in(workplace("run-list"))
    store.prepare()
    assert store.page().endswith(f"/runs?workflowType=machine_learning&viewStateShareKey={KEY}")
    assert store.page("0" * 32).endswith("?workflowType=machine_learning")
    view = json.loads(view_tag()[Tag.VIEW_STATE + KEY])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`best_val_loss`", True)
    assert store.experiment.id
    assert store.page() == f"/{page_of(store.experiment.id)}"
    tags = store.client.get_experiment(store.experiment.id).tags
    assert tags.items() >= (view_tag() | {Tag.NOTE: description(store.experiment.id)}).items()
    assert tags[Tag.EXPERIMENT_KIND] == "custom_model_development"
