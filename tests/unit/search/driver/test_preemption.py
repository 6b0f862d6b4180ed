"""Sweeps of a service that take turns, whose starts and rounds take any time: each gets on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.search.driver.loop import KEEPS_S, Preemption
from lstm_sweep.search.service.scheduler import TURN_S, QueuedJob, Turns
from lstm_sweep.search.values.trial import Ended, Paused, RoundDone, Slot, Trial

#: seconds between two looks of all that take part
STEP_S = 10.0


def progress(now: float) -> Trial:
    return Trial(sweep="s", number=0, config=TrialConfig(epochs=1_000), seed=0, began=now)


@dataclass
class Driver:
    """The driver of a sweep of one trial, and its engine: both as far as slots are concerned."""

    name: str
    start_s: float
    round_s: float
    #: rounds that are left, and since when its trial runs; None: it waits
    left: int
    began: float | None = None
    allowed: int = 0
    #: rounds of its stretch on the slot
    rounds: int = 0
    waits: float = 0.0
    preemption: Preemption = field(init=False)

    def __post_init__(self) -> None:
        self.preemption = Preemption(self)  # type: ignore[arg-type]

    def surplus(self) -> int:
        return int(self.began is not None and not self.allowed)

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        self.began, self.rounds = None, 0

    def step(self, now: float) -> None:
        """Train for a while, and let the trial wait if it is to."""
        if self.began is None:
            self.waits += STEP_S
            return
        one = progress(self.began)
        state: Any = SimpleNamespace(closing=False, now=now, running={Slot(0): one})
        if now - self.began >= self.start_s + self.round_s * (self.rounds + 1):
            self.rounds += 1
            self.left -= 1
            if not self.left:
                self.began = None
                return
            self.preemption.receive(one, RoundDone(1, {}, saved=True), state)
        if self.began is not None:
            self.preemption.look(state)


def queued(driver: Driver, *, shared: bool) -> QueuedJob:
    owner = "ann" if shared else driver.name
    return QueuedJob(run_id=driver.name, owner=owner, submitted=0.0)


def play(drivers: list[Driver], slots: int, most_s: float, *, shared: bool = True) -> float:
    """Let a service share out its slots until all sweeps have ended; the seconds that it took.

    `shared`: all are of one user; else each is of another.
    """
    now, named, turns = 0.0, {one.name: one for one in drivers}, Turns()
    while left := [one for one in drivers if one.left]:
        assert now < most_s, f"after {now:.0f} s: {left}"
        queue = [queued(one, shared=shared) for one in left]
        for one in queue:
            if one.run_id not in turns.since:
                turns.remember(one.run_id, now, None)
        is_late = any(driver.surplus() for driver in left)
        for quota in turns.share_out(queue, [], slots, now, is_late=is_late):
            named[quota.run_id].allowed = quota.slots
        for driver in left:
            free = slots - sum(one.began is not None for one in drivers)
            if driver.began is None and driver.allowed and free > 0:
                driver.began = now
            driver.step(now)
        now += STEP_S
    return now


times = st.lists(
    st.tuples(st.integers(0, 600), st.integers(10, 3_000), st.integers(1, 3)),
    min_size=2,
    max_size=3,
)


@settings(max_examples=15, deadline=None)
@given(times, st.integers(1, 2), st.booleans())
@example([(10, 590, 3), (10, 590, 3)], 1, True)  # a round ends whenever it has its turn again
@example([(0, 7_000, 2), (0, 10, 4)], 1, False)
def test_each_sweep_gets_on_however_long_its_start_and_its_rounds_take(
    drawn: list[tuple[int, int, int]], slots: int, shared: bool
) -> None:
    drivers = [
        Driver(str(number), float(start), float(each), left)
        for number, (start, each, left) in enumerate(drawn)
    ]
    # a stretch on a slot, and how many there are: one for each round, and those that were in vain
    stretch = [TURN_S + KEEPS_S + 2 * (start + each) for start, each, _ in drawn]
    stretches = [left + 4 for _, _, left in drawn]
    most_s = sum(a * b for a, b in zip(stretch, stretches, strict=True))
    play(drivers, slots, most_s, shared=shared)


@pytest.mark.parametrize(
    ("long", "short", "most_s"),
    [
        # it needs 60 rounds in turns, of which it loses nothing, and waits for a round before each
        (Driver("long", 10.0, 1_000.0, 4), Driver("short", 10.0, 20.0, 60), 5 * 1_050.0),
        # its turn begins when it has the slot, not when the other is told to give it up
        (Driver("long", 0.0, 7_000.0, 2), Driver("short", 0.0, 10.0, 4), KEEPS_S + TURN_S + 40.0),
    ],
)
def test_a_sweep_of_long_rounds_keeps_nobody_waiting_for_longer_than_its_limit(
    long: Driver, short: Driver, most_s: float
) -> None:
    for shared in (True, False):
        one, other = replace(long), replace(short)
        play([one, other], 1, 30_000.0, shared=shared)
        assert other.waits <= most_s


class Engine:
    """An engine with a trial too many."""

    def __init__(self, surplus: int = 1) -> None:
        self.left, self.stopped = surplus, list[Slot]()

    def surplus(self) -> int:
        return self.left

    def stop(self, slot: Slot, ended: Ended | Paused) -> None:
        assert isinstance(ended, Paused) and ended.preempted
        self.left -= 1
        self.stopped.append(slot)


@pytest.mark.parametrize(
    ("saved", "last", "closing", "waits"),
    [
        (True, False, False, True),
        (False, False, False, False),  # what it has trained since its checkpoint would be lost
        (True, True, False, False),  # it ends at once
        (True, False, True, False),
    ],
)
def test_a_trial_waits_at_the_end_of_a_round_that_its_checkpoint_has(
    saved: bool, last: bool, closing: bool, waits: bool
) -> None:
    engine, one = Engine(), replace(progress(0.0), last=last)
    state: Any = SimpleNamespace(closing=closing, now=5.0, running={Slot(0): one})
    Preemption(engine).receive(one, RoundDone(1, {}, saved=saved), state)  # type: ignore[arg-type]
    assert engine.stopped == [Slot(0)] * waits
