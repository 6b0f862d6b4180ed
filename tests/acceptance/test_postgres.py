"""A team's store: PostgreSQL behind the server of `ui`, as docker/mlflow.yaml sets it up."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lstm_sweep.models.data.corpus import Corpus
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import StoreError
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tracking import MlflowStore
from tests import postgres
from tests.cases import Place, RunningCase, Swept, SweptCase, sweep_first
from tests.conftest import TINY, run_here, write_text
from tests.fakes import ScriptedEngine
from tests.postgres import Cluster, named, write_settings
from tests.servers import served
from tests.sweeps import LOSSES, PLAIN, sweep_of, tiny_spec

pytestmark = pytest.mark.full

ROOT = Path(__file__).parents[2]
README = (ROOT / "docker" / "README.md").read_text(encoding="utf-8")
#: the database that docker/README.md backs up
DATABASE = "lstm_sweep"
PASSWORD = "a password of the tests"
LOGIN: dict[str, Any] = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}


@dataclass(frozen=True)
class Team:
    """The server, and the folder whose `mlflow.yaml` it was started with."""

    address: str
    folder: Path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with postgres.running() as made:
        yield made


@pytest.fixture(scope="module")
def secrets(cluster: Cluster) -> dict[str, str]:
    """What the server has in its environment alone."""
    return {**cluster.login, "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def team(
    cluster: Cluster, secrets: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    cluster.client("createdb", DATABASE)
    write_settings(folder, cluster.address(DATABASE), str(folder / "artifacts"))
    with served(folder, "--host", "0.0.0.0", **secrets, **named(folder)) as address:
        yield Team(address, folder)


@pytest.fixture(scope="module")
def place(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Where the sweeps run: they know the server's address and a password."""
    folder = tmp_path_factory.mktemp("driver")
    write_text(folder / "words.txt")
    return Place(folder, {"MLFLOW_TRACKING_URI": team.address, **LOGIN})


@pytest.fixture(scope="module")
def swept(place: Place) -> Swept:
    return sweep_first(place)


class TestSwept(SweptCase):
    """On PostgreSQL, through the server."""


class TestRunning(RunningCase):
    """On PostgreSQL, through the server, with epochs that are not shorter than a request."""

    @pytest.fixture
    def place(self, place: Place, tmp_path: Path) -> Place:
        write_text(tmp_path / "words.txt", 200_000)
        return Place(tmp_path, place.environment)


def test_the_server_keeps_the_files_and_the_sweep_none(swept: Swept, team: Team) -> None:
    kept = {path.name for path in (team.folder / "artifacts").rglob("*") if path.is_file()}
    assert {"sweep.yaml", "evidence.json", "model.keras"} <= kept
    assert {path.name for path in swept.place.folder.iterdir()} == {"words.txt"}


def test_a_network_is_exported_through_the_server(swept: Swept, tmp_path: Path) -> None:
    done = swept.place.run("export", "first", "--to", tmp_path / "best", "--json")
    assert (done.code, done.json["parity"]["windows"]) == (0, 100), done.err


def test_no_process_shows_a_password_and_no_file_has_one(team: Team) -> None:
    found = [(file, file.read_bytes()) for file in team.folder.rglob("*") if file.is_file()]
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append((file, file.read_bytes()))
        except OSError:  # it has ended
            continue
    for file, content in found:
        for secret in (PASSWORD, postgres.PASSWORD):
            assert secret.encode() not in content, file


@pytest.mark.parametrize("login", [{}, LOGIN | {"MLFLOW_TRACKING_PASSWORD": "not this one"}])
def test_a_client_without_a_password_gets_one_clear_line(
    team: Team, login: dict[str, Any], tmp_path: Path
) -> None:
    line = run_here("sweeps", cwd=tmp_path, MLFLOW_TRACKING_URI=team.address, **login).refusal
    assert line.startswith(f"lstm-sweep: store {team.address} (by MLFLOW_TRACKING_URI): it wants")
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line
    assert "not this one" not in line


def test_a_password_in_an_address_lets_in_and_is_not_shown(team: Team, tmp_path: Path) -> None:
    within = team.address.replace("://", f"://admin:{PASSWORD.replace(' ', '%20')}@")
    listed = run_here("ui", "--json", cwd=tmp_path, MLFLOW_TRACKING_URI=within)
    assert listed.json["address"] == team.address


