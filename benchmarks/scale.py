"""What a sweep costs its driver, and where it breaks first: trials that only sleep and report.

    python -m benchmarks.scale [--slots 1000] [--trials 10000] [--rate 100] [--epochs 9]
        [--store URI | --store memory] [--cpu-clock]

Sweep, loop, policy, journal and store are the program's own; the engine (`scale_engine.py`) lets
trials report as if all slots together sent `--rate` rounds a second. The sweep is broken off once
`--trials` trials are begun, and then resumed. Each row of the table is about the time since the row
before. The delay is that from the moment in which a trial's report was due to the verdict of the
policy, so a driver that is too slow shows there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.scale_engine import CpuClock, SleepingEngine, WallClock
from benchmarks.scale_store import MemoryClient
from benchmarks.soak import resident_mb
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.data.source import Source
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.progress import TrialProgress
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.experiment import Experiment
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore, Store
from lstm_sweep.search.sweep.corpus_task import CorpusTask
from lstm_sweep.search.sweep.resume import rebuild
from lstm_sweep.search.sweep.sweep import Sweep
from lstm_sweep.search.trial import Ended, Paused
from lstm_sweep.spaces.space import from_mapping

NAME = "scale"
#: rows of the table
ROWS = 10


@dataclass(frozen=True)
class Sample:
    """The driver at one moment; all but the memory are totals since the beginning."""

    begun: int
    reports: int
    seconds: float
    cpu_seconds: float
    memory_mb: float


class Meter:
    """Measures the driver while a sweep runs, and breaks the sweep off at its end."""

    def __init__(self, engine: SleepingEngine, trials: int, clock: WallClock) -> None:
        self._engine, self._trials, self._clock = engine, trials, clock
        #: ends the sweep
        self.end = Interrupts()
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
            seconds=self._clock(),
            cpu_seconds=used.ru_utime + used.ru_stime,
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
    f"{'trials':>7}{'reports/s':>11}{'cores':>7}{'CPU ms':>8}"
    f"{'delay ms':>10}{'99 %':>9}{'longest':>9}{'memory':>8}"
)


def _row(before: Sample, now: Sample, delays: list[float]) -> str:
    """A line of the table: CPU time and delay per report, memory in MB."""
    seconds, reports = now.seconds - before.seconds, max(1, now.reports - before.reports)
    cpu = now.cpu_seconds - before.cpu_seconds
    middle, high, longest = 1000 * np.quantile(delays, (0.5, 0.99, 1))
    return (
        f"{now.begun:>7}{reports / seconds:>11.1f}{cpu / seconds:>7.2f}{1000 * cpu / reports:>8.1f}"
        f"{middle:>10.1f}{high:>9.1f}{longest:>9.1f}{now.memory_mb:>8.0f}"
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
    parser.add_argument(
        "--cpu-clock",
        action="store_true",
        help="time is that in which the driver computes, and "
        "that in which it would sleep, so that other work on the machine does not count",
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        _measure(Path(scratch), given)


def _measure(folder: Path, given: argparse.Namespace) -> None:
    task, spec = _sweep(folder, given.trials, given.epochs)
    clock = CpuClock() if given.cpu_clock else WallClock()
    store = _store(folder, given, clock)
    engine = SleepingEngine(given.slots, given.rate, clock)
    print(_HEAD, flush=True)
    meter = Meter(engine, given.trials, clock)
    sweep = Sweep(
        spec, name=NAME, task=task, store=store, engine=engine, clock=clock,
        interrupts=meter.end,
    )  # fmt: skip
    with meter.watching():
        _broken_off(sweep)
    first, last = meter.samples[0], meter.samples[-1]
    closing = clock() - last.seconds
    state = sweep.state
    print(f"trials begun {last.begun}, ended {state.trials_done}, paused {len(state.paused)}")
    print(
        f"CPU s of the driver until then, all together: {last.cpu_seconds - first.cpu_seconds:.0f}"
    )
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
    past = rebuild(store, reader.existing_sweep(store, NAME))
    read = clock()
    engine = SleepingEngine(given.slots, given.rate, clock)
    longer, end = replace(spec, trials=spec.trials + given.slots), Interrupts()

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
    store = MlflowStore(settings)
    store.prepare()
    if in_memory:
        runs = store.experiment.own_place or ""
        client = store.client = MemoryClient(store.client, runs)
        store.experiment = Experiment(client, settings)
    return store


if __name__ == "__main__":
    main()
