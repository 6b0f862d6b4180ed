"""`serve --on ray`: two sweeps share the slots of a real cluster."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.jobs import KEY
from lstm_sweep.search.service.settings import service_folder
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tags import Signer, Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from tests.conftest import run_here, start_program, wait_until, write_text
from tests.launcher import Started
from tests.ray_cluster import RayCluster
from tests.sweeps import PLAIN, tiny_spec

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]

#: trials of each of the two sweeps; the second is not to be over before it is paused
TRIALS = {"a": 6, "b": 14}


@pytest.fixture
def folder(workplace: Callable[[str], Path]) -> Path:
    return workplace("on_ray")


@pytest.fixture
def service(folder: Path, ray_cluster: RayCluster) -> Iterator[Started]:
    """A service on the cluster's head, whose first line says where it answers."""
    command = ["serve", "--json", "--no-mlflow", "--on", "ray", "--data-root", "."]
    address = ray_cluster.login["RAY_ADDRESS"]
    login = {name: value for name, value in ray_cluster.login.items() if name != "RAY_ADDRESS"}
    started = start_program(*command, "--address", address, cwd=folder, **login)
    yield started
    if started.poll() is None:
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0, started.stderr.read()


def test_two_sweeps_share_a_cluster(
    folder: Path, service: Started, ray_cluster: RayCluster
) -> None:
    data, settings = write_text(folder / "words.txt"), load(folder, {})
    line = service.stdout.readline()
    assert line, service.stderr.read()
    url = json.loads(line)["url"]
    store = MlflowStore(settings)
    store.signer = Signer(service_folder(settings, folder) / "drivers" / KEY)
    more = {"data": str(data), "algo": "random", "ladder": False}
    for name, owner in (("a", "ann"), ("b", "bob")):
        spec = tiny_spec(epochs=30, name=name, **{**PLAIN, **more, "trials": TRIALS[name]})
        assert spec.on == "local"  # the service decides where it runs
        queue.submit(store, spec, owner=owner)

    def slots() -> dict[str, int]:
        return {one["sweep"]: one["slots"] for one in _ask(url, "queue")["queue"]}

    wait_until(lambda: slots() == {"a": 2, "b": 2}, service, 500)
    wait_until(lambda: {run[Tag.NAME] for run in _trials(store)} == {"a", "b"}, service, 500)
    paused = run_here("pause", "b", "--json", cwd=folder)
    assert (paused.code, paused.json["state"]) == (0, "paused")
    wait_until(lambda: "b" not in slots(), service, 500)
    assert _ask(url, "sweeps/b/resume", b"{}")["state"] in ("queued", "running")
    wait_until(lambda: slots() == {}, service, 500)
    for name in ("a", "b"):
        ends = Counter((row.number, row.outcome) for row in Local(settings).trials(name))
        complete = {number: count for (number, how), count in ends.items() if how == "complete"}
        assert complete == dict.fromkeys(range(TRIALS[name]), 1)
        assert {how for _, how in ends} <= {"complete", "lost"}
    assert all(ray_cluster.agents(node) == set() for node in ("one", "two"))


def _ask(url: str, path: str, data: bytes | None = None) -> Any:
    """What the service answers."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/v1/{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _trials(store: Store) -> list[dict[str, str]]:
    """Tags of the runs of trials."""
    return [run.data.tags for run in store.runs() if Tag.TRIAL in run.data.tags]
