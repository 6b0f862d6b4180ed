"""What options of `serve` come to, and how it ends; acceptance tests start the service itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.cli import serve
from lstm_sweep.search.cli.parsers import build_parser
from lstm_sweep.search.process import signals
from lstm_sweep.search.service import supervisor
from lstm_sweep.search.service.settings import HttpSettings, Limits, Role, service_folder
from lstm_sweep.search.store import server
from lstm_sweep.search.store.settings import load
from tests.conftest import run_here

#: a service that does not end by itself: its main thread goes on for ever
HANGING = """
import time
from lstm_sweep.search.cli import serve

serve.AFTER_ALL_S = 0.2
end = serve._End()
with end.on_signals():
    end.calls(lambda: print("drained", flush=True))
    print("ready", flush=True)
    while True:
        time.sleep(0.1)
"""


@pytest.fixture
def settings_of(
    workplace: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., HttpSettings]:
    folder = workplace("serve")
    monkeypatch.chdir(folder)

    def read(*options: str) -> HttpSettings:
        arguments = build_parser().parse_args(["serve", *options])
        store = load(folder, {})
        bind = server.choose_bind_address(
            arguments.host, arguments.port, serve.FIRST_PORT, store.allowed_hosts
        )
        return serve.http_settings(arguments, service_folder(store, folder), bind, None)

    return read


@pytest.mark.parametrize(
    "options, asks",
    [
        ([], False), (["--host", "::1"], False), (["--login"], True),
        (["--host", "0.0.0.0"], True), (["--host", "::"], True),
        # through which requests may come from elsewhere
        (["--mlflow-page", "/mlflow"], True), (["--proxy", "10.0.0.2"], True),
        (["--mlflow-page", "http://localhost:5000"], False),
    ],
)  # fmt: skip
def test_tokens_are_asked_for_off_loopback_behind_a_proxy_or_if_told_to(
    settings_of: Callable[..., HttpSettings], options: list[str], asks: bool
) -> None:
    assert settings_of(*options).asks_login is asks
    Path("mlflow.yaml").write_text("allowed_hosts: [sweeps.example.org]\n", encoding="utf-8")
    assert settings_of(*options).asks_login


def test_a_proxy_names_users(settings_of: Callable[..., HttpSettings]) -> None:
    found = settings_of("--proxy", "10.0.0.2", "--proxy", "10.1.0.0/29", "--user-header", "X-User")
    assert [str(one) for one in found.proxies] == ["10.0.0.2/32", "10.1.0.0/29"]
    assert (found.user_header, found.user_role, found.asks_login) == ("x-user", Role.READ, True)
    assert settings_of("--proxy", "::1", "--user-role", "run").user_role is Role.RUN
    with pytest.raises(InputError, match="--user-header needs --proxy"):
        settings_of("--user-header", "X-User")


def test_limits_are_those_of_the_options(settings_of: Callable[..., HttpSettings]) -> None:
    given = settings_of("--max-corpus", "5M", "--max-uploads", "1G", "--keep-free", "0").limits
    assert given == Limits(corpus_bytes=5 << 20, uploads_bytes=1 << 30, free_bytes=0)
    assert settings_of().limits == Limits()


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--max-corpus", "much"], "--max-corpus is 'much': expected a number and K, M,"),
        (["--slots", "0"], "--slots is 0: expected a whole number from 1"),
        (["--data-root", "/nowhere"], "--data-root '/nowhere': expected a folder"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, options: list[str], sentence: str) -> None:
    done = run_here("serve", *options, "--no-mlflow", cwd=tmp_path)
    assert (done.code, sentence in done.err, "Traceback" in done.err) == (2, True, False)
    assert not os.environ.get("MLFLOW_TRACKING_URI")


def test_files_of_the_store_that_others_may_read_are_named() -> None:
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        folder.chmod(0o755)
        file = folder / "mlflow.db"
        settings = load(folder, {"MLFLOW_TRACKING_URI": f"sqlite:///{file}"})
        for mode, said in ((None, False), (0o600, False), (0o640, True), (0o604, True)):
            if mode:
                file.touch()
                file.chmod(mode)
            assert ("chmod -R go= " in serve._open_to_others(settings)) is said
        folder.chmod(0o700)  # nobody else comes that far
        assert serve._open_to_others(settings) == ""


@pytest.mark.parametrize(("options", "others"), [(["--login"], 0), ([], 0o044)])
def test_the_store_of_a_service_with_logins_is_private(
    tmp_path: Path, options: list[str], others: int
) -> None:
    before = os.umask(0o022)
    try:
        command = ["serve", *options, "--no-mlflow", "--data-root", "/nowhere"]
        assert run_here(*command, cwd=tmp_path).code == 2  # once it has made its store
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert (tmp_path / "mlflow.db").stat().st_mode & 0o077 == others


def test_the_first_signal_begins_the_end_and_what_is_added_later_is_called_at_once() -> None:
    called = list[str]()
    end, before = serve._End(), signal.getsignal(signal.SIGTERM)
    with end.on_signals():
        end.calls(lambda: called.append("drain"))
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        until = time.monotonic() + 60
        while not called:
            assert time.monotonic() < until
        end.calls(lambda: called.append("MLflow"))
    assert called == ["drain", "MLflow"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("given, stop_s", [("", 20), ("12", 20), ("60", 60), ("600", 600)])
def test_trials_drivers_and_service_end_one_after_the_other_in_the_time_that_they_have(
    given: str, stop_s: float
) -> None:
    assert signals.service_stop_s({signals.STOP_WITHIN: given}) == stop_s
    told_s, killed_s = stop_s - supervisor.TOLD_AHEAD_S, stop_s - supervisor.KILLED_AHEAD_S
    driver_s = signals.END_WITHIN_S * told_s / signals.STOP_WITHIN_S
    assert told_s >= signals.STOP_WITHIN_S
    assert driver_s < killed_s
    assert killed_s + serve.AFTER_ALL_S < stop_s - serve.AHEAD_S < stop_s


def test_it_ends_without_a_signal_too() -> None:
    called = list[str]()
    with (end := serve._End()).on_signals():
        end.calls(lambda: called.append("drain"))
    assert called == ["drain"]


def test_a_program_that_hangs_ends_once_all_is_done() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "drained\n"
        assert process.wait(60) == 0
