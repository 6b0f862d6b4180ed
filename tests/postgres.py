"""A real PostgreSQL that tests start, back up and restore."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.servers import free_port

USER, PASSWORD = "lstm_sweep", "the password of a database"
#: environment variable that names what tests may not do without
NEED = "LSTM_SWEEP_TESTS_NEED"


def do_without(name: str, missing: str) -> NoReturn:
    """Skip a test, or have it fail if told to."""
    if name in os.environ.get(NEED, "").split():
        pytest.fail(missing)
    pytest.skip(missing)


def programs() -> Path:
    """Folder of PostgreSQL's programs; without one the test is skipped, or fails if told to."""
    onpath = shutil.which("initdb")
    found = [Path(onpath).resolve()] if onpath else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version, reverse=True)
    if found:
        return found[0].parent
    do_without("postgresql", "PostgreSQL is not installed, expected Debian's package `postgresql`")


def _version(initdb: Path) -> float:
    return float(initdb.parent.parent.name)


def write_settings(folder: Path, database: str, artifacts: str) -> None:
    """The settings that are shipped for servers, for another database, files and two processes."""
    text = (Path(__file__).parents[1] / "docker" / "mlflow.yaml").read_text(encoding="utf-8")
    for shipped, here in [
        ("postgresql://lstm_sweep@db/lstm_sweep", database),
        ("/var/lib/lstm-sweep/artifacts", artifacts),
        ("server_processes: 1", "server_processes: 2"),
    ]:
        assert shipped in text
        text = text.replace(shipped, here)
    (folder / "mlflow.yaml").write_text(text, encoding="utf-8")
    users = (Path(__file__).parents[1] / "docker" / "auth.ini").read_text(encoding="utf-8")
    shipped = "//lstm_sweep@db/lstm_sweep"
    assert shipped in users
    here = database.removeprefix("postgresql:").replace("%", "%%")
    (folder / "auth.ini").write_text(users.replace(shipped, here), encoding="utf-8")


def named(folder: Path) -> dict[str, str]:
    """What names the settings in a folder, so that the password goes to the database in them."""
    return {
        "LSTM_SWEEP_SETTINGS": str(folder / "mlflow.yaml"),
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key of the tests",
    }


class Cluster:
    """A server of its own, on a port of this machine alone, which asks for a password."""

    def __init__(self) -> None:
        """Make it; it is not started."""
        self._programs = programs()
        self._folder = Path(tempfile.mkdtemp(prefix="lstm-sweep-postgres-"))
        self._port = free_port()
        password = self._folder / "password"
        password.write_text(PASSWORD)
        for path in (self._folder, password):
            if os.geteuid() == 0:
                shutil.chown(path, self._runner())
        self._run_as_nobody(
            *("initdb", "--pgdata", self._folder / "data", "--username", USER, "--no-sync"),
            *("--auth", "scram-sha-256", "--pwfile", password, "--encoding", "UTF8"),
            *("--locale", "C.UTF-8"),
        )

    def address(self, database: str) -> str:
        """Address of a database of it, without the password."""
        return f"postgresql://{USER}@127.0.0.1:{self._port}/{database}"

    @property
    def login(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {"PGPASSWORD": PASSWORD}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("start", "--log", str(self._folder / "log"), "--options", options)

    def stop(self) -> None:
        """End it at once, whoever is connected."""
        self._control("stop", "--mode", "fast")

    def remove(self) -> None:
        """End it, and leave nothing."""
        self.stop()
        shutil.rmtree(self._folder)

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to find its client programs, and they to find it."""
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(self._port), "PGUSER": USER}
        found = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        return os.environ | where | self.login | {"PATH": found}

    def client(self, program: str, *arguments: str) -> str:
        """Run one of its client programs; return what it prints."""
        return subprocess.run(
            [self._programs / program, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    def _control(self, *arguments: str) -> None:
        self._run_as_nobody("pg_ctl", "--pgdata", self._folder / "data", "--wait", *arguments)

    def _run_as_nobody(self, program: str, *arguments: str | Path) -> None:
        """Run a program of the server, which refuses to run as root."""
        another = ["setpriv", "--reuid", self._runner(), "--clear-groups"]
        subprocess.run(
            [*(another if os.geteuid() == 0 else []), self._programs / program, *arguments],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    @staticmethod
    def _runner() -> str:
        names = {entry.pw_name for entry in pwd.getpwall()}
        return "postgres" if "postgres" in names else "nobody"


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """A cluster that is started, and gone in the end."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()
