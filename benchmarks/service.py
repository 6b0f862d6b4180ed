"""What a service bears: many who poll, submit and listen while two trials train.

    python -m benchmarks.service [--pollers 200] [--submitters 20] [--listeners 100] [--seconds 15]

It starts the real service in a folder of its own, and measures how long that takes to answer, and
how much memory it and MLflow's server have when nothing happens. Then a sweep trains two trials, in
phases without and with clients in turn, so that other use of the machine hits both alike. The
clients run in this process; on a machine with two cores they take from the trainings too, so what
they cost is shown apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

#: trials that train at once, each on a processor
SLOTS = 2
#: seconds that anything may take
WITHIN_S = 300.0
#: rounds of all trials that are done before anything is measured
SOME_ROUNDS = 6
#: two trials that do not end by themselves, on two slots, whose rounds take seconds
LONG = {
    "name": "long", "data": "server:words.txt", "trials": 2, "algo": "random", "ladder": False,
    "halving": False, "early_stopping": 0, "confirm_configs": 0, "prior": False, "priority": 1,
    "targets": 1_000, "size_rule": "off",
    "space": {
        "layer_size": 128, "sequence_length": 50, "batch_size": 64, "dropout": [0.1, 0.2],
        "epochs": 5_000,
    },
}  # fmt: skip


#: what clients who poll ask for, of the sweep that trains
POLLED = ("sweeps/long", "sweeps/long/trials", "queue", "sweeps")
#: seconds in which clients come or go
SETTLING_S = 3.0


@dataclass
class Load:
    """What clients have found."""

    reads_s: list[float] = field(default_factory=list)
    submits_s: list[float] = field(default_factory=list)
    events: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Clients:
    """How many clients there are, and what they do."""

    url: str
    pollers: int
    submitters: int
    listeners: int
    #: seconds between two questions of one who polls
    every_s: float
    #: seconds between two sweeps of one who submits
    submit_every_s: float
    #: what is submitted, and numbers for the names
    sweep: Mapping[str, Any]
    numbers: Iterable[int]

    async def run(self, seconds: float, load: Load) -> None:
        """Let all clients do what they do for so long."""
        connector = aiohttp.TCPConnector(limit=0)
        until = time.monotonic() + seconds
        async with aiohttp.ClientSession(connector=connector) as session:
            tasks = [
                *(self._poll(session, until, load) for _ in range(self.pollers)),
                *(self._submit(session, until, load) for _ in range(self.submitters)),
                *(self._listen(session, until, load) for _ in range(self.listeners)),
            ]
            await asyncio.gather(*tasks)

    async def _ask(
        self, session: aiohttp.ClientSession, times: list[float], load: Load, path: str, **more: Any
    ) -> None:
        began = time.monotonic()
        method = "POST" if more else "GET"
        try:
            async with session.request(method, f"{self.url}/api/v1/{path}", **more) as answer:
                text = await answer.text()
                if answer.status >= 300:
                    load.errors.append(f"{path}: {answer.status} {text}")
        except (aiohttp.ClientError, TimeoutError) as error:
            load.errors.append(f"{path}: {error!r}")
        times.append(time.monotonic() - began)

    async def _poll(self, session: aiohttp.ClientSession, until: float, load: Load) -> None:
        paths = itertools.cycle(random.sample(POLLED, len(POLLED)))
        wait_s = random.uniform(0, self.every_s)
        while await _waited(wait_s, until):
            await self._ask(session, load.reads_s, load, next(paths))
            wait_s = self.every_s

    async def _submit(self, session: aiohttp.ClientSession, until: float, load: Load) -> None:
        wait_s = random.uniform(0, self.submit_every_s)
        while await _waited(wait_s, until):
            name = f"short-{next(iter(self.numbers))}"
            body = {**self.sweep, "name": name, "priority": 0}
            await self._ask(session, load.submits_s, load, "sweeps", json=body)
            wait_s = self.submit_every_s

    async def _listen(self, session: aiohttp.ClientSession, until: float, load: Load) -> None:
        url = f"{self.url}/api/v1/sweeps/long/events"
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + SETTLING_S):
                answer = await session.get(url, timeout=aiohttp.ClientTimeout(total=None))
            if answer.status != 200:
                load.errors.append(f"events: {answer.status}")
            async with asyncio.timeout(max(0.1, until - time.monotonic())):
                async for line in answer.content:
                    load.events += line.startswith(b"event:")
            load.errors.append("events: the stream has ended")
        except TimeoutError:
            pass
        except aiohttp.ClientError as error:
            load.errors.append(f"events: {error!r}")


async def _waited(seconds: float, until: float) -> bool:
    """Wait; whether that was before a time of the clock, at which waiting ends."""
    left = until - time.monotonic()
    await asyncio.sleep(max(0.0, min(seconds, left)))
    return seconds < left


class Site:
    """The service in a folder of its own."""

    def __init__(self, folder: Path, slots: int) -> None:
        self.folder, self._slots = folder, slots
        rng = random.Random(0)
        words = ["sun", "moon", "river", "stone", "and", "under", "the", "of"]
        text = " ".join(rng.choice(words) for _ in range(30_000))
        (folder / "words.txt").write_text(text, encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = str(probe.getsockname()[1])
        self._process: subprocess.Popen[str] | None = None
        self.told: dict[str, Any] = {}

    def start(self, *options: str) -> float:
        """Start it; seconds until it has answered."""
        began = time.monotonic()
        command = ["serve", "--json", "--port", self._port, "--slots", str(self._slots)]
        command += ["--data-root", str(self.folder)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lstm_sweep", *command, *options],
            cwd=self.folder,
            env=os.environ | {"LSTM_SWEEP_SLOTS": str(self.folder / "slots")},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self.told = json.loads(self._process.stdout.readline())
        self.ask("health")
        return time.monotonic() - began

    def ask(self, path: str, body: Any = None) -> Any:
        """What the service answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.told['url']}/api/v1/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wait_for_mlflow(self) -> None:
        """Wait until MLflow's server answers."""
        for _ in range(int(WITHIN_S)):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.told['mlflow_url']}/health", timeout=5).close()
                return
            time.sleep(1.0)
        raise SystemExit("MLflow's server does not answer")

    @property
    def process(self) -> psutil.Process:
        """The process of the service."""
        assert self._process
        return psutil.Process(self._process.pid)

    def end(self) -> None:
        """End it."""
        assert self._process
        self._process.terminate()
        self._process.wait(WITHIN_S)


