"""The MLflow server of a store beside a service: a child that is started again if it ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.process.identity import is_running, start_ticks
from lstm_sweep.search.store import artifacts, auth, server
from lstm_sweep.search.store.settings import Settings

#: seconds before it is started again, twice as many after each further end
AGAIN_S, LONGEST_AGAIN_S = 1.0, 60.0
#: seconds that one has to end after SIGTERM
ENDS_WITHIN_S = 3.0


class WatchedServer:
    """The server of a store that has none; it is started by `start`, in a thread."""

    def __init__(self, settings: Settings, host: str, note: Path) -> None:
        """Choose a free port. Without a login it listens on this machine alone, whatever `host` is.

        The file `note` names its process: the next service ends one whose service was killed.

        Raises:
            InputError: no port is free, or its login cannot be set up.
        """
        if settings.auth:
            auth.check(os.environ)
        artifacts.check_place(settings.artifacts or "mlartifacts")
        self._settings, self._note = settings, note
        _end_orphan(note)
        self._host = host if settings.auth else server.HERE
        self._bind = server.choose_bind_address(self._host, None, further=settings.allowed_hosts)
        self._folder = tempfile.TemporaryDirectory(prefix="lstm-sweep-")
        self._environment = server.environment_of(settings, Path(self._folder.name))
        self._child: subprocess.Popen[bytes] | None = None
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="mlflow", daemon=True)

    @property
    def address(self) -> str:
        """URL of the server for other machines."""
        return self._bind.address

    @property
    def pid(self) -> int | None:
        """PID of the server; None while it does not run."""
        child = self._child
        return child.pid if child and child.poll() is None else None

    def start(self) -> None:
        """Start the server, and again whenever it ends."""
        self._thread.start()

    def close(self) -> None:
        """End the server, and start it no more."""
        self._ends.set()
        with self._lock:
            if self._child:
                _end(self._child)
                self._child = None
        self._folder.cleanup()
        self._note.unlink(missing_ok=True)

    def _watch(self) -> None:
        wait = 0.0
        while not self._ends.wait(wait):
            mark = secrets.token_hex(16)
            with self._lock:
                if self._ends.is_set():
                    return
                child = server.start_server(
                    self._bind, self._settings, self._environment, mark, start_new_session=True
                )
                self._child = child
                with contextlib.suppress(OSError):
                    self._note.write_text(f"{child.pid} {start_ticks(child.pid)}", encoding="ascii")
            try:
                server.wait_for(child, self._bind, mark)
                child.wait()
                wait = AGAIN_S
            except (server.PortTakenError, InputError):
                wait = min(LONGEST_AGAIN_S, max(AGAIN_S, 2 * wait))
                with self._lock:
                    _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a server with its own children; it keeps nothing that could be lost."""
    _signal_group(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(ENDS_WITHIN_S)
    _signal_group(child.pid, signal.SIGKILL)
    child.wait()


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_orphan(note: Path) -> None:
    """End the server of a service that was killed; a process that has its number now is spared."""
    with contextlib.suppress(OSError, ValueError):
        pid, started = map(int, note.read_text(encoding="ascii").split())
        for number in (signal.SIGTERM, signal.SIGKILL):
            until = time.monotonic() + ENDS_WITHIN_S
            if is_running(pid, started):
                _signal_group(pid, number)
            while is_running(pid, started) and time.monotonic() < until:
                time.sleep(0.1)
