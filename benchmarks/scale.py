"""What a sweep costs its driver, and where it breaks first: trials that only sleep and report.

    python -m benchmarks.scale [--slots 1000] [--trials 10000] [--rate 100] [--epochs 9]
        [--store URI | --store memory [--latency MS]] [--display] [--cpu-clock] [--profile FILE]

Sweep, loop, policy, journal and store are the program's own; the engine (`scale_engine.py`) lets
trials report as if all slots together sent `--rate` rounds a second. The sweep is broken off once
`--trials` trials are begun, and then resumed. Each row of the table is about the time since the row
before. The delay is that from the moment in which a trial's report was due to the verdict of the
policy, so a driver that is too slow shows there.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.memory import resident_mb
from benchmarks.scale_engine import CpuClock, SleepingEngine, WallClock
from benchmarks.scale_store import MemoryClient
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.process.interrupts import EndRequest
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.experiment import Experiment
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.sweep.corpus_task import CorpusTask
from lstm_sweep.search.sweep.observer import SILENT, Observer
from lstm_sweep.search.sweep.resume import rebuild
from lstm_sweep.search.sweep.sweep import Sweep
from lstm_sweep.search.trial import Ended, Paused
from lstm_sweep.spaces.space import from_mapping

NAME = "scale"
#: rows of the table
ROWS = 10


class CountedClient:
    """A client of MLflow that counts its calls, and the seconds that they take."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: Counter[str] = Counter()
        self.seconds = self.cpu_seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if not callable(call):
            return call

        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls[name] += 1
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - wall
                self.cpu_seconds += time.thread_time() - cpu

        return counted


@dataclass(frozen=True)
class Sample:
    """The driver at one moment; all but the memory are totals since the beginning."""

    begun: int
    reports: int
    calls: int
    seconds: float
    cpu_seconds: float
    store_seconds: float
    store_cpu_seconds: float
    memory_mb: float


class Meter:
    """Measures the driver while a sweep runs, and breaks the sweep off at its end."""

    def __init__(
        self, engine: SleepingEngine, client: CountedClient, trials: int, clock: WallClock
    ) -> None:
        self._engine, self._client, self._trials, self._clock = engine, client, trials, clock
        #: ends the sweep
        self.end = EndRequest()
        #: delay from report to verdict, seconds, of each report since the last row
        self.delays: list[float] = []
        self._reports = 0
        self.samples = [self._sample()]
        engine.before_wait = self._look

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, the delay of each verdict is noted."""
        judge = Policy.judge

        def judged(policy: Policy, progress: TrialProgress) -> Ended | Paused | None:
            verdict = judge(policy, progress)
            due = self._engine.reported.pop((progress.trial.number, len(progress.rounds)))
            self.delays.append(self._clock() - due)
            self._reports += 1
            return verdict

        with mock.patch.object(Policy, "judge", judged):
            yield

    def _sample(self) -> Sample:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Sample(
            begun=self._engine.begun,
            reports=self._reports,
            calls=self._client.calls.total(),
            seconds=self._clock(),
            cpu_seconds=used.ru_utime + used.ru_stime,
            store_seconds=self._client.seconds,
            store_cpu_seconds=self._client.cpu_seconds,
            memory_mb=resident_mb(),
        )

    def _look(self) -> None:
        """Print a row if it is time, and end the sweep after the last one."""
        if self.end.signal_number:
            return
        over = self._engine.begun >= self._trials
        step = self._trials / ROWS
        if over or self._engine.begun // step > self.samples[-1].begun // step:
            self.samples.append(self._sample())
            if self.delays:
                print(_row(self.samples[-2], self.samples[-1], self.delays), flush=True)
            self.delays.clear()
        if over:
            self.end.request()


_HEAD = (
    f"{'trials':>7}{'reports/s':>11}{'cores':>7}{'of store':>9}{'CPU ms':>8}{'of store':>9}"
    f"{'delay ms':>10}{'99 %':>9}{'longest':>9}{'calls':>7}{'memory':>8}"
)


def _row(before: Sample, now: Sample, delays: list[float]) -> str:
    """A line of the table: CPU time and delay per report, calls per trial, memory in MB."""
    seconds, reports = now.seconds - before.seconds, max(1, now.reports - before.reports)
    cpu, store = now.cpu_seconds - before.cpu_seconds, now.store_cpu_seconds
    store -= before.store_cpu_seconds
    middle, high, longest = 1000 * np.quantile(delays, (0.5, 0.99, 1))
    calls = (now.calls - before.calls) / max(1, now.begun - before.begun)
    return (
        f"{now.begun:>7}{reports / seconds:>11.1f}{cpu / seconds:>7.2f}{store / seconds:>9.2f}"
        f"{1000 * cpu / reports:>8.1f}{1000 * store / reports:>9.1f}"
        f"{middle:>10.1f}{high:>9.1f}{longest:>9.1f}{calls:>7.1f}{now.memory_mb:>8.0f}"
    )


def main() -> None:
    """Run a sweep, break it off, resume it, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, help="reports a second, all together")
    parser.add_argument("--epochs", type=int, default=9, help="reports of a whole trial")
    parser.add_argument(
        "--store", help="address of an MLflow store, or `memory`; else a fresh SQLite file"
    )
    parser.add_argument("--latency", type=float, default=0, help="ms of a call of store `memory`")
    parser.add_argument("--display", action="store_true", help="with the lines of a terminal")
    parser.add_argument(
        "--cpu-clock",
        action="store_true",
        help="time is that in which the driver computes, and "
        "that in which it would sleep, so that other work on the machine does not count",
    )
    parser.add_argument("--profile", type=Path, help="file for a profile of the driver")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        _measure(Path(scratch), given)


