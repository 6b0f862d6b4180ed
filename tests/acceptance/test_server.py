"""A server that asks for a password, as `ui` starts it where MLflow has users."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.state import Observer, SweepState
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tracking import MlflowStore
from tests.conftest import TINY, Done, run_here, write_text
from tests.fakes import ScriptedEngine
from tests.servers import served
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec

pytestmark = pytest.mark.full

PASSWORD = "a password of the tests"
LOGIN: dict[str, Any] = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}


@dataclass(frozen=True)
class Server:
    """A server with users."""

    address: str


@pytest.fixture(scope="module")
def server(workplace: Callable[[str], Path]) -> Iterator[Server]:
    folder = workplace("guarded")
    shipped = (Path(__file__).parents[2] / "docker" / "auth.ini").read_text(encoding="utf-8")
    users = re.sub("database_uri = .*", f"database_uri = sqlite:///{folder}/users.db", shipped)
    (folder / "auth.ini").write_text(users, encoding="utf-8")
    given = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key of the tests",
    }
    with served(folder, **given) as address:
        yield Server(address)


@pytest.mark.parametrize("login", [{}, LOGIN | {"MLFLOW_TRACKING_PASSWORD": "not this one"}])
def test_a_client_without_a_password_gets_one_clear_line(
    server: Server, login: dict[str, Any], tmp_path: Path
) -> None:
    done = run_here("sweeps", cwd=tmp_path, MLFLOW_TRACKING_URI=server.address, **login)
    assert (done.code, done.out) == (2, "")
    [line] = done.err.splitlines()
    assert line.startswith(f"lstm-sweep: store {server.address} (by MLFLOW_TRACKING_URI): it wants")
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line
    assert "not this one" not in line


def test_a_client_with_the_password_works(server: Server, tmp_path: Path) -> None:
    named = LOGIN | {"MLFLOW_TRACKING_URI": server.address}
    assert run_here("sweeps", "--json", cwd=tmp_path, **named).json == []
    place = server.address.partition("://")[2]
    within = f"http://admin:{PASSWORD.replace(' ', '%20')}@{place}"
    listed = run_here("ui", "--json", cwd=tmp_path, MLFLOW_TRACKING_URI=within)
    assert listed.json["address"] == server.address


@pytest.fixture(scope="module")
def user(server: Server) -> dict[str, Any]:
    """What a user who is no admin has in the environment."""
    from mlflow.server.auth.client import AuthServiceClient

    name, password = "ada", "a password of hers"
    with mock.patch.dict(os.environ, LOGIN):
        AuthServiceClient(server.address).create_user(name, password)
    login = {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
    return login | {"MLFLOW_TRACKING_URI": server.address}


def test_a_user_sees_all_runs_and_writes_them_once_allowed_to(
    server: Server, user: dict[str, Any], corpus: Corpus, data: Path
) -> None:
    from mlflow.server.auth.client import AuthServiceClient

    def sweep(name: str) -> SweepState:
        store = MlflowStore(Settings(server.address, None, "team", "test"))
        spec = tiny_spec(data=str(data), trials=2, **PLAIN)
        return sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, name=name).run()

    with mock.patch.dict(os.environ, LOGIN):
        sweep("admins")
    with mock.patch.dict(os.environ, user):
        store = MlflowStore(Settings(server.address, None, "team", "test"))
        assert [record.outcome for record in reader.trials(store, "admins")] == [
            "complete", "complete",
        ]  # fmt: skip
        with pytest.raises(StoreError, match=r"(?i)permission") as refused:
            sweep("users")
        assert len(str(refused.value).splitlines()) == 1
        assert len(reader.sweeps(store)) == 1
    with mock.patch.dict(os.environ, LOGIN):
        admin = AuthServiceClient(server.address)
        admin.grant_user_permission("ada", "experiment", "*", "EDIT")
    with mock.patch.dict(os.environ, user):
        assert sweep("users").counts == {"complete": 2}
        assert len(reader.sweeps(store)) == 2


# The MLflow server that `ui` starts: the pages that it serves


def test_it_shows_files_that_it_keeps_and_files_of_who_writes_to_the_database(
    workplace: Callable[[str], Path], corpus: Corpus, tmp_path: Path
) -> None:
    folder, spec = workplace("behind"), tiny_spec(trials=2, **PLAIN)
    direct = MlflowStore(replace(load(folder, {}), experiment="direct"))
    runs = [sweep_of(direct, corpus, ScriptedEngine(LOSSES), spec).run().run_id]
    with served(folder) as address:
        for experiment in ("through", "direct"):
            own = direct.settings.artifacts if experiment == "direct" else None
            store = MlflowStore(Settings(address, own, experiment, "test"))
            sweep = Sweep(
                spec, name="t", task=CorpusTask.of(spec, corpus), store=store,
                engine=ScriptedEngine(LOSSES), observer=Observer(),
            )  # fmt: skip
            runs.append(sweep.run().run_id)
            assert store.fetch(runs[-1], "sweep.yaml", tmp_path).exists()
        kept = [direct.client.get_run(run_id).info.artifact_uri for run_id in runs]
        for run_id in runs:
            page = f"{address}/get-artifact?path=sweep.yaml&run_uuid={run_id}"
            with urllib.request.urlopen(page, timeout=20) as answer:
                assert b"trials: 2" in answer.read()
        with urllib.request.urlopen(f"{address}/", timeout=20) as page:
            assert b"MLflow" in page.read()
        pages = run_here("ui", cwd=tmp_path, MLFLOW_TRACKING_URI=address).out
        assert f"all runs: {address}/" in pages
        refused = launch_elsewhere(tmp_path, "direct", address)
    assert [uri.partition(":")[0] for uri in kept] == ["file", "mlflow-artifacts", "file"]
    [line] = refused.err.splitlines()
    assert (refused.code, refused.out) == (2, "")
    assert f"its files are at 'file://{folder}/mlartifacts', a place that your settings" in line
    assert "use another `experiment`, or set `artifacts`" in line


def launch_elsewhere(folder: Path, experiment: str, address: str) -> Done:
    """Try to begin a sweep from a folder with settings of its own."""
    (folder / "mlflow.yaml").write_text(f"experiment: {experiment}\n", encoding="utf-8")
    write_text(folder / "words.txt")
    typed = ("launch", "--data", "words.txt", "--on", "inline", *TINY)
    return run_here(*typed, cwd=folder, MLFLOW_TRACKING_URI=address)
