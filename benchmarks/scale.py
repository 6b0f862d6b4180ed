"""What a sweep costs its driver, and where it breaks first: trials that only sleep and report.

    python -m benchmarks.scale [--slots 1000] [--trials 10000] [--rate 100] [--epochs 9]

Sweep, loop, policy and journal are the program's own, the store is in memory; the engine lets
trials report as if all slots together sent `--rate` rounds a second. Time is that in which the
driver computes, and that in which it would sleep: other work on the machine does not count. The
sweep is broken off once `--trials` trials are begun. Each row of the table is about the time since
the row before. The delay is that from the moment in which a trial's report was due to the verdict
of the policy, so a driver that is too slow shows there.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from typing_extensions import override

from benchmarks.tiny import resident_mb, words
from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.models.data import corpus as corpora
from lstm_sweep.models.rounds import RoundDone
from lstm_sweep.search.driver.corpus_task import CorpusTask
from lstm_sweep.search.driver.sweep import Sweep
from lstm_sweep.search.engines.base import Engine, Event
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.process.signals import Interrupts
from lstm_sweep.search.store.memory import MemoryStore
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.trial import Device, Ended, Job, Outcome, Paused, Slot, Trial
from lstm_sweep.spaces.space import from_mapping

NAME = "scale"
#: rows of the table
ROWS = 10
#: slots of a node, as they are named
CORES = 16


class CpuClock:
    """Shows for how long this process has computed, and has slept, without sleeping.

    So other work on the machine changes nothing.
    """

    def __init__(self) -> None:
        self._slept = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return time.process_time() + self._slept

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._slept += seconds


class SleepingEngine(Engine):
    """All slots together report `rate` rounds a second, whether the driver keeps up or not.

    A trial begins its next round when it has reported one, as a worker does, so reports that the
    driver has not received yet wait in a queue.
    """

    device = Device(kind="cpu: asleep")

    def __init__(self, slots: int, rate: float, clock: CpuClock) -> None:
        self.slots = tuple(
            Slot(index, core=index % CORES, node=f"node{index // CORES}") for index in range(slots)
        )
        self._round_s, self._clock = slots / rate, clock
        #: when each trial reports next, in an order for equal times, its slot and its job
        self._due: list[tuple[float, int, Slot, Job]] = []
        self._order = itertools.count()
        #: what runs on each slot, and the last message of those that are stopped
        self._jobs: dict[Slot, Job] = {}
        self._stopped: dict[Slot, Ended | Paused] = {}
        #: rounds that each trial has reported, by its number
        self._rounds: dict[int, int] = {}
        self._folders: dict[Slot, Path] = {}
        #: when a round was reported, by the numbers of the trial and the round
        self.reported: dict[tuple[int, int], float] = {}
        #: trials that were begun, those that go on after they were paused aside
        self.begun = 0
        #: called before each wait
        self.before_wait: Callable[[], None] = lambda: None

    def describe(self, slot: Slot) -> Device:
        """The same device for each slot."""
        return self.device

    def warm_up(self, *, user_code: bool = False) -> None:
        """Do nothing."""

    def start(self, job: Job) -> None:
        """Write weights, and sleep for the first round, which differs so that slots take turns."""
        number = job.trial.number
        if number not in self._rounds:
            self.begun += 1
            job.weights.write_bytes(b"weights")
        self._rounds.setdefault(number, 0)
        self._jobs[job.slot], self._folders[job.slot] = job, job.folder
        share = random.Random(f"{number} {self._rounds[number]}").uniform(0.5, 1.5)
        self._sleep(job, self._clock(), share * self._round_s)

    def _sleep(self, job: Job, now: float, seconds: float) -> None:
        heapq.heappush(self._due, (now + seconds, next(self._order), job.slot, job))

    def wait(self, timeout_s: float) -> Sequence[tuple[Slot, Event]]:
        """Sleep until a report is due; return all that are."""
        self.before_wait()
        heard = self._last_words()
        upcoming = self._due[0][0] - self._clock() if self._due else math.inf
        if upcoming > 0 and not heard:
            self._clock.sleep(min(upcoming, timeout_s))
        now = self._clock()  # each look at a clock of CPU time is a call of the system
        while self._due and self._due[0][0] <= now:
            due, _, slot, job = heapq.heappop(self._due)
            if self._jobs.get(slot) is job:
                heard += self._report(due, job)
        return heard

    def _last_words(self) -> list[tuple[Slot, Event]]:
        """The last messages of trials that were stopped."""
        heard: list[tuple[Slot, Event]] = list(self._stopped.items())
        for slot in self._stopped:
            self._jobs.pop(slot, None)
        self._stopped.clear()
        return heard

    def _report(self, due: float, job: Job) -> list[tuple[Slot, Event]]:
        """The next round of a trial, which was over at `due`, and its end after the last one."""
        trial, slot = job.trial, job.slot
        number = self._rounds[trial.number] = self._rounds[trial.number] + 1
        self.reported[trial.number, number] = due
        heard: list[tuple[Slot, Event]] = [(slot, RoundDone(number, _metrics(trial, number)))]
        if number < trial.planned_rounds:
            self._sleep(job, due, self._round_s)
        else:
            self._jobs.pop(slot)
            heard.append((slot, Ended(Outcome.COMPLETE)))
        return heard

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        """Let the next `wait` return `ended`; what the trial would report later is lost."""
        if slot in self._jobs and slot not in self._stopped:
            self._stopped[slot] = ended

    def collect(self, slot: Slot) -> Path:
        """The folder of the trial that was started last there."""
        return self._folders[slot]

    @override
    def close(self) -> None:
        self._jobs.clear()
        self._due.clear()
        self._stopped.clear()


def _metrics(trial: Trial, number: int) -> dict[str, float]:
    """What a trial reports after a round: as many metrics as a network of ours."""
    config = as_lstm_config(trial.config)
    floor = 1.3 + 0.2 * abs(math.log10(config.learning_rate) + 2.4) + 3 / config.layer_size
    floor += random.Random(trial.seed).gauss(0, 0.05)
    loss = floor + 1.5 * math.exp(-trial.epochs_after(number) / 3)
    loss += random.Random(f"{trial.seed} {number}").gauss(0, 0.003)
    return {
        "train_loss": loss,
        "val_loss": loss,
        "val_accuracy": 0.5,
        "val_top5_accuracy": 0.9,
        "symbols_per_second": 1e5,
        "round_seconds": 10.0,
        "scoring_seconds": 0.5,
        "epoch": float(trial.epochs_after(number)),
        "symbols_seen": 1e5 * number,
    }


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

    def __init__(self, engine: SleepingEngine, trials: int, clock: CpuClock) -> None:
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

        def judged(policy: Policy, progress: Trial) -> Ended | Paused | None:
            verdict = judge(policy, progress)
            due = self._engine.reported.pop((progress.number, len(progress.rounds)))
            self.delays.append(self._clock() - due)
            self._reports += 1
            return verdict

        with mock.patch.object(Policy, "judge", judged):
            yield

    def _sample(self) -> Sample:
        return Sample(
            begun=self._engine.begun,
            reports=self._reports,
            seconds=self._clock(),
            cpu_seconds=time.process_time(),
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
    """Run a sweep, break it off, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0, help="reports a second, all together")
    parser.add_argument("--epochs", type=int, default=9, help="reports of a whole trial")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as scratch:
        os.environ["XDG_CACHE_HOME"] = str(Path(scratch) / "cache")
        _measure(Path(scratch), given)


def _measure(folder: Path, given: argparse.Namespace) -> None:
    task, spec = _sweep(folder, given.trials, given.epochs)
    clock, store = CpuClock(), MemoryStore(NAME)
    store.prepare()
    engine = SleepingEngine(given.slots, given.rate, clock)
    print(_HEAD, flush=True)
    meter = Meter(engine, given.trials, clock)
    sweep = Sweep(
        spec, name=NAME, task=task, store=store, engine=engine, clock=clock,
        interrupts=meter.end,
    )  # fmt: skip
    with meter.watching(), contextlib.suppress(KeyboardInterrupt):
        sweep.run()
    first, last = meter.samples[0], meter.samples[-1]
    closing = clock() - last.seconds
    state = sweep.state
    print(f"trials begun {last.begun}, ended {state.trials_done}, paused {len(state.paused)}")
    print(
        f"CPU s of the driver until then, all together: {last.cpu_seconds - first.cpu_seconds:.0f}"
    )
    print(f"broken off: runs closed within {closing:.1f} s")


def _sweep(folder: Path, trials: int, epochs: int) -> tuple[CorpusTask, SweepSpec]:
    """A sweep over a small corpus in a space without end."""
    source = words(folder, 5_000)
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


if __name__ == "__main__":
    main()