@pytest.fixture(scope="module")
def user(team: Team) -> dict[str, Any]:
    """What a user who is no admin has in the environment."""
    from mlflow.server.auth.client import AuthServiceClient

    name, password = "ada", "a password of hers"
    with mock.patch.dict(os.environ, LOGIN):
        AuthServiceClient(team.address).create_user(name, password)
    login = {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
    return login | {"MLFLOW_TRACKING_URI": team.address}


def test_a_user_sees_all_runs_and_writes_them_once_allowed_to(
    team: Team, user: dict[str, Any], corpus: Corpus, data: Path
) -> None:
    from mlflow.server.auth.client import AuthServiceClient

    def sweep(name: str) -> SweepState:
        store = MlflowStore(Settings(team.address, None, "team", "test"))
        spec = tiny_spec(data=str(data), trials=2, **PLAIN)
        return sweep_of(store, corpus, ScriptedEngine(LOSSES), spec, name=name).run()

    with mock.patch.dict(os.environ, LOGIN):
        sweep("admins")
    with mock.patch.dict(os.environ, user):
        store = MlflowStore(Settings(team.address, None, "team", "test"))
        assert [record.outcome for record in reader.trials(store, "admins")] == [
            "complete", "complete",
        ]  # fmt: skip
        with pytest.raises(StoreError, match=r"(?i)permission") as refused:
            sweep("users")
        assert len(str(refused.value).splitlines()) == 1
        assert len(reader.sweeps(store)) == 1
    with mock.patch.dict(os.environ, LOGIN):
        admin = AuthServiceClient(team.address)
        admin.grant_user_permission("ada", "experiment", "*", "EDIT")
    with mock.patch.dict(os.environ, user):
        assert sweep("users").counts == {"complete": 2}
        assert len(reader.sweeps(store)) == 2


def as_told(program: str, cluster: Cluster, files: Path, backup: Path) -> None:
    """Run what docker/README.md has a service run, with its options, on another cluster."""
    line = (
        rf"^docker compose .*(?:exec -T db|--entrypoint) {program}(?: mlflow)? (.*) ([<>]) (\S+)$"
    )
    [(options, sign, name)] = re.findall(line, README, re.MULTILINE)
    words = [word.replace("/var/lib/lstm-sweep", str(files)) for word in shlex.split(options)]
    with (backup / name).open("wb" if sign == ">" else "rb") as file:
        stream: dict[str, Any] = {"stdout" if sign == ">" else "stdin": file}
        subprocess.run([program, *words], env=cluster.environment, check=True, **stream)


def upgrade(address: str) -> None:
    """Bring the tables of a database to this version of MLflow, as told there."""
    from click.testing import CliRunner
    from mlflow.cli import cli

    [told] = re.findall(
        r"--entrypoint with-secrets mlflow mlflow (.*) postgresql\+psycopg2://", README
    )
    done = CliRunner().invoke(cli, [*told.split(), address.replace(":", "+psycopg2:", 1)])
    assert done.exit_code == 0, done.output


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_backup_gives_the_same_runs_and_models(
    swept: Swept,
    team: Team,
    cluster: Cluster,
    secrets: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {**LOGIN, **secrets}.items():
        monkeypatch.setenv(name, value)
    new, kept = tmp_path / "new", team.folder / "artifacts"
    (new / "artifacts").mkdir(parents=True)
    (new / "artifacts" / ".stranger").touch()
    for program in ("pg_dump", "tar"):
        as_told(program, cluster, team.folder, tmp_path)
    with postgres.running() as another:
        another.client("createdb", DATABASE)
        another.client("psql", "--quiet", "--command=CREATE TABLE strangers ()", DATABASE)
        for program in ("pg_restore", "sh"):
            as_told(program, another, new, tmp_path)
        assert "strangers" not in another.client("psql", r"--command=\dt", DATABASE)
        assert contents(new / "artifacts") == contents(kept)
        upgrade(another.address(DATABASE))
        write_settings(new, another.address(DATABASE), str(new / "artifacts"))
        away = kept.rename(tmp_path / "away")  # so that nothing is read there
        try:
            with served(new, **secrets, **named(new)) as address:
                again = Place(swept.place.folder, {**LOGIN, "MLFLOW_TRACKING_URI": address})
                listed = again.trials("first")
                store = MlflowStore(Settings(address, None, "lstm-sweep", "test"))
                run_id = swept.done.json["best"]["run_id"]
                network = store.fetch(run_id, "model/model.keras", tmp_path).read_bytes()
        finally:
            away.rename(kept)
    assert listed == swept.place.trials("first")
    [before] = kept.rglob(f"{run_id}/artifacts/model/model.keras")
    assert network == before.read_bytes()


@pytest.fixture(scope="module")
def direct(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A driver that writes to the database by itself."""
    folder = tmp_path_factory.mktemp("direct")
    cluster.client("createdb", "direct")
    (folder / "mlflow.yaml").write_text(
        f"tracking_uri: {cluster.address('direct')}\nartifacts: kept\n", encoding="utf-8"
    )
    write_text(folder / "words.txt")
    return Place(folder, cluster.login | named(folder))


def test_a_sweep_needs_no_server_and_goes_on(direct: Place) -> None:
    launch = ("launch", "--data", "words.txt", "--name", "d", "--json", *TINY, "--trials", "2")
    done = direct.run(*launch)
    assert done.code == 0, done.err
    before = direct.trials("d")
    assert len(before) == 2
    resumed = direct.run("resume", "d", "--trials", "3", "--json")
    assert resumed.code == 0, resumed.err
    after = direct.trials("d")
    assert {row["outcome"] for row in after} == {"complete"}
    assert len(after) == 3
    assert all(row in after for row in before)
    assert len(list((direct.folder / "kept").rglob("artifacts/model/model.keras"))) == 3


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"PGPASSWORD": "wrong"}, "password authentication failed"),
        ({"MLFLOW_TRACKING_URI": "postgresql://127.0.0.1:9/runs"}, "onnection refused"),
    ],
)
def test_a_database_that_lets_nobody_in_is_one_clear_line(
    direct: Place, changed: dict[str, Any], said: str
) -> None:
    line = Place(direct.folder, direct.environment | changed, apart=True).run("sweeps").refusal
    assert line.startswith("lstm-sweep: store postgresql://") and said in line


def test_a_database_that_is_restarted_is_waited_for(
    cluster: Cluster, direct: Place, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.login.items():
        monkeypatch.setenv(name, value)
    store = MlflowStore(replace(load(direct.folder, {}), experiment="restarted"))
    back: list[threading.Thread] = []

    def go_down(message: RoundDone) -> None:
        if not back:
            cluster.stop()
            back.append(threading.Timer(1, cluster.start))
            back[0].start()

    try:
        engine = ScriptedEngine(LOSSES, watch=go_down)
        sweep_of(store, corpus, engine, tiny_spec(trials=4, **PLAIN)).run()
    finally:
        back[0].join()
    records = reader.trials(store, "s")
    assert {record.status for record in records} == {"FINISHED"}
    for record in records:
        first, second = LOSSES[record.number]
        assert store.history(record.run_id, "val_loss") == {1: first, 2: second}
