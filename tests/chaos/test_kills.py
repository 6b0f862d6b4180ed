"""Sweeps whose processes are killed at random moments, over and over; nothing may be lost.

    make chaos KILLS=200 SEED=7

Every process is real: the program, its forkserver, its workers, and in every other sweep a tracking
server. The seed decides whom the next kill hits and how long it waits. The short form, which is one
of the tests that always run, has one sweep, with a server, which is the first to be killed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.search.driver.read_back import read_sweep
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.values.trial import RESULTS, Outcome, ranked
from tests.chaos.attempts import attempts, result_of
from tests.chaos.processes import MARK, all_end, kill, marked
from tests.conftest import TINY, Done, run_program, write_text
from tests.launcher import PROGRAM
from tests.servers import Server

pytestmark = pytest.mark.full

#: whether `make chaos` is running
LONG = "CHAOS_KILLS" in os.environ
KILLS = int(os.environ.get("CHAOS_KILLS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
#: whom a kill hits, and how often relative to the others
VICTIMS = {"worker": 5, "driver": 3, "forkserver": 2, "everything": 2}
EPOCHS, TRIALS = 40, 6 if LONG else 3
#: kills of one sweep, at most
KILLS_PER_SWEEP = 12 if LONG else 2
WITHIN_S = 600.0
#: the last line of a program to which the server does not answer
DOWN = re.compile("lstm-sweep: store .*(does not answer|expected a store that)")


class Chaos:
    """One sweep under fire."""

    def __init__(
        self,
        folder: Path,
        rng: random.Random,
        server: Server | None,
        cache: Path,
        *,
        halving: bool,
    ) -> None:
        self._folder, self._rng, self._server, self._cache = folder, rng, server, cache
        #: whether trials wait, go on and are pruned
        self._halving = halving
        self.mark = uuid.uuid4().hex
        self.killed: Counter[str] = Counter()
        self.sittings = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def _environment(self) -> dict[str, Any]:
        address = {"MLFLOW_TRACKING_URI": self._server.address} if self._server else {}
        return {MARK: self.mark, "XDG_CACHE_HOME": str(self._cache), **address}

    def store(self) -> Store:
        """The sweep's store."""
        if self._server:
            return MlflowStore(Settings(self._server.address, None, "lstm-sweep", "test"))
        uri = f"sqlite:///{self._folder / 'mlflow.db'}"
        return MlflowStore(
            Settings(uri, (self._folder / "mlartifacts").as_uri(), "lstm-sweep", "test")
        )

    def _program(self, *arguments: str) -> Done:
        given = self._environment
        return run_program(*arguments, cwd=self._folder, timeout_s=WITHIN_S, **given)

    def _sit(self) -> subprocess.Popen[str]:
        """Launch the sweep, or resume it if its run is there."""
        known = self._program("sweeps", "--json").json
        command = ["resume", "s"]
        if not known:
            command = ["launch", "--data", "words.txt", "--name", "s", "--trials", str(TRIALS)]
            command += [*TINY, "--epochs", str(EPOCHS), "--max-failures", "99"]
            command += ["--halving", "on" if self._halving else "off"]
        self.sittings += 1
        return subprocess.Popen(
            [PROGRAM, *command, "--workers", "2", "--json"],
            cwd=self._folder,
            env=os.environ | self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, kills: int) -> None:
        """Kill so many times while the sweep goes on, then let it finish."""
        while True:
            self._process = self._sit()
            while sum(self.killed.values()) < kills and self._process.poll() is None:
                self._wait_for_a_worker()
                time.sleep(self._rng.uniform(0.0, 6.0))
                if self._process.poll() is None:
                    self._kill(self._choose())
            out, err = self._process.communicate(timeout=WITHIN_S)
            code = self._process.returncode
            # who resumes while the server is down is told so in the end, and resumes again
            down = self._server and code in (1, 2) and DOWN.match(err.splitlines()[-1])
            if code != -signal.SIGKILL and not down:
                assert code == 0, (code, out, err[-3000:])
                return

    def _choose(self) -> str:
        if self._server and not self.killed:
            return "server"
        victims = VICTIMS | ({"server": 2} if self._server else {})
        return self._rng.choices(list(victims), list(victims.values()))[0]

    def _kill(self, victim: str) -> None:
        assert self._process
        found = self.processes()
        workers = [pid for pid, kind in found.items() if kind == "worker"]
        if victim == "server":
            assert self._server
            self._server.kill()
            time.sleep(self._rng.uniform(0.0, 3.0))
            self._server.start()
        elif victim == "driver":
            self._process.kill()
        elif victim == "everything":
            for pid in found:
                kill(pid)
        else:
            targets = [pid for pid, kind in found.items() if kind == victim]
            if not targets:
                return
            kill(self._rng.choice(workers if victim == "worker" else targets))
        self.killed[victim] += 1

    def _wait_for_a_worker(self) -> None:
        assert self._process
        until = time.monotonic() + WITHIN_S
        while "worker" not in self.processes().values() and self._process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.1)

    def processes(self) -> dict[int, str]:
        """The sweep's processes, and what each is."""
        found: dict[int, str] = {}
        driver = self._process.pid if self._process else 0
        for one in marked(self.mark):
            if one.pid == driver:
                found[one.pid] = "driver"
            elif "forkserver" in one.line:
                found[one.pid] = "forkserver" if one.parent == driver else "worker"
            else:
                found[one.pid] = "other"
        return found

    def check(self) -> int:
        """Nothing is lost, doubled, left open or left running; return how many attempts were."""
        assert all_end(self.mark, 15.0) == []
        store = self.store()
        [parent] = reader.sweeps(store)
        assert len(read_sweep(store, parent).baselines) == 4
        assert (parent.info.status, parent.data.tags["sweep.state"]) == ("FINISHED", "finished")
        records = attempts(store, "s", TRIALS)
        last = {r.number: r for r in reader.trials(store, "s")}
        assert sorted(last) == list(range(TRIALS))
        for number in last:
            whole = result_of(records, number)
            if whole and not (self._halving and whole.outcome == Outcome.PRUNED):
                assert (whole.outcome, whole.epochs) == (Outcome.COMPLETE, EPOCHS)
        self._check_metrics(store, records, last)
        assert any(record.outcome == Outcome.COMPLETE for record in last.values())
        best = ranked(list(last.values()))[0]
        assert best.has_weights
        left = {path.name for path in (self._cache / "lstm-sweep").iterdir()}
        assert left <= {"graphs"}
        return len(records) - TRIALS

    def _check_metrics(
        self,
        store: Store,
        records: list[TrialRecord],
        last: dict[int, TrialRecord],
    ) -> None:
        """Whatever an attempt had reported, the one that finished has too, bit for bit.

        One that was pruned may have ended earlier; what both have is the same.
        """
        for record in records:
            whole = last[record.number]
            for metric in RESULTS:
                part = store.history(record.run_id, metric)
                all_of_it = store.history(whole.run_id, metric)
                both = part.keys() & all_of_it.keys()
                assert {n: part[n] for n in both} == {n: all_of_it[n] for n in both}
                assert sorted(all_of_it) == list(range(1, len(all_of_it) + 1))
                if whole.outcome == Outcome.COMPLETE:
                    assert sorted(all_of_it) == list(range(1, EPOCHS + 1))
                    assert part.items() <= all_of_it.items(), (record.id, metric)

    def export(self) -> None:
        """The best model can be loaded and used."""
        done = self._program("export", "s", "--to", "best", "--json")
        assert done.code == 0, done.err
        assert done.json["parity"]["max_difference"] < 1e-4


