"""The head of a Ray cluster dies, and with it the cluster: a sweep goes on on another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ray_cluster
from tests.cases import Place
from tests.conftest import TINY, wait_until, write_text

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


@pytest.mark.full
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
