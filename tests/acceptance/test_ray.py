"""A sweep on a Ray cluster whose runs are in PostgreSQL, behind MLflow's server."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
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

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]

#: seconds for which anything is waited for; on a quiet machine nothing takes so long
WITHIN_S = 600.0
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
    return [run.data.tags | {"status": run.info.status} for run in found]


def trials_of(place: Place, sweep: str) -> list[dict[str, Any]]:
    """The same of its trials alone."""
    return [run for run in runs_of(place, sweep) if "sweep.trial" in run]


def test_each_trial_finishes_once_though_a_node_joins_and_another_dies(
    place: Place, ray_cluster: RayCluster
) -> None:
    """The sweep is stopped once all has happened, however long that takes."""
    spec = place.folder / "sweep.yaml"
    spec.write_text("data: words.txt\ntrials: 2000\nconfirm_configs: 0\n", encoding="utf-8")
    options = ("--name", "both", "--seed", "3", "--on", "ray", "--json", *TINY, "--epochs", "60")
    with contextlib.ExitStack() as nodes:
        nodes.callback(ray_cluster.remove, "doomed")
        ray_cluster.add("doomed", num_cpus=1)
        process = place.start("launch", spec, *options)

        def wait(done: Callable[[list[dict[str, Any]]], object]) -> None:
            wait_until(lambda: bool(done(trials_of(place, "both"))), process, WITHIN_S)

        wait(lambda runs: ended(runs, "complete", "doomed"))
        ray_cluster.add("late", num_cpus=1)
        nodes.callback(ray_cluster.remove, "late")
        while True:
            wait(lambda runs: has_open(runs, "doomed"))
            ray_cluster.remove("doomed")
            wait(lambda runs: not has_open(runs, "doomed"))
            if ended(trials_of(place, "both"), "lost"):
                break
            ray_cluster.add("doomed", num_cpus=1)  # it had died between two trials
        others = ("one", "two", "late")
        wait(lambda runs: all(ended(runs, "complete", node) for node in others))
        wait(lambda runs: ended(runs, "lost") <= ended(runs, "complete"))
        assert place.run("stop", "both").code == 0
        out, err = process.communicate(timeout=WITHIN_S)
    runs = trials_of(place, "both")
    assert {run["sweep.outcome"] for run in runs} == {"complete", "lost", "stopped"}
    assert {run["status"] for run in runs} <= {"FINISHED", "FAILED", "KILLED"}
    ends = Counter(run["sweep.trial"] for run in runs if run["sweep.outcome"] != "lost")
    assert set(ends.values()) == {1}
    lost = [run for run in runs if run["sweep.outcome"] == "lost"]
    assert {run["sweep.node"] for run in lost} == {"doomed"}
    assert json.loads(out)["state"] == "stopped", err  # Ray prints nothing beside it


def test_a_sweep_that_is_stopped_leaves_nothing_and_goes_on(
    place: Place, ray_cluster: RayCluster
) -> None:
    options = ("--name", "again", "--seed", "3", "--on", "ray", *TINY, "--epochs", "200")
    arguments = ("launch", "--data", "words.txt", "--trials", "6", "--confirm-configs", "0")
    process = place.start(*arguments, *options)
    wait_until(
        lambda: any(run.get("sweep.node") for run in runs_of(place, "again")), process, WITHIN_S
    )
    wait_until(lambda: len(ray_cluster.agents("one")) > 3, process, WITHIN_S)
    assert place.run("stop", "again").code == 0
    process.communicate(timeout=WITHIN_S)
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
    until = time.monotonic() + 60
    while True:
        found = set[int]().union(*(cluster.agents(name) for name in ("one", "two")))
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.2)


def ended(runs: list[dict[str, Any]], outcome: str, node: str | None = None) -> set[str]:
    """Numbers of trials that have ended so, on a node if one is named."""
    return {
        run["sweep.trial"]
        for run in runs
        if run.get("sweep.outcome") == outcome and node in (None, run["sweep.node"])
    }


def has_open(runs: list[dict[str, Any]], node: str) -> bool:
    """Whether a trial runs on a node."""
    return any(run["status"] == "RUNNING" and run.get("sweep.node") == node for run in runs)
