"""A service whose processes are killed at random, with sweeps of two users in its queue.

    make chaos SERVICE_KILLS=30 SEED=7

Every process is real: the service, its drivers, their forkservers and workers, and MLflow's server.
All sweeps are the same search under other names, so whatever was killed, all must have the same
rounds bit for bit, which are those of `launch` without a service. The seed decides whom each kill
hits, and when.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.store import reader
from lstm_sweep.search.values.trial import RESULTS, Outcome
from tests.chaos.attempts import attempts, result_of
from tests.chaos.processes import all_end
from tests.chaos.service_under_fire import (
    DRAINS_WITHIN_S,
    SLOTS,
    VICTIMS,
    WITHIN_S,
    ServiceUnderFire,
)
from tests.conftest import run_here, write_text

pytestmark = pytest.mark.full

#: whether `make chaos` is running
LONG = "CHAOS_KILLS" in os.environ
KILLS = int(os.environ.get("CHAOS_KILLS", "4"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
SWEEPS, TRIALS, EPOCHS = (5, 3, 150) if LONG else (3, 2, 80)
#: kills while the same sweeps are in the queue, at most
KILLS_PER_QUEUE = 15
#: name of the sweep that no service runs
ALONE = "alone"
#: what each sweep searches, but for its name
SPACE: dict[str, Any] = {
    "direction": ["uni", "bi"], "dropout": {"low": 0, "high": 0.5}, "layer_size": 6,
    "sequence_length": 8, "stride": 8, "epochs": EPOCHS,
}  # fmt: skip
SEARCH: dict[str, Any] = {
    "data": "server:words.txt", "space": SPACE, "trials": TRIALS, "algo": "random",
    "ladder": False, "halving": False, "early_stopping": 0, "confirm_configs": 0, "prior": False,
    "targets": 100, "size_rule": "off", "max_failures": 99,
}  # fmt: skip


def submit_all(service: ServiceUnderFire, pauses: list[float]) -> None:
    """Queue the sweeps of two users, one after the other."""
    for number, pause in enumerate(pauses):
        time.sleep(pause)
        service.submit("ann" if number % 2 else "bob", SEARCH | {"name": f"s{number}"})


def run(service: ServiceUnderFire, rng: random.Random, kills: int) -> None:
    """Kill so many times while sweeps are queued and run, then let them end."""
    service.start()
    service.watch()
    pauses = [rng.uniform(0.0, 4.0) for _ in range(SWEEPS)]
    submitter = threading.Thread(target=submit_all, args=(service, pauses))
    submitter.start()
    while service.killed.total() < kills and not has_ended(service):
        if rng.random() < 0.7:
            wait_for_a_worker(service)
        time.sleep(rng.uniform(0.0, 5.0))
        service.strike()
    submitter.join(WITHIN_S)
    assert service.queued == [f"s{number}" for number in range(SWEEPS)]
    if not has_ended(service):
        wait_for_a_worker(service)
        service.drain()
        assert all_end(service.mark, 60.0) == []
        service.start()
    until = time.monotonic() + WITHIN_S
    while not has_ended(service):
        assert time.monotonic() < until, (service.log(), states(service))
    service.drain()
    assert all_end(service.mark, 60.0) == []


def states(service: ServiceUnderFire) -> dict[str, str]:
    """The state of each sweep that the store has."""
    found = reader.sweeps(service.store)
    return {run.data.tags["sweep.name"]: run.data.tags["sweep.state"] for run in found}


def has_ended(service: ServiceUnderFire) -> bool:
    """Whether all sweeps have ended."""
    time.sleep(0.5)
    found = states(service)
    return len(found) >= SWEEPS and not set(found.values()) & {"queued", "running", "interrupted"}


def wait_for_a_worker(service: ServiceUnderFire) -> None:
    """Wait until a trial is trained."""
    until = time.monotonic() + WITHIN_S
    while "worker" not in service.processes().values() and not has_ended(service):
        assert time.monotonic() < until, service.log()


def check(service: ServiceUnderFire) -> int:
    """Nothing is lost, doubled, left open or out of order; return how many attempts were."""
    store = service.store
    assert states(service) == dict.fromkeys(service.queued, "finished")
    assert len(reader.sweeps(store)) == SWEEPS
    count, rounds = 0, dict[int, list[Any]]()
    launch_alone(service.folder)
    for name in (ALONE, *service.queued):
        records = attempts(store, name, TRIALS)
        count += len(records)
        for number in range(TRIALS):
            whole = result_of(records, number)
            if whole:
                assert (whole.outcome, whole.epochs) == (Outcome.COMPLETE, EPOCHS)
                found = {metric: store.history(whole.run_id, metric) for metric in RESULTS}
                assert sorted(found["val_loss"]) == list(range(1, EPOCHS + 1))
                rounds.setdefault(number, []).append(found)
    for same in rounds.values():
        assert all(one == same[0] for one in same)
    assert sum(len(same) for same in rounds.values()) > SWEEPS
    check_queue(service)
    return count - (SWEEPS + 1) * TRIALS


def launch_alone(folder: Path) -> None:
    """Run the same search without a service, whose rounds are those of its sweeps."""
    spec = folder / "alone.json"
    data = str(folder / "words.txt")
    spec.write_text(json.dumps(SEARCH | {"name": ALONE, "data": data}), encoding="utf-8")
    assert run_here("launch", spec, cwd=folder).code == 0


def check_queue(service: ServiceUnderFire) -> None:
    """Each sweep was in the queue until its end, and a user's were driven in their order.

    As many were driven at once as there are slots, and the others waited in that order. Between
    users the scheduler decides, who share the slots evenly.
    """
    for name in service.queued:
        seen = [number for number, look in enumerate(service.looks) if name in look]
        assert seen == list(range(seen[0], seen[-1] + 1)), name
    some = 0
    for own in (service.queued[::2], service.queued[1::2]):  # those of `submit_all`'s users
        begun = list[str]()
        for look in service.looks:
            new = {name for name in own if look.get(name) and name not in begun}
            waiting = [name for name in look if name in own and name not in {*begun, *new}]
            assert waiting == sorted(waiting, key=own.index)
            begun += sorted(new, key=own.index)
        assert begun == [name for name in own if name in begun]
        some += len(begun)
    assert some > SLOTS


@pytest.mark.timeout(max(900, 240 * KILLS))
def test_a_service_killed_at_random_loses_no_sweep_and_keeps_the_order_of_each_user(
    workplace: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    victims = list[str]()
    killed: Counter[str] = Counter()
    queues = repeated = 0
    drains = list[float]()
    while killed.total() < KILLS:
        folder = workplace(f"service{queues}")
        write_text(folder / "words.txt", seed=queues)
        service = ServiceUnderFire(folder, rng, victims)
        try:
            run(service, rng, min(KILLS_PER_QUEUE, KILLS - killed.total()))
            repeated += check(service)
        finally:
            service.end()
        killed += service.killed
        drains += service.drains_s
        queues += 1
        with capsys.disabled():
            print(
                f"\nseed {SEED}: {killed.total()} kills {dict(killed)}, {queues} times {SWEEPS} "
                f"sweeps, {repeated} attempts repeated, nothing lost; SIGTERM took at most "
                f"{max(drains):.1f} s"
            )
    assert sum(VICTIMS.values()) > KILLS or set(killed) == set(VICTIMS)
    assert not LONG or max(drains) < DRAINS_WITHIN_S
