from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.cli import main
from lstm_sweep.search.process.identity import is_running, start_ticks
from lstm_sweep.search.store import server as mlflow_server
from lstm_sweep.search.store.server import MlflowServer, choose_bind_address
from lstm_sweep.search.store.settings import load


def allowed(host: str, port: int = 5000) -> list[str]:
    """What a server there is told to answer to."""
    options = mlflow_server.BindAddress(
        host, choose_bind_address(host, None).ip, port, _names(host)
    ).options
    return options[options.index("--allowed-hosts") + 1].split(",")


def _names(host: str) -> tuple[str, ...]:
    return choose_bind_address(host, None).names


def answers(host: str, header: str) -> bool:
    """Whether MLflow's rule lets a Host header in."""
    return matches(header, allowed(host))


def matches(header: str, known: list[str]) -> bool:
    """MLflow's rule for a header and the names that are allowed."""
    from mlflow.server.security_utils import is_allowed_host_header

    return bool(is_allowed_host_header(known, header))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_on_this_machine_alone_every_tunnel_works_and_no_other_name(host: str) -> None:
    bind = choose_bind_address(host, None)
    assert not bind.is_open
    assert bind.address == f"http://{host}:{bind.port}"
    for header in ("localhost:8080", "127.0.0.1:5000", "localhost", "[::1]:5000"):
        assert answers(host, header)
    for header in ("evil.example", "10.0.0.1:5000", "192.168.1.1", "evil.localhost:5000"):
        assert not answers(host, header)


def test_on_all_addresses_it_answers_to_this_machines_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mlflow_server, "_own_address", lambda version: "192.168.7.7")
    monkeypatch.setattr(socket, "gethostname", lambda: "Box")
    monkeypatch.setattr(socket, "getfqdn", lambda: "box.example")
    bind = choose_bind_address("0.0.0.0", None)
    assert bind.is_open
    assert bind.address == f"http://192.168.7.7:{bind.port}"
    assert bind.local_address == f"http://127.0.0.1:{bind.port}"
    for name in ("192.168.7.7", "box", "box.example", "0.0.0.0", "localhost"):
        assert answers("0.0.0.0", f"{name}:5000")
    for header in ("evil.example:5000", "192.168.7.8:5000", "10.0.0.1", "box:5001", "*"):
        assert not answers("0.0.0.0", header)
    origins = bind.options[-1].split(",")
    assert f"http://box:{bind.port}" in origins
    assert not any("*" in origin for origin in origins)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_further_names_are_answered_at_any_port_and_no_others(host: str) -> None:
    bind = choose_bind_address(host, None, further=("mlflow", "10.0.0.7", "fd00::7"))
    hosts, origins = (bind.options[place].split(",") for place in (5, 7))
    for name in ("mlflow", "10.0.0.7", "[fd00::7]"):
        for port in ("", ":5000", ":8443"):
            assert matches(f"{name}{port}", hosts)
            assert matches(f"http://{name}{port}", origins)
            assert matches(f"https://{name}{port}", origins)
    assert matches("127.0.0.1:5000", hosts)
    for stranger in ("evil", "mlflow.evil:5000", "10.0.0.8:5000", "evil.mlflow:5000", "[fd00::8]"):
        assert not matches(stranger, hosts)
        assert not matches(f"http://{stranger}", origins)


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


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="it is taken"):
            choose_bind_address("127.0.0.1", taken.getsockname()[1])


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Has a script run in place of MLflow's server, in a folder with a store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def put(text: str) -> None:
        command = [sys.executable, "-c", text]
        monkeypatch.setattr(MlflowServer, "_command", command)

    return put


def test_a_server_ends_with_its_own_processes_and_is_not_started_after_that(
    script: Callable[[str], None], tmp_path: Path
) -> None:
    script("import subprocess; subprocess.run(['sh', '-c', 'echo $$ > child; exec sleep 600'])")
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
