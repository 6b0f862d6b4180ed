"""A sweep on a Ray cluster whose runs are in PostgreSQL, behind MLflow's server."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from mlflow import MlflowClient

from tests import postgres
from tests.cases import Place
from tests.conftest import TINY, wait_until, write_text
from tests.postgres import named, write_settings
from tests.ray_cluster import RayCluster
from tests.servers import served

pytestmark = pytest.mark.full

TRIALS = 20
PASSWORD = "a password of the tests"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, ray_cluster: RayCluster) -> Iterator[Place]:
    """A folder of the driver, which knows the addresses of the cluster and of the server."""
    folder, server = tmp_path_factory.mktemp("driver"), tmp_path_factory.mktemp("server")
    write_text(folder / "words.txt")
    login = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    with postgres.running() as database:
        database.client("createdb", "lstm_sweep")
        write_settings(server, database.address("lstm_sweep"), str(server / "artifacts"))
        secrets = {**database.login, "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}
        with served(server, "--host", "127.0.0.1", **secrets, **named(server)) as address:
            yield Place(folder, {"MLFLOW_TRACKING_URI": address, **login, **ray_cluster.login})


def runs_of(place: Place, sweep: str) -> list[dict[str, Any]]:
    """Tags and status of all runs of a sweep in the store."""
    with mock.patch.dict(os.environ, place.environment):
        client = MlflowClient()
        experiments = [found.experiment_id for found in client.search_experiments()]
        found = client.search_runs(experiments, f"tags.`sweep.name` = '{sweep}'", max_results=1000)
    return [run.data.tags | {"status": run.info.status, "run": run.info.run_id} for run in found]


def test_each_trial_finishes_once_though_a_node_joins_and_another_dies(
    place: Place, ray_cluster: RayCluster, tmp_path: Path
) -> None:
    spec = place.folder / "sweep.yaml"
    spec.write_text(f"data: words.txt\ntrials: {TRIALS}\nconfirm_configs: 0\n", encoding="utf-8")
    options = ("--name", "both", "--seed", "3", "--on", "ray", "--json", *TINY, "--epochs", "500")
    ray_cluster.add("doomed")
    process = place.start("launch", spec, *options)
    wait_until(lambda: bool(running(place, "both", "doomed")), process)
    ray_cluster.add("late")
    try:
        wait_until(lambda: bool(running(place, "both", "late")), process)
        wait_until(lambda: finished(place, "both", "doomed") >= 1, process)
        # a trial that it has just begun is lost with it
        before = running(place, "both", "doomed")
        wait_until(lambda: bool(running(place, "both", "doomed") - before), process)
        ray_cluster.remove("doomed")
        out, err = process.communicate(timeout=500)
        assert process.wait() == 0, err
    finally:
        ray_cluster.remove("late")
    check(place, "both", {"one", "two", "doomed", "late"})
    result = json.loads(out)  # Ray prints nothing beside it
    assert result["trials"] == {"complete": TRIALS}


def test_a_sweep_that_is_stopped_leaves_nothing_and_goes_on(
    place: Place, ray_cluster: RayCluster
) -> None:
    options = ("--name", "again", "--seed", "3", "--on", "ray", *TINY, "--epochs", "600")
    arguments = ("launch", "--data", "words.txt", "--trials", "6", "--confirm-configs", "0")
    process = place.start(*arguments, *options)
    wait_until(lambda: any(run.get("sweep.node") for run in runs_of(place, "again")), process)
    wait_until(lambda: len(ray_cluster.agents("one")) > 3, process)
    assert place.run("stop", "again").code == 0
    process.communicate(timeout=60)
    assert left(ray_cluster) == set()
    statuses = Counter(run["status"] for run in runs_of(place, "again"))
    assert set(statuses) <= {"KILLED", "FINISHED"}
    done = place.run("resume", "again", "--on", "ray", "--json")
    assert done.code == 0, done.err
    assert done.json["trials"] == {"complete": 6}


def test_the_same_file_has_the_same_results_at_home_and_on_a_cluster(place: Place) -> None:
    spec = place.folder / "same.yaml"
    spec.write_text(
        "data: words.txt\ntrials: 2\nseed: 5\nconfirm_configs: 0\nprior: off\n", encoding="utf-8"
    )
    found = []
    for engine in ("local", "ray"):
        done = place.run("launch", spec, "--name", engine, "--on", engine, "--json", *TINY)
        assert done.code == 0, done.err
        rows = place.trials(engine)
        found.append([(row["config"], row["val_loss"], row["outcome"]) for row in rows])
    assert found[0] == found[1] and len(found[0]) == 2


def left(cluster: RayCluster) -> set[int]:
    """Processes of agents and workers on the nodes that stay, after they had time to end."""
    until = time.monotonic() + 15
    while True:
        found = set[int]().union(*(cluster.agents(name) for name in ("one", "two")))
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.2)


def finished(place: Place, sweep: str, node: str) -> int:
    """How many trials have finished on a node."""
    done = [run for run in runs_of(place, sweep) if run["status"] == "FINISHED"]
    return sum(run.get("sweep.node") == node for run in done)


def running(place: Place, sweep: str, node: str) -> set[str]:
    """IDs of the runs of trials that run on a node."""
    open_runs = [run for run in runs_of(place, sweep) if run["status"] == "RUNNING"]
    return {run["run"] for run in open_runs if run.get("sweep.node") == node}


def check(place: Place, sweep: str, nodes: set[str]) -> None:
    """Each trial has one run that has finished, on one of the nodes; others of it were lost."""
    runs = [run for run in runs_of(place, sweep) if "sweep.trial" in run]
    failed = {run["sweep.outcome"] for run in runs if run["status"] == "FAILED"}
    assert failed <= {"lost"} and {run["status"] for run in runs} <= {"FINISHED", "FAILED"}
    ends = Counter((int(run["sweep.trial"]), run["sweep.outcome"]) for run in runs)
    complete = {number: count for (number, outcome), count in ends.items() if outcome == "complete"}
    assert complete == dict.fromkeys(range(TRIALS), 1)
    assert {outcome for _, outcome in ends} <= {"complete", "lost"}
    assert {run["sweep.node"] for run in runs if run["sweep.outcome"] == "complete"} == nodes
    lost = [run for run in runs if run["sweep.outcome"] == "lost"]
    assert 1 <= len(lost) <= 4 and {run["sweep.node"] for run in lost} == {"doomed"}
    parents = [run for run in runs_of(place, sweep) if "sweep.trial" not in run]
    assert "RUNNING" not in {run["status"] for run in parents}
