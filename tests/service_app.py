"""The app of a service over a real store, whose sweeps are run by scripted engines at once."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.actions import references
from lstm_sweep.search.actions.lifecycle import Deleted, Pruned, StoppedSweep
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.actions.references import NothingToDoError
from lstm_sweep.search.actions.sweeps import SweepPage, SweepStatusReport
from lstm_sweep.search.actions.transfers import OCTETS, corpus_id_of
from lstm_sweep.search.service.app import create_app
from lstm_sweep.search.service.guard import SERVER
from lstm_sweep.search.service.jobs import Rerun, Reruns, Wanted
from lstm_sweep.search.service.queue import QueuedSweep
from lstm_sweep.search.service.scheduler import QueuedJob
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.settings import HttpSettings, ServiceSettings, service_folder
from lstm_sweep.search.service.supervisor import Supervisor
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.values.spec import SweepSpec
from tests.fakes import ScriptedEngine
from tests.sweeps import LOSSES, PLAIN, tiny_spec

API = "/api/v1"
#: how a browser and a program name the service
HERE = "http://localhost"
#: a space whose trials are as small as they can be, as a request gives it
SPACE: dict[str, Any] = {
    "direction": "uni", "layer_size": 6, "sequence_length": 8, "stride": 8, "epochs": 2
}  # fmt: skip


class ImmediateService(Service):
    """A service whose sweeps have run when they are submitted; the real one is tested beside it."""

    def __init__(self, folder: Path) -> None:
        self.settings = ServiceSettings(
            store=load(folder, {}), folder=folder, state=folder / "service"
        )
        self.reads = self.settings.store
        self._reruns = Reruns(self.settings.state / "reruns", lambda one: False)
        #: program that trains a trial again; None: reruns wait
        self.program: Sequence[str] | None = None
        self.figures = {}
        #: reason why it takes no sweeps
        self.not_ready = ""
        #: who has submitted each sweep, and sweeps by owner and token of the client
        self.owners: dict[str, str] = {}
        self.tokens: dict[tuple[str, str], str] = {}
        self.priorities: dict[str, int] = {}
        self.calls: list[tuple[str, str]] = []

    def reruns(self) -> list[QueuedJob]:
        return self._reruns.queue()

    def submit(
        self, spec: SweepSpec, *, owner: str, client_token: str | None = None, priority: int = 0
    ) -> str:
        key = (owner, client_token or "")
        if client_token and key in self.tokens:
            return self.tokens[key]
        spec = dataclasses.replace(
            spec, trials=min(spec.trials or 3, 3), targets=100, ladder=False, **PLAIN
        )
        name = Local(self.settings.store).launch(spec).sweep
        self.owners[name], self.priorities[name] = owner, priority
        if client_token:
            self.tokens[key] = name
        return name

    def sweeps(self, limit: int = 20, page: str = "") -> SweepPage:
        return Local(self.settings.store).sweeps(limit=limit, page=page)

    def queue(self) -> tuple[QueuedSweep, ...]:
        """One that waits for ever, if any was submitted."""
        return tuple(self._queued(name) for name in list(self.owners)[:1])

    def _queued(self, name: str) -> QueuedSweep:
        return QueuedSweep(
            sweep=name, run_id="0", owner=self.owners.get(name, ""), submitted=datetime.now(UTC),
            priority=self.priorities.get(name, 0), slots=1, wanted=2, driver=None, why="waits",
        )  # fmt: skip

    def status(self, name: str) -> SweepStatusReport:
        return Local(self.settings.store).status(name)

    def rerun(self, wanted: Wanted, *, owner: str) -> Rerun:
        rerun_id = self._reruns.submit(wanted, owner)
        if self.program:
            command = [*self.program, *self._reruns.command(rerun_id)]
            out, errors = self._reruns.open(rerun_id)
            with out, errors:
                done = subprocess.run(
                    command, cwd=self.settings.folder, stdout=out, stderr=errors, check=False
                )
            self._reruns.note_end(rerun_id, done.returncode)
        return self.rerun_status(rerun_id)

    def rerun_status(self, rerun_id: str) -> Rerun:
        return self._reruns.get(rerun_id)

    def pause(self, name: str) -> StoppedSweep:
        self.calls.append(("pause", name))
        return Local(self.settings.store).pause(name)

    def resume(
        self, name: str, changes: Mapping[str, Any] | None = None, *, owner: str = ""
    ) -> SweepStatusReport:
        """Check the changes as the core does."""
        self.calls.append(("resume", name))
        report = self.status(name)
        for field in changes or {}:
            if field not in ("trials", "minutes", "workers", "per_gpu", "on", "keep"):
                raise InputError(f"'{field}' may not change")
        return report

    def stop(self, name: str) -> StoppedSweep:
        return Local(self.settings.store).stop(name)

    def prioritise(self, name: str, priority: int) -> QueuedSweep:
        self.status(name)
        self.priorities[name] = priority
        return self._queued(name)

    def delete(self, name: str, *, dry_run: bool = False) -> Deleted:
        """Delete a sweep, one run in a call."""
        ticks = itertools.count()
        settings = self.settings.store
        return Local(settings).delete(name, dry_run=dry_run, within_s=2, clock=lambda: next(ticks))

    def prune(
        self, *, older_than_s: float, keep_best: bool, dry_run: bool, owner: str | None
    ) -> Pruned:
        return Local(self.settings.store).prune(
            older_than_s=older_than_s, keep_best=keep_best,
            dry_run=dry_run,
            is_meant=lambda run: owner in (None, run.data.tags.get(Tag.OWNER)),
        )  # fmt: skip

    def owner(self, name: str) -> str | None:
        self.status(name)
        return self.owners.get(name)

    def ready(self) -> str:
        return self.not_ready

    def start(self) -> None: ...

    def drain(self) -> None: ...


class ResumingService(ImmediateService):
    """One that goes on with a sweep at once."""

    def resume(
        self, name: str, changes: Mapping[str, Any] | None = None, *, owner: str = ""
    ) -> SweepStatusReport:
        result = Local(self.settings.store).resume(name, changes or {})
        if result.unchanged:
            raise NothingToDoError(f"sweep {name}: {result.unchanged}")
        return self.status(name)


@dataclass(frozen=True)
class Place:
    """A service in a folder of its own, and its app."""

    service: ImmediateService
    settings: HttpSettings

    @classmethod
    def in_folder(cls, folder: Path, **more: Any) -> Place:
        service = ImmediateService(folder)
        own = service_folder(service.settings.store, folder)
        given: dict[str, Any] = {"folder": own, "remembered_s": 0.0} | more
        return cls(service, HttpSettings(**given))

    def taking_code(self, allow_code: bool) -> Place:
        """The same service, which takes templates or not."""
        service = copy.copy(self.service)
        service.settings = dataclasses.replace(service.settings, allow_code=allow_code)
        return Place(service, self.settings)

    def client(self, **headers: str) -> TestClient:
        """A client of a new app, which is started when it is entered."""
        app = create_app(self.service, self.settings)
        return TestClient(app, base_url=HERE, headers=headers)

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """Listen on a port of this machine; the address."""
        app = create_app(self.service, self.settings)
        # to set logging up closes streams of handlers that are there, as absl's, which is pytest's
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_level="error", log_config=None, **SERVER)
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            app.state.site.feeds.closing = True
            server.should_exit = True
            thread.join()

    def launch(self, data: Path, name: str = "s", trials: int = 3) -> None:
        given: dict[str, Any] = {"data": str(data), "name": name, "trials": trials} | PLAIN
        spec = tiny_spec(**given)
        Local(self.service.settings.store).launch(spec)


def send_corpus(client: Any, content: bytes, name: str = "a.txt") -> str:
    """Send a file to a service; what a sweep calls it."""
    digests = {name: hashlib.sha256(content).hexdigest()}
    sent = client.put(
        f"{API}/corpora/{corpus_id_of(name, digests, is_folder=False)}",
        params={"name": name},
        content=content,
        headers={"Content-Type": OCTETS},
    )
    assert sent.status_code == 201, sent.text
    return str(sent.json()["data"])


def use_scripted_engines(monkeypatch: pytest.MonkeyPatch) -> None:

    def open_engine(name: str, **more: Any) -> ScriptedEngine:
        return ScriptedEngine(LOSSES)

    monkeypatch.setattr(references, "open_engine", open_engine)


# Drivers of a service that do nothing, for tests of what the service does with them


#: waits to be ended, as long as it lives with the lock that it inherits
IDLE = """#!/bin/sh
exec sleep 600
"""


def let_drivers_idle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a service starts with Python be a script in `folder` that waits to be ended."""
    script = folder / "driver"
    script.write_text(IDLE)
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def child_of(supervisor: Supervisor, run_id: str) -> subprocess.Popen[bytes]:
    """The process that a supervisor has started for a sweep or rerun."""
    child = supervisor.processes[run_id].child
    assert child
    return child