def memory_mb(processes: Iterable[psutil.Process]) -> float:
    """Memory of processes; what several share is counted once (PSS), MB."""
    return float(sum(process.memory_full_info().pss for process in processes)) / 1e6


def cpu_s(process: psutil.Process) -> float:
    """Seconds that a process has computed."""
    times = process.cpu_times()
    return float(times.user + times.system)


def rounds_of(site: Site) -> list[tuple[float, float]]:
    """When each round of the long trials was logged, seconds since 1970, and how long it took."""
    from lstm_sweep.search.store import reader
    from lstm_sweep.search.store.settings import load
    from lstm_sweep.search.store.tracking import MlflowStore

    store, found = MlflowStore(load(site.folder, {})), []
    for record in reader.trials(store, "long"):
        history = store.client.get_metric_history(record.run_id, "round_seconds")
        found += [(one.timestamp / 1000, one.value) for one in history]
    return found


def all_train(site: Site) -> bool:
    """Whether each slot has a trial, and some rounds of them are done."""
    [long] = site.ask("queue")["queue"]
    return bool(long["slots"] == SLOTS) and len(rounds_of(site)) >= SOME_ROUNDS


def pace(rounds: list[tuple[float, float]], phases: list[tuple[float, float]]) -> float:
    """Rounds per second of training within phases."""
    within = [
        seconds
        for logged, seconds in rounds
        if any(begin + SETTLING_S <= logged <= end for begin, end in phases)
    ]
    return len(within) / sum(within)


def answered(what: str, times_s: list[float]) -> dict[str, Any]:
    """How long answers took: half of them, and 95 % of them; nothing if there were too few."""
    if len(times_s) < 2:
        return {}
    found = {"median": statistics.median(times_s), "95 %": statistics.quantiles(times_s, n=20)[18]}
    return {f"{what}, {name}, ms": 1000 * value for name, value in found.items()}


def measure(site: Site, clients: Clients, seconds: float, repeats: int) -> dict[str, Any]:
    """Train with and without clients in turn; what was found."""
    phases: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    load, own_s, service_s = Load(), 0.0, {False: 0.0, True: 0.0}
    for with_clients in [False, True] * repeats:
        began, own, service = time.time(), time.process_time(), cpu_s(site.process)
        if with_clients:
            asyncio.run(clients.run(seconds, load))
            own_s += time.process_time() - own
        else:
            time.sleep(seconds)
        service_s[with_clients] += cpu_s(site.process) - service
        phases[with_clients].append((began, time.time()))
    rounds = rounds_of(site)
    quiet, busy = pace(rounds, phases[False]), pace(rounds, phases[True])
    total = seconds * repeats
    for error in load.errors[:5]:
        print(f"error: {error[:200]}", file=sys.stderr)
    return {
        "answers to who polls": len(load.reads_s),
        "sweeps submitted": len(load.submits_s),
        "events received": load.events,
        "errors": len(load.errors),
        **answered("read", load.reads_s),
        **answered("submit", load.submits_s),
        "rounds per second of one trial, without clients": quiet,
        "rounds per second of one trial, with clients": busy,
        "training slowed, %": 100 * (1 - busy / quiet),
        "of which by the clients, %": 100 * own_s / total / SLOTS,
        "processors that the service takes": service_s[True] / total,
        "processors that it takes without clients": service_s[False] / total,
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pollers", type=int, default=200)
    parser.add_argument("--submitters", type=int, default=20)
    parser.add_argument("--listeners", type=int, default=100)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two polls of one")
    parser.add_argument(
        "--submit-every", type=float, default=60.0, help="seconds between two sweeps of one"
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="of each phase")
    parser.add_argument("--repeats", type=int, default=2, help="phases with and without clients")
    given = parser.parse_args()
    found: dict[str, Any] = {"others that use the machine (load)": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as scratch:
        site = Site(Path(scratch), SLOTS)
        site.start("--no-mlflow")  # makes the tables of the store
        site.end()
        found["start to first answer, s"] = site.start("--no-mlflow")
        found["of which it computes, s"] = cpu_s(site.process)
        site.end()
        site.start()
        try:
            site.wait_for_mlflow()
            time.sleep(5.0)
            found["memory of the service, MB"] = memory_mb([site.process])
            found["memory with MLflow's server, MB"] = memory_mb(
                [site.process, *site.process.children(recursive=True)]
            )
            site.ask("sweeps", LONG)
            until = time.monotonic() + WITHIN_S
            while not all_train(site):
                if time.monotonic() > until:
                    raise SystemExit("the trials do not train")
                time.sleep(1.0)
            clients = Clients(
                site.told["url"], given.pollers, given.submitters, given.listeners, given.every,
                given.submit_every, LONG, itertools.count(),
            )  # fmt: skip
            found |= measure(site, clients, given.seconds, given.repeats)
        finally:
            site.end()
    for name, value in found.items():
        print(f"{name:<52} {value:>10.3f}" if isinstance(value, float) else f"{name:<52} {value}")


if __name__ == "__main__":
    main()
