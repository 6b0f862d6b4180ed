"""What all tests share."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import pwd
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import hypothesis
import numpy as np
import pytest
import sqlalchemy

from lstm_sweep.models.data import source
from lstm_sweep.search.process import secrets
from tests.launcher import PROGRAM, Launcher, Started

pytest.register_assert_rewrite("tests.cases", "tests.acceptance", "tests.contract", "tests.unit")

# Each look for garbage passes a million objects of libraries, which stay: a tenth of all time
gc.set_threshold(50_000)

# Ray reads it when it is imported: a call that comes too early begins no cluster by itself
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

# Property tests try the same cases each time, and others where they look for new faults:
# --hypothesis-profile=random
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.register_profile("random", deadline=None, print_blob=True)
hypothesis.settings.load_profile("fixed")

if TYPE_CHECKING:
    from lstm_sweep.models.data.corpus import Corpus
    from tests.ray_cluster import RayCluster

#: a space whose trials take a second each
TINY = [
    *("--set", "layer_size=8,12", "--set", "layers=2", "--set", "sequence_length=10"),
    *("--set", "batch_size=32", "--set", "learning_rate=0.01", "--set", "dropout=0..0.3"),
    *("--set", "stride=10", "--epochs", "2", "--size-rule", "warn", "--targets", "500"),
    *("--halving", "off", "--early-stopping", "0"),
]


def in_full(*cases: Any) -> list[Any]:
    """Cases of a parametrized test that `make test` leaves to `make test-all`."""
    tuples = (case if isinstance(case, tuple) else (case,) for case in cases)
    return [pytest.param(*case, marks=pytest.mark.full) for case in tuples]


@dataclass(frozen=True)
class Done:
    """A command that has run."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as one JSON document."""
        return json.loads(self.out)

    @property
    def refusal(self) -> str:
        """The one line with which it was refused as bad input."""
        assert (self.code, self.out) == (2, ""), self
        [line] = self.err.splitlines()
        return line


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def data_of_any_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one test lets data be opened is no limit of the next."""
    monkeypatch.setenv(source.VARIABLE, "")
    monkeypatch.delenv(source.VARIABLE)


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test has hidden must be readable in the next."""
    monkeypatch.setattr(secrets, "_hidden", set[str]())


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home: no variable names one, nor does the system."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture(scope="session", autouse=True)
def no_gpu() -> Iterator[None]:
    """Sweeps of tests have no GPU; what is about GPUs stands one in."""
    # tests run beside each other, and do not wait for each other's slots
    with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES="", LSTM_SWEEP_SLOTS="off"):
        yield


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps what sweeps leave on this machine out of the user's own folder.

    All workers of pytest share one, so that each graph is traced once.
    """
    folder = tmp_path_factory.getbasetemp() / "cache"
    if "PYTEST_XDIST_TESTRUNUID" in os.environ:
        folder = folder.parents[1] / "cache"
    folder.mkdir(exist_ok=True)
    state = tmp_path_factory.mktemp("state")
    own = {"XDG_CACHE_HOME": str(folder), "XDG_STATE_HOME": str(state)}
    with mock.patch.dict(os.environ, own):
        yield folder / "lstm-sweep"


@pytest.fixture(scope="session", autouse=True)
def unhurried_disk() -> Iterator[None]:
    """SQLite in this process does not wait for the disk, which takes about 5 ms at each commit.

    What was committed outlives the process nevertheless; it would not outlive a loss of power.
    """

    def connected(connection: object, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", connected)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", connected)


@pytest.fixture(scope="module", autouse=True)
def closed_databases() -> Iterator[None]:
    """MLflow keeps an engine for each store that a process has opened, with open files."""
    yield
    if found := sys.modules.get("mlflow.store.tracking.sqlalchemy_store"):
        for engine in found.SqlAlchemyStore._engine_map.values():
            engine.dispose()


_launcher: list[Launcher] = []
#: programs that the test which runs has started
_started: list[Started] = []


@pytest.fixture(autouse=True)
def no_program_left() -> Iterator[None]:
    """No program outlives the test that has started it, such as one that fails: it has slots."""
    before = len(_started)
    yield
    for program in _started[before:]:
        if program.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait(60)
    del _started[before:]


def run_program(
    *arguments: str | Path,
    cwd: Path,
    timeout_s: float = 500,
    real: bool = False,
    **environment: str,
) -> Done:
    """Run the program in a process of its own, in folder `cwd`.

    `real` starts the installed script as a user does; otherwise the process is forked from one that
    has imported the program.
    """
    if not real:
        process = start_program(*arguments, cwd=cwd, **environment)
        out, err = process.communicate(timeout_s)
        return Done(process.wait(), out, err)
    given = outside() | environment
    return run_command(PROGRAM, *arguments, cwd=cwd, environment=given, timeout_s=timeout_s)


def run_command(
    *command: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 500,
) -> Done:
    """Run any program."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def python_without_program(folder: Path) -> Path:
    """Python of a new environment with the packages of this one, but for this program."""
    venv.create(folder)
    [own] = (folder / "lib").glob("python*/site-packages")
    # files named there, by which editable packages are found, are not read
    places = [path for path in sys.path if path.endswith("site-packages")]
    (own / "packages.pth").write_text("\n".join([sysconfig.get_path("purelib"), *places]))
    python = folder / "bin" / "python"
    missing = run_command(python, "-c", "import lstm_sweep", cwd=folder, environment=outside())
    assert "No module named 'lstm_sweep'" in missing.err
    return python


