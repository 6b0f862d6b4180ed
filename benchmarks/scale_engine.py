"""An engine of many slots whose trials only sleep and report: no process, no thread, no network."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from typing_extensions import override

from lstm_sweep.models.config import as_lstm_config
from lstm_sweep.search.device import Device
from lstm_sweep.search.engines.base import ClosesOnExit, Event
from lstm_sweep.search.trial import Ended, Job, Outcome, Paused, RoundDone, Slot, Trial

#: slots of a node, as they are named
CORES = 16


class WallClock:
    """The clock on the wall."""

    def __call__(self) -> float:
        """Seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


class CpuClock(WallClock):
    """Shows for how long this process has computed, and has slept, without sleeping.

    So other work on the machine changes nothing; the disk, though, seems to take no time.
    """

    def __init__(self) -> None:
        self._slept = 0.0

    @override
    def __call__(self) -> float:
        return time.process_time() + self._slept

    @override
    def sleep(self, seconds: float) -> None:
        self._slept += seconds


class SleepingEngine(ClosesOnExit):
    """All slots together report `rate` rounds a second, whether the driver keeps up or not.

    A trial begins its next round when it has reported one, as a worker does, so reports that the
    driver has not received yet wait in a queue.
    """

    device = Device(kind="cpu: asleep")

    def __init__(self, slots: int, rate: float, clock: WallClock) -> None:
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
        #: when the first trial of all was started; None before
        self.first_start: float | None = None
        #: called before each wait
        self.before_wait: Callable[[], None] = lambda: None

    def describe(self, slot: Slot) -> Device:
        """The same device for each slot."""
        return self.device

    def warm_up(self, *, user_code: bool = False) -> None:
        """Do nothing."""

    def start(self, job: Job) -> None:
        """Write weights, and sleep for the first round, which differs so that slots take turns."""
        if self.first_start is None:
            self.first_start = self._clock()
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
        if number < trial.rounds:
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
