"""A sweep on a Ray cluster: nodes come and go, it is stopped, goes on, and has the same bits."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_sweep.search.store.settings import load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import MlflowStore
from tests.acceptance.test_class_sweep import DATA, SEARCH, write_rows
from tests.cases import Place
from tests.conftest import TINY, wait_until, write_text
from tests.ray_cluster import RayCluster

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
    found = []
    for engine in ("local", "ray"):
        place.run(*DATA, "--name", engine, "--on", engine, *SEARCH, *options)
        rows = place.trials(engine)
        found.append([(row["config"], row["val_loss"], row["outcome"]) for row in rows])
    assert found[0] == found[1] and len(found[0]) == 2
    again = place.run("rerun", rows[0]["trial"], "--json").json
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
