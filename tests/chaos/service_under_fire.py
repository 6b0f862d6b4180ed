"""A service with its drivers, their workers and MLflow's server, any of which can be killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from lstm_sweep.search.service.auth import TokenFile
from lstm_sweep.search.service.settings import service_folder
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tracking import MlflowStore, Store
from tests.chaos.processes import MARK, kill, marked
from tests.launcher import PROGRAM
from tests.servers import free_port

#: whom kills hit, and how often in a round of kills
VICTIMS = {"worker": 4, "driver": 4, "service": 4, "mlflow": 1, "forkserver": 1, "everything": 2}
#: seconds that anything may take on a machine that does other things too
WITHIN_S = 1800.0
#: seconds within which a service ends after SIGTERM
DRAINS_WITHIN_S = 20.0
#: slots that the sweeps share
SLOTS = 2


class ServiceUnderFire:
    """A service in a folder with a store, which is started again whenever it was killed."""

    def __init__(self, folder: Path, rng: random.Random, victims: list[str]) -> None:
        """`victims` are those whom kills are to hit still in this round, the last one first."""
        self.folder, self._rng, self._victims = folder, rng, victims
        self.settings: Settings = load(folder, {})
        self.mark = uuid.uuid4().hex
        self.killed: Counter[str] = Counter()
        #: how long each SIGTERM took to end the service
        self.drains_s: list[float] = []
        tokens = TokenFile(service_folder(self.settings, folder))
        self._tokens = {user: tokens.add(user, "run") for user in ("ann", "bob")}
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        #: names of sweeps in the order in which they were queued
        self.queued: list[str] = []
        #: the sweeps of the queue in its order by the look, and whether each had a driver
        self.looks: list[dict[str, bool]] = []
        self._over = threading.Event()

    @property
    def store(self) -> Store:
        """The store of the sweeps."""
        return MlflowStore(self.settings)

    # what a user does

    def submit(self, user: str, body: dict[str, Any]) -> None:
        """Queue a sweep, and ask again with the same token until there is an answer."""
        key = {"Idempotency-Key": body["name"]}
        until = time.monotonic() + WITHIN_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                made = self.ask("sweeps", user, body, key)
                assert made["sweep"] == body["name"]
                self.queued.append(body["name"])
                return
            assert time.monotonic() < until
            time.sleep(0.3)

    def ask(
        self, path: str, user: str = "ann", body: Any = None, more: dict[str, str] | None = None
    ) -> Any:
        """What the service answers.

        Raises:
            OSError: it does not, or is not ready.
        """
        own = {"Authorization": f"Bearer {self._tokens[user]}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=own | (more or {}))
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode()
            if error.code == 503:
                raise ConnectionError(said) from None
            raise AssertionError(f"{path}: {said}") from None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return bool(self.ask("health"))
        return False

    def watch(self) -> threading.Thread:
        """Note what is in the queue, from a thread, until `end`."""

        def look() -> None:
            while not self._over.wait(0.3):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    found = self.ask("queue")["queue"]
                    self.looks.append({one["sweep"]: bool(one["driver"]) for one in found})

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        return thread

    # what happens to it

    def start(self) -> None:
        """Start the service; it may take a while until it answers."""
        command = ["serve", "--port", str(self._port), "--slots", str(SLOTS), "--login"]
        own = {MARK: self.mark, "LSTM_SWEEP_SLOTS": str(self.folder / "slots")}
        with (self.folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, *command, "--data-root", str(self.folder)],
                cwd=self.folder,
                env=os.environ | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def strike(self) -> None:
        """Kill the next victim, unless there is none of its kind just now."""
        if not self._victims:
            everybody = list(Counter(VICTIMS).elements())
            self._victims += self._rng.sample(everybody, len(everybody))
        victim = self._victims[-1]
        found = self.processes()
        targets = [pid for pid, kind in found.items() if victim in (kind, "everything")]
        if not targets:
            return
        if victim == "everything":
            for pid in targets:
                kill(pid)
        else:
            kill(self._rng.choice(sorted(targets)))
        self.killed[self._victims.pop()] += 1
        assert self._process
        if victim in ("service", "everything"):
            assert self._process.wait(WITHIN_S) == -signal.SIGKILL, self.log()
            time.sleep(self._rng.uniform(0.0, 2.0))
            self.start()
        assert self._process.poll() is None, self.log()

    def drain(self) -> None:
        """End the service by SIGTERM once it answers."""
        assert self._process
        until = time.monotonic() + WITHIN_S
        while not self._answers():
            assert time.monotonic() < until, self.log()
            time.sleep(0.2)
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(WITHIN_S) == 0, self.log()
        self.drains_s.append(time.monotonic() - began)

    def end(self) -> None:
        """Stop looking, and kill what is left."""
        self._over.set()
        for one in marked(self.mark):
            kill(one.pid)
        if self._process:
            self._process.wait(20)

    def log(self) -> str:
        """The last that the service has said."""
        return (self.folder / "service.log").read_text(encoding="utf-8")[-3000:]

    def processes(self) -> dict[int, str]:
        """The processes of the service, and what each is."""
        found = marked(self.mark)
        drivers = {one.pid for one in found if "service.jobs" in one.line}
        forked = {one.pid for one in found if "forkserver" in one.line}
        kinds = {}
        for one in found:
            if self._process and one.pid == self._process.pid:
                kinds[one.pid] = "service"
            elif one.pid in drivers:
                kinds[one.pid] = "driver"
            elif one.pid in forked and one.parent in drivers:
                kinds[one.pid] = "forkserver"
            elif one.pid in forked:  # it ends if the one is dead that has started it
                kinds[one.pid] = "worker" if one.parent in forked else "orphan"
            else:
                kinds[one.pid] = "mlflow" if "mlflow" in one.line else "other"
        return kinds
