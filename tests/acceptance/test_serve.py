"""`serve` with real drivers: kills, a drain and restarts cost neither sweeps nor bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.driver import lease
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.settings import service_folder
from lstm_sweep.search.service.supervisor import KEY
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.signatures import Signer
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.spec import SweepSpec
from tests.conftest import run_here, start_program, write_text
from tests.launcher import Started
from tests.sweeps import PLAIN, tiny_spec

pytestmark = pytest.mark.full

#: seconds that anything may take on a machine that does other things too
WITHIN_S = 240.0


class Site:
    """A folder with a store, and the service that is started there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = folder, load(folder, {})
        self.store = MlflowStore(self.settings)
        self.service: Started | None = None
        self.told: dict[str, Any] = {}

    def start(self) -> None:
        """Start the service, and wait until it says that it answers."""
        slots = {"LSTM_SWEEP_SLOTS": str(self.folder / "slots")}
        command = ["serve", "--json", "--slots", "2", "--no-mlflow"]
        command += ["--data-root", str(self.folder)]
        self.service = start_program(*command, cwd=self.folder, **slots)
        self.told = json.loads(self.service.stdout.readline())
        key = service_folder(self.settings, self.folder) / "drivers" / KEY
        self.store.signer = Signer.of(key)

    def end(self, number: int) -> int:
        """Send the service a signal; its exit code."""
        assert self.service
        self.service.send_signal(number)
        return self.service.wait(25)

    def ask(self, path: str, method: str = "GET") -> Any:
        """What the service answers."""
        headers = {"Content-Type": "application/json"}
        data = b"{}" if method == "POST" else None
        url = f"{self.told['url']}/api/v1/{path}"
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def drivers(self) -> dict[str, int]:
        """The process of each sweep that has a driver."""
        found = self.ask("queue")["queue"]
        return {one["sweep"]: one["driver"] for one in found if one["driver"]}


@pytest.fixture
def site(workplace: Callable[[str], Path]) -> Iterator[Site]:
    made = Site(workplace("service"))
    yield made
    if made.service and made.service.poll() is None:
        made.service.kill()
    for pid in driver_processes(made.folder):
        os.kill(pid, signal.SIGKILL)


def driver_processes(folder: Path) -> list[int]:
    """Drivers of a store's sweeps that are alive, whoever has started them."""
    found = subprocess.run(
        ["pgrep", "-f", f"service.driver .*{folder}"], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for something."""
    end = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def rounds_of(settings: Settings, name: str) -> dict[str, list[dict[str, Any]]]:
    """What does not depend on the time of each round of each trial of a sweep."""
    timed = ("round_seconds", "symbols_per_second", "scoring_seconds")
    found = {}
    for record in Local(settings).trials(name):
        rows = Local(settings).show(record.trial.id).by_epoch
        kept = [{k: v for k, v in row.items() if k not in timed} for row in rows]
        found[record.trial.id.rpartition("/")[2]] = kept
    return found


def test_kills_a_drain_and_restarts_lose_nothing_and_change_no_bit(site: Site) -> None:
    data = write_text(site.folder / "words.txt")
    more = {"data": str(data), "trials": 2, "algo": "random", "ladder": False, "workers": 1}
    # some milliseconds each: the sweep has to run still when its second driver is looked at
    spec = tiny_spec(epochs=600, name="long", **{**PLAIN, **more})
    site.start()
    assert (site.told["auth"], site.told["mlflow_url"]) == (None, None)
    for name, owner in (("long", "ann"), ("short", "bob")):
        wanted = spec if name == "long" else _short(spec)
        for _ in "ab":
            assert queue.submit(site.store, wanted, owner=owner, client_token=name)[0] == name
    until(lambda: len(site.drivers()) == 2, "both sweeps get a driver")
    assert [one["slots"] for one in site.ask("queue")["queue"]] == [1, 1]
    until(lambda: _has_rounds(site, "long"), "the first trial reports")

    before = site.drivers()
    assert site.end(signal.SIGKILL) == -signal.SIGKILL
    site.start()
    until(lambda: site.drivers().get("long") == before["long"], "its driver is found")

    os.kill(before["long"], signal.SIGKILL)
    until(lambda: site.drivers().get("long") not in (None, before["long"]), "another is begun")
    # until it drives the sweep, what is told of that is what the one that was killed has left
    until(lambda: _driving(site, "long") in site.drivers().values(), "it drives the sweep")
    until(lambda: site.ask("sweeps/long")["state"] == "running", "it goes on")
    until(lambda: _has_rounds(site, "long"), "it reports again")

    assert site.end(signal.SIGTERM) == 0
    assert driver_processes(site.folder) == []
    assert Local(site.settings).status("long").state in ("interrupted", "finished")

    site.start()
    until(lambda: _states(site) == {"finished"}, "both end")
    until(lambda: site.ask("queue")["queue"] == [], "the queue is empty")
    assert len(Local(site.settings).sweeps()) == 2
    assert site.end(signal.SIGTERM) == 0

    alone = site.folder / "alone.yaml"
    alone.write_text(json.dumps(spec.to_dict() | {"name": "alone"}), encoding="utf-8")
    assert run_here("launch", alone, "--json", cwd=site.folder).code == 0
    assert rounds_of(site.settings, "long") == rounds_of(site.settings, "alone")


def _driving(site: Site, name: str) -> int | None:
    """The process that has renewed its lease of a sweep, as it does once it drives it."""
    run_id = Local(site.settings).status(name).run_id
    driver = lease.holder(site.store.tags(run_id))
    return driver.pid if driver and driver.beat else None


def _states(site: Site) -> set[str]:
    """The states of all sweeps."""
    return {one["state"] for one in site.ask("sweeps")["sweeps"]}


def _short(spec: SweepSpec) -> SweepSpec:
    """A sweep of two short trials."""
    more = {"data": spec.data, "trials": 2, "algo": "random", "ladder": False}
    return tiny_spec(epochs=2, name="short", **{**PLAIN, **more})


def _has_rounds(site: Site, name: str) -> bool:
    """Whether a trial of a sweep that runs has reported a round in this attempt."""
    rows = site.ask(f"sweeps/{name}/trials")["trials"]
    return any(row["status"] == "RUNNING" and row["val_loss"] is not None for row in rows)
