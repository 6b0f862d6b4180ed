from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.cli import main
from lstm_sweep.search.store import artifacts, reader
from lstm_sweep.search.store import server as mlflow_server
from lstm_sweep.search.store.server import choose_bind_address


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


def test_one_address_is_the_only_name(monkeypatch: pytest.MonkeyPatch) -> None:
    place = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.168.7.7", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: [place])
    monkeypatch.setattr(socket.socket, "bind", lambda *args: None)
    bind = choose_bind_address("Box.Example", 5000)
    assert (bind.is_open, bind.address) == (True, "http://box.example:5000")
    assert bind.options == [
        *("--host", "192.168.7.7", "--port", "5000"),
        *("--allowed-hosts", "box.example:5000"),
        *("--cors-allowed-origins", "http://box.example:5000"),
    ]
    assert "box.example" in choose_bind_address("box.example", 80).options[5].split(",")


def test_addresses_of_six_groups_stand_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "bind", lambda *args: None)
    place = (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", 0, 0, 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: [place])
    monkeypatch.setattr(socket, "socket", _Socket)
    bind = choose_bind_address("0:0:0:0:0:0:0:1", 5000)
    assert bind.address == bind.local_address == "http://[::1]:5000"


class _Socket(socket.socket):
    """A socket on a machine that may lack these addresses."""

    def __init__(self, family: int, kind: int) -> None:
        super().__init__(socket.AF_INET, kind)

    def bind(self, address: object) -> None:
        """Bind nothing."""


@pytest.mark.parametrize(
    ("host", "asks", "said"),
    [
        ("0.0.0.0", False, ["reaches this machine", "read, change and delete", "auth: basic"]),
        ("0.0.0.0", True, ["reaches this machine", "try passwords", "sent unencrypted"]),
    ],
)
def test_a_warning_is_one_line(host: str, asks: bool, said: list[str]) -> None:
    line = mlflow_server._warning(choose_bind_address(host, None), asks)
    assert line.startswith(f"--host {host}: ") and "\n" not in line
    for part in said:
        assert part in line


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


def test_a_server_that_lost_its_port_is_known_when_whoever_took_it_is_gone() -> None:
    bind = choose_bind_address("127.0.0.1", None)
    lost = subprocess.Popen([sys.executable, "-c", ""])
    lost.wait()
    with pytest.raises(mlflow_server.PortTakenError):
        mlflow_server.wait_for(lost, bind, "mark")


def test_a_server_that_fails_at_its_start_says_so() -> None:
    bind = choose_bind_address("127.0.0.1", None)
    failed = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    failed.wait()
    with pytest.raises(InputError, match="ended with code 3; see `mlflow server`"):
        mlflow_server.wait_for(failed, bind, "mark")


def test_a_server_that_ends_later_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    start = subprocess.Popen
    short = [sys.executable, "-c", "import time; time.sleep(0.3); raise SystemExit(7)"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mlflow_server, "Store", lambda settings: SimpleNamespace(settings=settings))
    monkeypatch.setattr(subprocess, "Popen", lambda command, **more: start(short, **more))
    monkeypatch.setattr(mlflow_server, "wait_for", lambda server, bind, mark: None)
    pages = mlflow_server.Pages("http://box", "http://box/#/runs", "text", "http://box/#/newest")
    monkeypatch.setattr(mlflow_server, "pages_of", lambda store, address: pages)
    assert main(["ui"]) == 1
    said = capsys.readouterr()
    *_, line = said.err.splitlines()
    assert line == "lstm-sweep: the MLflow server has ended, with code 7; start it again"
    assert said.out.splitlines() == [
        "all runs: http://box/#/runs",
        "newest sweep, text: http://box/#/newest",
        "Ctrl-C ends it",
    ]


def test_of_a_tracking_server_only_the_address_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    store = SimpleNamespace(page=lambda: "/#/runs")
    monkeypatch.setattr(mlflow_server, "Store", lambda settings: store)
    monkeypatch.setattr(reader, "sweeps", lambda store: [])
    assert main(["ui"]) == 0
    assert capsys.readouterr().out == "all runs: http://127.0.0.1:1/#/runs\n"


def test_the_server_has_no_password_that_a_run_could_lead_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, str] = {}

    def start(command: object, *, env: dict[str, str], **more: object) -> None:
        given.update(env)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    secrets = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH")
    for name in (*secrets, "PGPASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of the user")
    monkeypatch.setattr(mlflow_server, "Store", lambda settings: SimpleNamespace(settings=settings))
    monkeypatch.setattr(artifacts, "check_place", lambda location: None)
    monkeypatch.setattr(subprocess, "Popen", start)
    assert main(["ui"]) == 0
    assert not set(secrets) & set(given)
    assert given["PGPASSWORD"] == given["AWS_SECRET_ACCESS_KEY"] == "of the user"