@pytest.mark.timeout(max(900, 60 * KILLS))
def test_processes_killed_at_random_lose_nothing(
    workplace: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    killed: Counter[str] = Counter()
    sweeps = lost = sittings = 0
    with capsys.disabled():
        print(f"\nseed {SEED}: {KILLS} kills to come")
    while sum(killed.values()) < KILLS:
        folder = workplace(f"chaos{sweeps}")
        write_text(folder / "words.txt", characters=24_000, seed=sweeps)
        server = None
        if sweeps % 2 or not LONG:
            server = Server(workplace("chaos-server"))
            server.start()
        halving = not LONG or sweeps // 2 % 2 == 1
        chaos = Chaos(folder, rng, server, tmp_path / f"cache{sweeps}", halving=halving)
        try:
            chaos.run(min(KILLS_PER_SWEEP, KILLS - sum(killed.values())))
            lost += chaos.check()
            if LONG and sweeps % 2 == 0:
                chaos.export()
        finally:
            for pid in chaos.processes():
                kill(pid)
            if server:
                server.stop()
        killed += chaos.killed
        sittings += chaos.sittings
        sweeps += 1
        with capsys.disabled():
            print(
                f"\nseed {SEED}: {sum(killed.values())} kills {dict(killed)}, {sweeps} sweeps of "
                f"{TRIALS} trials in {sittings} sittings, {lost} attempts repeated, nothing lost"
            )
    assert KILLS < 100 or set(killed) == {*VICTIMS, "server"}  # else chance may spare one