def start_program(*arguments: str | Path, cwd: Path, **environment: str) -> Started:
    """Start the program in folder `cwd`, as the first process of a group of its own."""
    return _start(arguments, cwd, environment, alone=False)


def start_alone(*arguments: str | Path, cwd: Path, **environment: str) -> Started:
    """The same with its workers in this group, too."""
    return _start(arguments, cwd, environment, alone=True)


def _start(
    arguments: Sequence[str | Path], cwd: Path, environment: Mapping[str, str], *, alone: bool
) -> Started:
    if not _launcher:
        _launcher.append(Launcher())
    words, given = [*map(str, arguments)], {**outside(), **environment}
    _started.append(_launcher[0].start(words, cwd, given, alone=alone))
    return _started[-1]


def wait_until(
    done: Callable[[], bool], process: Started | subprocess.Popen[str], within_s: float = 240
) -> None:
    """Wait for what a process is to bring about before it ends."""
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until
        assert process.poll() is None, f"it has ended, and said {process.communicate(timeout=60)}"
        time.sleep(0.5)


def outside() -> dict[str, str]:
    """The environment without what would lead the program to another store or code."""
    return {
        key: value
        for key, value in os.environ.items()
        # MLflow sets one of its own where a test has imported it
        if not key.lstrip("_").startswith("MLFLOW_") and key != "PYTHONPATH"
    }


def run_here(*arguments: str | Path, cwd: Path, **environment: str) -> Done:
    """Run a command in this process, whose imports are done, as is Keras's for its workers.

    All commands of the process share one forkserver, and workers have its working folder.
    """
    from lstm_sweep.search.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def of_process() -> dict[str, Any]:
    """What a process has that a library could change."""
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "outputs": [Path(f"/proc/self/fd/{number}").readlink() for number in (0, 1, 2)],
        "handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "script": sys.modules["__main__"],
    }


def of_random() -> tuple[object, ...]:
    """The states of the generators that a process has for all."""
    return random.getstate(), repr(np.random.get_state())


@contextlib.contextmanager
def nothing_changed(more: Callable[[], object] = dict) -> Iterator[None]:
    """Make sure that this process is afterwards as it was before, and so is `more` of it."""
    before = {"more": more()} | of_process()
    with Path(os.devnull).open("rb") as opened:
        yield
        assert opened.read() == b""  # the caller's own files are open still
    after = {"more": more()} | of_process()
    assert [name for name in before if before[name] != after[name]] == []


def processes_of_group(group: int) -> list[str]:
    """Processes of a group that are still there after it had time to end."""
    until = time.monotonic() + 10
    while True:
        listing = subprocess.run(
            ["ps", "-o", "pid=,args=", "-g", str(group)],
            capture_output=True,
            text=True,
            check=False,
        )
        # those that have ended are gone once the system has looked after them
        rows = [row for row in listing.stdout.splitlines() if row and "<defunct>" not in row]
        if not rows or time.monotonic() > until:
            return rows
        time.sleep(0.2)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, made once: making one takes seconds."""
    from lstm_sweep.search.store.settings import Settings
    from lstm_sweep.search.store.tracking import MlflowStore

    folder = tmp_path_factory.mktemp("database")
    MlflowStore(Settings(f"sqlite:///{folder / 'mlflow.db'}", None, "other", "test"))
    connection = sqlite3.connect(folder / "mlflow.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is in the log, into the file
    connection.close()
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def workplace(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Makes working folders that have a store already."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        shutil.copy(empty_database, folder / "mlflow.db")
        return folder

    return make


@pytest.fixture(scope="session")
def tracking_server(workplace: Callable[[str], Path]) -> Iterator[str]:
    """The address of an MLflow server that no test kills."""
    from tests.servers import Server

    running = Server(workplace("server"))
    yield running.start()
    running.stop()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text that no test changes."""
    return write_text(tmp_path_factory.mktemp("data") / "words.txt")


@pytest.fixture(scope="session")
def corpus(data: Path) -> Corpus:
    """That text, read."""
    from lstm_sweep.models.data.corpus import load
    from lstm_sweep.models.data.source import Source

    return load(Source(data=str(data)))


@pytest.fixture(scope="module")
def prepared() -> None:
    """A backend that trains in this process, for tests that ask for it."""
    from lstm_sweep.models import backend

    backend.prepare(gpu=False, seed=0)  # threads are set before the first operation, or never
    backend.run_operations_alone()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray cluster of a head and two nodes with two CPUs each, to which `ray` connects."""
    from tests import ray_cluster

    with (
        ray_cluster.running("one", "two") as cluster,
        mock.patch.dict(os.environ, cluster.login),
        # on a machine that is busy no agent is given up that has not begun yet
        mock.patch("lstm_sweep.search.engines.ray.BEGIN_WITHIN_S", 400.0),
    ):
        yield cluster


def write_text(file: Path, characters: int = 6_000, seed: int = 0) -> Path:
    """A text with some structure: words drawn from a few."""
    rng = np.random.default_rng(seed)
    words = ["sun", "moon", "river", "stone", "and", "under", "the", "of"]
    text = " ".join(rng.choice(words, characters // 4))
    file.write_text(text[:characters], encoding="utf-8")
    return file
