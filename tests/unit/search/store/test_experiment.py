from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.cli import main
from lstm_sweep.search.process.scoped import is_running, start_ticks
from lstm_sweep.search.store import server as mlflow_server
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
from lstm_sweep.search.store.server import MlflowServer, choose_bind_address
from lstm_sweep.search.store.settings import Settings, load
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

    def get_experiment_by_name(self, name: str) -> Any:
        return self.found

    def create_experiment(self, name: str, artifact_location: str | None, tags: Any) -> None:
        self.made.append(artifact_location)
        self.found = _experiment(artifact_location or "mlflow-artifacts:/1")

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        assert self.found
        self.found.tags[key] = value

    def get_run(self, run_id: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(artifact_uri=self.named))


def _experiment(location: str) -> Any:
    return SimpleNamespace(
        experiment_id="1", artifact_location=location, lifecycle_stage="active", tags={}
    )


def experiment_of(client: Client, uri: str, artifacts: str | None = None) -> Experiment:
    return Experiment(client, Settings(uri, artifacts, "mine", "test"))


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


TUNNELS = ["localhost:8080", "127.0.0.1:5000", "localhost", "[::1]:5000"]
OWN = [f"{name}:PORT" for name in ("192.168.7.7", "box", "box.example", "0.0.0.0", "localhost")]
FURTHER = [name + port for name in ("mlflow", "10.0.0.7", "[fd00::7]") for port in ("", ":8443")]
STRANGERS = [
    "evil.example", "evil", "evil.localhost:5000", "mlflow.evil:5000", "evil.mlflow:5000",
    "10.0.0.1", "10.0.0.8:5000", "192.168.7.8:PORT", "[fd00::8]", "box:1", "*",
]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "further", "shown", "answered"),
    [
        ("127.0.0.1", (), "127.0.0.1", TUNNELS),
        ("localhost", (), "localhost", TUNNELS),
        ("0.0.0.0", (), "192.168.7.7", [*TUNNELS, *OWN]),
        ("127.0.0.1", ("mlflow", "10.0.0.7", "fd00::7"), "127.0.0.1", [*TUNNELS, *FURTHER]),
        ("0.0.0.0", ("mlflow", "10.0.0.7", "fd00::7"), "192.168.7.7", [*TUNNELS, *OWN, *FURTHER]),
    ],
)
def test_a_server_answers_to_its_own_names_to_tunnels_and_to_further_names_alone(
    host: str,
    further: tuple[str, ...],
    shown: str,
    answered: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    monkeypatch.setattr(mlflow_server, "_own_address", lambda version: "192.168.7.7")
    monkeypatch.setattr(socket, "gethostname", lambda: "Box")
    monkeypatch.setattr(socket, "getfqdn", lambda: "box.example")
    bind = choose_bind_address(host, None, further=further)
    assert bind.is_open == (host == "0.0.0.0")
    assert bind.address == f"http://{shown}:{bind.port}"
    assert bind.local_address == f"http://127.0.0.1:{bind.port}"
    hosts, origins = (bind.options[place].split(",") for place in (5, 7))
    for name in (name.replace("PORT", str(bind.port)) for name in answered):
        assert is_allowed_host_header(hosts, name)
        if name in FURTHER:
            assert is_allowed_host_header(origins, f"http://{name}")
            assert is_allowed_host_header(origins, f"https://{name}")
    for name in (name.replace("PORT", str(bind.port)) for name in STRANGERS):
        assert not is_allowed_host_header(hosts, name)
        assert not is_allowed_host_header(origins, f"http://{name}")
    assert (f"http://box:{bind.port}" in origins) == bind.is_open


@pytest.mark.parametrize(
    "host",
    ["", "nowhere.invalid", "192.0.2.1", "*", "http://x", "127.0.0.1,evil", "127.0.0.1:80", "a b",
     "[::1]", "-x", "x" * 300, "évil", "a\nb"],
)  # fmt: skip
def test_a_wrong_host_is_one_clear_line(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["ui", f"--host={host}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("lstm-sweep: --host ") and "expected an address or name" in line
    assert list(tmp_path.iterdir()) == []


def test_a_server_ends_with_its_own_processes_and_is_not_started_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "import subprocess; subprocess.run(['sh', '-c', 'echo $$ > child; exec sleep 600'])"
    monkeypatch.setattr(MlflowServer, "_command", [sys.executable, "-c", text])
    note, child = tmp_path / "note", tmp_path / "child"
    server = MlflowServer(load(tmp_path, {}), choose_bind_address("127.0.0.1", None), note)
    server.start()
    while not child.exists() or not child.read_text():
        time.sleep(0.02)
    pid = int(child.read_text())
    began = start_ticks(pid)
    server.close()
    while is_running(pid, began):
        time.sleep(0.02)
    server.start()
    assert not note.exists()


@pytest.mark.parametrize(
    ("program", "note", "is_ended"),
    [
        ("sleep 600", "{pid} {started}", True),
        ("trap '' TERM; while :; do sleep 0.1; done", "{pid} {started}", True),
        *(("sleep 600", note, False) for note in ("{pid} 1", "{pid}", "", "no number")),
    ],
)
def test_one_whose_service_was_killed_is_ended_and_no_other_process(
    program: str, note: str, is_ended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_server, "END_WITHIN_S", 0.5)
    process = subprocess.Popen(["sh", "-c", program], start_new_session=True)
    started = start_ticks(process.pid)
    (tmp_path / "note").write_text(note.format(pid=process.pid, started=started))
    mlflow_server._end_orphan(tmp_path / "note")
    if not is_ended:
        assert process.poll() is None
        process.kill()
    assert process.wait(10) in (-signal.SIGTERM, -signal.SIGKILL)


def test_the_server_has_no_password_that_a_run_could_lead_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH")
    for name in (*secrets, "PGPASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of the user")
    server = MlflowServer(load(tmp_path, {}), choose_bind_address("127.0.0.1", None))
    given = server._environment
    assert not set(secrets) & set(given)
    assert given["PGPASSWORD"] == given["AWS_SECRET_ACCESS_KEY"] == "of the user"
    assert not any("mlflow.db" in word for word in server._command)  # others can list these
