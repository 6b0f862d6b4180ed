"""A sweep that is sent to the head of a real Ray cluster from a machine outside of it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lstm_sweep as ls
from lstm_sweep.search.api.job_command import EXPORTS, exported
from lstm_sweep.search.engines.ray_jobs import NoAnswerError, RayJobs
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tracking import Store
from tests.conftest import TINY, Done, run_here, write_text
from tests.ray_head import Head, started
from tests.servers import Server

pytestmark = pytest.mark.full

TOKEN = "0123456789abcdef" * 2
#: a password of which Ray would make another one, if it were given it
PASSWORD = "a$HOME${PATH}%"


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started(TOKEN) as head:
        yield head


@pytest.fixture(scope="module")
def folder(workplace: Callable[[str], Path]) -> Path:
    folder = workplace("laptop")
    write_text(folder / "words.txt")
    return folder


@pytest.fixture(scope="module")
def login(folder: Path, head: Head) -> Iterator[dict[str, str]]:
    """What the laptop has in its environment: the address of the store, and the token."""
    server = Server(folder)
    yield {"MLFLOW_TRACKING_URI": server.start(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    server.stop()


def ended(jobs: RayJobs, name: str, command: str, **environment: str) -> tuple[int | None, str]:
    """Exit code and log of a command that was run as a job."""
    while True:
        with contextlib.suppress(NoAnswerError):  # of a head that has just been started
            jobs.submit(name, command, environment=environment)
            break
    while not (state := jobs.state(name)).has_ended:
        time.sleep(0.5)
    return state.exit_code, jobs.log(name)


def launch(head: Head, folder: Path, login: dict[str, str], *words: str) -> Done:
    options = ["--on", "ray", "--address", head.address, "--json"]
    launched = ["launch", "--data", "words.txt", *TINY, *words, *options]
    return run_here(*launched, cwd=folder, **login)


def test_a_sweep_runs_there_and_its_result_comes_back(
    head: Head, folder: Path, login: dict[str, str]
) -> None:
    done = launch(head, folder, login, "--trials", "2", "--name", "there")
    assert done.code == 0, done.err
    assert (done.json["sweep"], done.json["trials"]) == ("there", {"complete": 2})
    assert "[2/2] there/" in done.err
    store = Store(load(folder, login))
    run = archive.existing_sweep(store, "there")
    data = Path(run.data.params["data"])
    assert (data.name, data.parents[2]) == (
        "words.txt", head.home / ".cache" / "lstm-sweep" / "uploads"
    )  # fmt: skip
    again = launch(head, folder, login, "--trials", "2", "--name", "there")
    assert (again.code, again.out) == (2, "")
    assert "sweep 'there' exists in" in again.err


def test_python_sends_a_sweep_there_and_goes_on_with_it(
    head: Head, folder: Path, login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    space: dict[str, Any] = {
        "layer_size": [8, 10, 12],
        "sequence_length": 10,
        "batch_size": 32,
        "epochs": 1,
    }
    sweep = ls.launch(
        data=folder / "words.txt", space=space, trials=1, size_rule="off", targets=300,
        ladder=False, halving=False, confirm_configs=0, name="python", on="ray",
        address=head.address,
    )  # fmt: skip
    assert sweep.trials()["outcome"].tolist() == ["complete"]
    sweep.resume(trials=2, on="ray", address=head.address)
    assert sweep.trials()["outcome"].tolist() == ["complete"] * 2
    with pytest.raises(ls.InputError, match="sweep 'python' exists in"):
        ls.launch(data=folder / "words.txt", name="python", on="ray", address=head.address)


def test_ctrl_c_closes_its_runs_and_resume_goes_on(
    head: Head, folder: Path, login: dict[str, str]
) -> None:
    store = Store(load(folder, login))

    def interrupt() -> None:
        while not (
            archive.find_sweep(store, "cut")
            and any(record.epochs for record in archive.trials(store, "cut"))
        ):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    words = ["--epochs", "100000", "--trials", "2", "--name", "cut"]
    done = launch(head, folder, login, *words)
    assert done.code == 130, done.err
    assert (done.json["sweep"], done.json["state"]) == ("cut", "interrupted")
    assert archive.existing_sweep(store, "cut").info.status == "KILLED"
    assert {record.status for record in archive.trials(store, "cut")} == {"KILLED"}
    assert head.processes() == []
    options = ["--minutes", "0.02", "--on", "ray", "--address", head.address, "--json"]
    resumed = run_here("resume", "cut", *options, cwd=folder, **login)
    assert "resumed: 0 trials have ended, 2 are tried again" in resumed.err
    assert resumed.json["state"] == "finished"


@pytest.mark.parametrize(
    ("token", "said"), [("", "wants a token"), ("x" * 32, "refuses the token (HTTP 403)")]
)
def test_a_token_that_is_missing_or_wrong_is_said_in_a_line(
    head: Head, folder: Path, login: dict[str, str], token: str, said: str
) -> None:
    own = login | {"RAY_AUTH_MODE": "token" if token else "disabled", "RAY_AUTH_TOKEN": token}
    done = launch(head, folder, own)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"lstm-sweep: {head.address} {said}")
    assert done.err.count("\n") == 1


def test_a_job_ends_with_its_own_exit_code_and_has_its_variables(head: Head) -> None:
    jobs = RayJobs(head.address, TOKEN)
    given = {EXPORTS: exported({"PASSWORD": PASSWORD})}
    command = f'eval "$(echo "${EXPORTS}" | base64 -d)"; printf "%s\\n" "$PASSWORD"; exit 3'
    code, log = ended(jobs, "j", command, **given)
    assert code == 3
    assert PASSWORD in log.splitlines()


def test_what_is_no_job_api_is_said_in_a_line(folder: Path, login: dict[str, str]) -> None:
    store = login["MLFLOW_TRACKING_URI"]
    given = ("--data", "python-docs", "--on", "ray", "--address", store)
    done = run_here("launch", *given, cwd=folder, **login)
    assert done.code == 2
    assert done.err.startswith(f"lstm-sweep: {store} is no Ray head: ")
    assert done.err.count("\n") == 1


def test_a_head_without_tokens_needs_none() -> None:
    with started() as head:
        assert ended(RayJobs(head.address), "j", "exit 4")[0] == 4