def _measure(folder: Path, given: argparse.Namespace) -> None:
    task, spec = _sweep(folder, given.trials, given.epochs)
    clock = CpuClock() if given.cpu_clock else WallClock()
    store = _store(folder, given, clock)
    client = store.client = CountedClient(store.client)
    engine = SleepingEngine(given.slots, given.rate, clock)
    print(_HEAD, flush=True)
    meter = Meter(engine, client, given.trials, clock)
    observer = _observer(display=given.display)
    sweep = Sweep(
        spec, name=NAME, task=task, store=store, engine=engine, observer=observer, clock=clock,
        interrupts=meter.end,
    )  # fmt: skip
    with meter.watching(), _profiled(given.profile):
        _broken_off(sweep)
    first, last = meter.samples[0], meter.samples[-1]
    closing = clock() - last.seconds
    calls = ", ".join(
        f"{name} {count / max(1, last.begun):.2f}" for name, count in client.calls.most_common()
    )
    state = sweep.state
    print(f"trials begun {last.begun}, ended {state.trials_done}, paused {len(state.paused)}")
    print(
        f"CPU s of the driver until then, all together: {last.cpu_seconds - first.cpu_seconds:.0f}"
    )
    print(f"calls of MLflow for a trial, with those at the end: {calls}")
    print(f"broken off: runs closed within {closing:.1f} s")
    _resume(task, spec, store, given, clock)


def _broken_off(sweep: Sweep) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        sweep.run()


def _resume(
    task: CorpusTask, spec: SweepSpec, store: Store, given: argparse.Namespace, clock: WallClock
) -> None:
    """Go on with the sweep until its first trial is started; print how long that takes."""
    began = clock()
    past = rebuild(store, archive.existing_sweep(store, NAME))
    read = clock()
    engine = SleepingEngine(given.slots, given.rate, clock)
    longer, end = replace(spec, trials=spec.trials + given.slots), EndRequest()

    def until_started() -> None:
        if engine.first_start is not None:
            end.request()

    engine.before_wait = until_started
    sweep = Sweep(
        longer, name=NAME, task=task, store=store, engine=engine, past=past, clock=clock,
        interrupts=end,
    )  # fmt: skip
    _broken_off(sweep)
    assert engine.first_start is not None, "no trial was started"
    print(
        f"resumed: read back within {read - began:.1f} s, first trial started after "
        f"{engine.first_start - began:.1f} s"
    )


@contextlib.contextmanager
def _profiled(file: Path | None) -> Iterator[None]:
    """Write a profile of what happens within, if a file is given."""
    if file is None:
        yield
        return
    profile = cProfile.Profile()
    try:
        profile.runcall(lambda: None)
        profile.enable()
        yield
    finally:
        profile.disable()
        profile.dump_stats(file)


def _observer(*, display: bool) -> Observer:
    """What shows the sweep: nothing, or the program's own lines and table, which nobody reads."""
    if not display:
        return SILENT
    from rich.console import Console

    from lstm_sweep.search.commands.display import LiveTable

    nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    return LiveTable(Console(file=nowhere, force_terminal=True, width=140, height=50))


def _sweep(folder: Path, trials: int, epochs: int) -> tuple[CorpusTask, SweepSpec]:
    """A sweep over a small corpus in a space without end."""
    rng = np.random.default_rng(0)
    text = " ".join(rng.choice(["sun", "moon", "river", "stone", "and", "the"], 5_000))
    (folder / "words.txt").write_text(text, encoding="utf-8")
    source = Source(data=str(folder / "words.txt"))
    space = from_mapping(
        {"dropout": {"low": 0, "high": 0.5}, "layer_size": [16, 24, 32, 48, 64],
         "sequence_length": [10, 20], "batch_size": [16, 32, 64], "epochs": epochs},
        NAME,
    )  # fmt: skip
    spec = SweepSpec(
        data=source.data, space=space, trials=trials, size_rule="off", targets=500,
        rounds_per_epoch=1,
    )  # fmt: skip
    corpus = corpora.load(source)
    task = CorpusTask.of(spec, corpus)
    return task, task.settled(spec)


def _store(folder: Path, given: argparse.Namespace, clock: WallClock) -> Store:
    in_memory = given.store == "memory"
    uri = None if in_memory else given.store
    place = None if uri and uri.startswith("http") else (folder / "artifacts").as_uri()
    settings = Settings(uri or f"sqlite:///{folder / 'mlflow.db'}", place, NAME, NAME)
    store = Store(settings)
    store.prepare()
    if in_memory:
        runs = store.experiment.own_place or ""
        client = store.client = MemoryClient(store.client, runs, given.latency / 1000, clock)
        store.experiment = Experiment(client, settings)
    return store


if __name__ == "__main__":
    main()
