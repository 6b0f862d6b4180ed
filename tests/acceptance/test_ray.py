"""A sweep on a Ray cluster: nodes come and go, it is stopped, goes on, and has the same bits."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lstm_sweep
from lstm_sweep.search.actions.local import Local
from lstm_sweep.search.service import queue
from lstm_sweep.search.service.jobs import KEY
from lstm_sweep.search.service.settings import service_folder
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tags import Signer, Tag
from lstm_sweep.search.store.tracking import MlflowStore, Store
from tests import ray_cluster
from tests.acceptance.test_class_sweep import DATA, SEARCH, write_rows
from tests.cases import Place
from tests.conftest import (
    TINY,
    outside,
    python_without_program,
    run_command,
    run_here,
    wait_until,
    write_text,
)
from tests.launcher import Started
from tests.ray_cluster import RayCluster, started
from tests.servers import serving
from tests.sweeps import PLAIN, tiny_spec

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

#: seconds for which anything is waited for; on a quiet machine nothing takes so long
WITHIN_S = 600.0


@pytest.fixture(scope="module")
def place(workplace: Callable[[str], Path], ray_cluster: RayCluster) -> Place:
    """A folder of the driver, which knows the address of the cluster."""
    folder = workplace("driver")
    write_text(folder / "words.txt")
    return Place(folder, {**ray_cluster.login})


Runs = list[dict[str, str]]


def trials_of(store: MlflowStore, sweep: str) -> Runs:
    """Tags and status of all runs of trials of a sweep in the store."""
    runs = store.runs({Tag.NAME: sweep})
    return [
        run.data.tags | {"status": run.info.status} for run in runs if Tag.TRIAL in run.data.tags
    ]


def test_each_trial_finishes_once_though_nodes_come_and_go_and_it_is_stopped(
    place: Place, ray_cluster: RayCluster
) -> None:
    """The sweep is stopped once all has happened, however long that takes, and then goes on."""
    store = MlflowStore(load(place.folder, {}))
    spec = place.folder / "sweep.yaml"
    spec.write_text("data: words.txt\ntrials: 2000\nconfirm_configs: 0\n", encoding="utf-8")
    options = ("--name", "both", "--seed", "3", "--on", "ray", "--json", *TINY, "--epochs", "40")
    with contextlib.ExitStack() as nodes:
        nodes.callback(ray_cluster.remove, "doomed")
        ray_cluster.add("doomed", num_cpus=1)
        process = place.start("launch", spec, *options)

        def wait(done: Callable[[Runs], object]) -> None:
            wait_until(lambda: bool(done(trials_of(store, "both"))), process, WITHIN_S)

        wait(lambda runs: ended(runs, "complete", "doomed"))
        ray_cluster.add("late", num_cpus=1)
        nodes.callback(ray_cluster.remove, "late")
        while True:
            wait(lambda runs: has_open(runs, "doomed"))
            ray_cluster.remove("doomed")
            wait(lambda runs: not has_open(runs, "doomed"))
            if ended(trials_of(store, "both"), "lost"):
                break
            ray_cluster.add("doomed", num_cpus=1)  # it had died between two trials
        others = ("one", "two", "late")
        wait(lambda runs: all(ended(runs, "complete", node) for node in others))
        wait(lambda runs: ended(runs, "lost") <= ended(runs, "complete"))
        assert len(ray_cluster.agents("one")) > 3
        assert place.run("stop", "both").code == 0
        out, err = process.communicate(timeout=WITHIN_S)
    assert left(ray_cluster) == set()
    runs = trials_of(store, "both")
    assert {run["sweep.outcome"] for run in runs} == {"complete", "lost", "stopped"}
    assert {run["status"] for run in runs} <= {"FINISHED", "FAILED", "KILLED"}
    ends = Counter(run["sweep.trial"] for run in runs if run["sweep.outcome"] != "lost")
    assert set(ends.values()) == {1}
    lost = [run for run in runs if run["sweep.outcome"] == "lost"]
    assert {run["sweep.node"] for run in lost} == {"doomed"}
    assert json.loads(out)["state"] == "stopped", err  # Ray prints nothing beside it

    trials = len(ends) + 1
    done = place.run("resume", "both", "--on", "ray", "--trials", str(trials), "--json")
    assert done.code == 0, done.err
    assert done.json["trials"] == {"complete": trials}
    assert left(ray_cluster) == set()


def test_classes_are_learned_on_a_cluster_as_at_home(place: Place) -> None:
    write_rows(place.folder / "rows.tsv")
    options = ("--trials", "2", "--confirm-configs", "0", "--prior", "off", "--halving", "off")
    done = place.run(*DATA, "--name", "classes", "--on", "ray", *SEARCH, *options)
    assert done.json["trials"] == {"complete": 2}, done.err
    again = place.run("rerun", done.json["best"]["trial"], "--json").json  # at home
    assert (again["verdict"], again["max_difference"]) == ("identical", 0)


def left(cluster: RayCluster) -> set[int]:
    """Processes of agents and workers on the nodes that stay, after they had time to end."""
    until = time.monotonic() + 60
    while True:
        found = set[int]().union(*(cluster.agents(name) for name in ("one", "two")))
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.2)


def ended(runs: Runs, outcome: str, node: str | None = None) -> set[str]:
    """Numbers of trials that have ended so, on a node if one is named."""
    return {
        run["sweep.trial"]
        for run in runs
        if run.get("sweep.outcome") == outcome and node in (None, run["sweep.node"])
    }


def has_open(runs: Runs, node: str) -> bool:
    """Whether a trial runs on a node."""
    return any(run["status"] == "RUNNING" and run.get("sweep.node") == node for run in runs)


# The head of a Ray cluster dies, and with it the cluster: a sweep goes on on another one


#: seconds after which Ray takes a head that does not answer for dead, instead of 60
SOON = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}


def alive(processes: set[int]) -> set[int]:
    """Those of some processes that are still there 30 seconds later, or as soon as none is."""
    until = time.monotonic() + 30
    while (left := {pid for pid in processes if Path(f"/proc/{pid}").exists()}) and (
        time.monotonic() < until
    ):
        time.sleep(0.2)
    return left


def test_a_sweep_whose_cluster_has_died_goes_on_on_another(
    workplace: Callable[[str], Path],
) -> None:
    folder = workplace("beheaded")
    write_text(folder / "words.txt")
    options = ("--name", "s", "--on", "ray", *TINY, "--epochs", "30")
    with ray_cluster.running("one", **SOON) as first:
        place = Place(folder, first.login | SOON)
        process = place.start(
            "launch", "--data", "words.txt", "--trials", "3", "--confirm-configs", "0", *options
        )
        wait_until(lambda: len(first.agents("one")) > 3, process)
        wait_until(lambda: "complete" in str(place.trials("s")), process)
        workers = first.agents("one")
        first.behead()
        process.communicate(timeout=300)
        assert process.returncode == 1
        assert alive(workers) == set()
        first.remove("one")
    with ray_cluster.running("two") as second:
        place = Place(folder, second.login)
        done = place.run("resume", "s", "--on", "ray", "--json")
    assert done.code == 0, done.err
    assert done.json["trials"] == {"complete": 3}
    assert {row["outcome"] for row in place.trials("s")} == {"complete"}


PACKAGE = Path(lstm_sweep.__file__).parent


def test_the_program_comes_to_nodes_that_do_not_have_it(
    workplace: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, python = workplace("sent"), str(python_without_program(tmp_path / "venv"))
    write_text(folder / "words.txt")
    store = f"sqlite:///{folder / 'mlflow.db'}"
    wanted = {"py_modules": [str(PACKAGE)], "env_vars": {"MLFLOW_TRACKING_URI": store}}
    with started(python=python) as head:
        # Ray takes its address, which tests of other clusters set, before --address
        own = {"RAY_ADDRESS": head.address, "RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path)}
        done = run_command(
            *(python, "-m", "ray.scripts.scripts", "job", "submit", "--address", head.address),
            *("--runtime-env-json", json.dumps(wanted), "--"),
            *("python", "-m", "lstm_sweep", "launch", "--on", "ray", "--name", "sent"),
            *("--data", str(folder / "words.txt"), "--trials", "2"),
            *("--confirm-configs", "0", *TINY),
            cwd=folder,
            environment=outside() | own,
        )
    assert done.code == 0, done
    records = reader.trials(MlflowStore(load(folder, {"MLFLOW_TRACKING_URI": store})), "sent")
    assert [record.outcome for record in records] == ["complete"] * 2


# `serve --on ray`: two sweeps share the slots of a real cluster


#: trials of each of the two sweeps; the second is not to be over before it is paused
TRIALS = {"a": 6, "b": 14}


def test_two_sweeps_share_a_cluster(
    workplace: Callable[[str], Path], ray_cluster: RayCluster
) -> None:
    folder, login = workplace("on_ray"), dict(ray_cluster.login)
    options = ("--no-mlflow", "--on", "ray", "--data-root", ".", "--address")
    with serving(folder, *options, login.pop("RAY_ADDRESS"), **login) as (told, service):
        share(folder, told["url"], service)
    assert all(ray_cluster.agents(node) == set() for node in ("one", "two"))


def share(folder: Path, url: str, service: Started) -> None:
    """Have two sweeps share the slots, pause one, and resume it, until both have ended."""
    data, settings = write_text(folder / "words.txt"), load(folder, {})
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


def _ask(url: str, path: str, data: bytes | None = None) -> Any:
    """What the service answers."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/v1/{path}", data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _trials(store: Store) -> list[dict[str, str]]:
    """Tags of the runs of trials."""
    return [run.data.tags for run in store.runs() if Tag.TRIAL in run.data.tags]
