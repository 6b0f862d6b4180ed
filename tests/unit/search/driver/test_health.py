from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lstm_sweep.models.config import TrialConfig
from lstm_sweep.models.rounds import Progressed, RoundDone
from lstm_sweep.search.driver import health
from lstm_sweep.search.driver.health import Reports, Watch, failing, hung
from lstm_sweep.search.service.scheduler import TURN_S, Claim, QueuedJob, Turns
from lstm_sweep.search.values.trial import RETURNED_LOSS, Ended, Outcome, Paused, Phase, Slot, Trial


def progress(
    *seconds: float,
    ended: Ended | None = None,
    phase: Phase = Phase.SEARCH,
) -> Trial:
    return Trial(
        sweep="s",
        number=0,
        config=TrialConfig(),
        seed=0,
        phase=phase,
        rounds=[{"val_loss": 1.0, "round_seconds": s} for s in seconds],
        began=90.0,
        ended=ended,
    )


@pytest.mark.parametrize(
    "longest, silent, is_hung",
    [(1.0, 59, False), (1.0, 61, True), (40.0, 199, False), (40.0, 201, True)],
)
def test_a_trial_is_hung_that_is_silent_for_much_longer_than_before(
    longest: float, silent: float, is_hung: bool
) -> None:
    reports = Reports(100.0, 0.0, begun=True, longest_s=longest)
    why = hung(progress(), reports, now=100.0 + silent)
    assert bool(why) is is_hung
    assert not is_hung or f"nothing computed for {silent} s" in why
    reports.computed = 100.0 + silent - 15
    assert hung(progress(), reports, now=100.0 + silent) == ""


@pytest.mark.parametrize(
    "longest, template, idle, took, why",
    [
        (0.0, False, 899, 3_599, ""),
        (0.0, False, 901, 901, "nothing computed for 901 s, expected less than 900 s"),
        (20.0, False, 901, 901, "nothing computed for 901 s, expected less than 900 s"),
        (400.0, False, 1_999, 1_999, ""),  # five times the longest start that was seen
        (400.0, False, 2_001, 2_001, "nothing computed for 2001 s, expected less than 2000 s"),
        (0.0, False, 10, 3_601, "no report for 3601 s, expected one within 3600 s"),
        (20.0, False, 10, 3_599, ""),
        (1_000.0, False, 10, 4_999, ""),
        (1_000.0, False, 10, 5_001, "no report for 5001 s, expected one within 5000 s"),
        (0.0, True, 10, 86_399, ""),  # a template that trains by itself may never report
        (0.0, True, 10, 86_401, "no report for 86401 s, expected one within 86400 s"),
        (20.0, True, 10, 86_399, ""),
        (0.0, True, 901, 901, "nothing computed for 901 s, expected less than 900 s"),
    ],
)
def test_a_trial_that_has_not_reported_is_hung_if_it_computes_nothing_or_for_much_too_long(
    longest: float, template: bool, idle: float, took: float, why: str
) -> None:
    trial = progress()
    if template:
        trial = replace(trial, objective=RETURNED_LOSS)
    reports = Reports(100.0, 100.0 + took - idle)
    found = hung(trial, reports, 100.0 + took, longest)
    assert found.endswith(why) and bool(found) is bool(why)


def ended(outcome: Outcome, reason: str = "", phase: Phase = Phase.SEARCH) -> Trial:
    return progress(1.0, ended=Ended(outcome, reason), phase=phase)


GOOD = ended(Outcome.COMPLETE)
BAD = ended(Outcome.ERROR, "ValueError: shape (3, 4)")


def test_a_sweep_in_which_everything_fails_should_end_with_the_most_common_reason_first() -> None:
    lost = ended(Outcome.LOST, "its worker was killed by SIGKILL")
    other = ended(Outcome.ERROR, "ValueError: shape (7, 9)")
    why = failing([lost, BAD, other], 3)
    assert why.startswith("3 trials in a row have failed: 2 error (ValueError: shape (")
    assert why.endswith("1 lost (its worker was killed by SIGKILL)")


RATE = ended(Outcome.DIVERGED, "nan", Phase.LADDER)


@pytest.mark.parametrize(
    ("trials", "fails"),
    [
        ([BAD, BAD, GOOD, BAD], False),
        ([GOOD, BAD, BAD], True),
        ([BAD, BAD, ended(Outcome.PRUNED)], False),  # one that was cut short has not failed
        ([BAD, BAD, ended(Outcome.STOPPED)], False),
        ([RATE] * 20, False),  # high rates of a ladder may diverge
        ([BAD, RATE, BAD], True),
        ([ended(Outcome.DIVERGED, "nan")] * 2, True),
    ],
)
def test_a_sweep_fails_by_the_failures_after_its_last_success(
    trials: list[Trial], fails: bool
) -> None:
    assert bool(failing(trials, 2)) is fails


@pytest.mark.parametrize(
    ("loss", "began", "fails"), [(2.0, 5.0, False), (None, 5.0, True), (2.0, 0.0, True)]
)
def test_a_trial_under_way_that_has_a_loss_and_is_younger_than_the_failures_counts(
    loss: float | None, began: float, fails: bool
) -> None:
    failed = [replace(BAD, began=float(place)) for place in (1, 2, 3)]
    rounds = [] if loss is None else [{"val_loss": loss}]
    waiting = replace(GOOD, ended=None, rounds=rounds, began=began, paused="waits")
    assert bool(failing(failed, 3, [waiting])) is fails


def watched(began: float = 0.0, number: int = 0) -> Trial:
    return Trial(sweep="s", number=number, config=TrialConfig(), seed=0, began=began)


def reasons(watch: Watch, trial: Trial, *times: float) -> list[str]:
    """Why a trial is hung, as far as it is, when it is looked at so often."""
    return [ended.reason for now in times for _, ended in watch.look([trial], now)]


def every(seconds: float, first: float, last: float) -> list[float]:
    """Times at which a driver looks that is not kept from it."""
    return [first + seconds * step for step in range(int((last - first) / seconds) + 1)]


def test_the_time_for_which_a_trial_has_waited_is_no_silence() -> None:
    watch, trial = Watch(0.0), watched()
    watch.receive(trial, Progressed(1, 0.5, 2.0), 5.0)
    assert reasons(watch, trial, *every(1.0, 0.0, 10.0)) == []
    waiting = trial.with_pause(Paused("waits"), 10.0)
    assert reasons(watch, watched(number=1), *every(1.0, 10.0, 800.0)) == []
    again = waiting.with_slot(Slot(0), 2_000.0)
    assert reasons(watch, again, *every(1.0, 2_000.0, 2_900.0)) == []
    assert len(reasons(watch, again, 2_901.0)) == 1


def test_a_slow_machine_is_known_by_its_starts() -> None:
    watch, first = Watch(0.0), watched()
    assert reasons(watch, first, *every(4.0, 0.0, 400.0)) == []
    watch.receive(first, Progressed(1, 0.1, 2.0), 400.0)
    second = watched(400.0, number=1)
    assert reasons(watch, second, *every(4.0, 400.0, 2_400.0)) == []
    assert len(reasons(watch, second, 2_401.0)) == 1


def test_a_driver_that_could_not_look_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SILENT_S", 3.0)
    watch, silent, heard = Watch(0.0), watched(), watched(number=1)
    done = RoundDone(1, {"round_seconds": 0.1})
    watch.receive(heard, done, 1.0)
    heard = heard.with_round(done)
    assert watch.look([silent, heard], 2.0) == []
    assert watch.look([silent, heard], 5_000.0) == []  # such as one that waits for the store
    assert watch.look([silent, heard], 5_001.0) == []
    assert watch.look([silent], 5_004.0) == []
    [(hung, _)] = watch.look([silent, heard], 5_004.5)
    assert hung is heard


# Sweeps of a service that take turns, whose starts and rounds take any time: each gets on


#: seconds between two looks of all that take part
STEP_S = 10.0


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

    def surplus(self) -> int:
        return int(self.began is not None and not self.allowed)

    def step(self, now: float) -> None:
        """Train for a while, and let the trial wait if it is to."""
        if self.began is None:
            self.waits += STEP_S
            return
        if now - self.began >= self.start_s + self.round_s * (self.rounds + 1):
            self.rounds += 1
            self.left -= 1
            if not self.left or self.surplus():
                self.began, self.rounds = None, 0


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
            turns.jobs.setdefault(one.run_id, Claim(now))
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
    stretch = [TURN_S + 2 * (start + each) for start, each, _ in drawn]
    stretches = [left + 4 for _, _, left in drawn]
    most_s = sum(a * b for a, b in zip(stretch, stretches, strict=True))
    play(drivers, slots, most_s, shared=shared)


@pytest.mark.parametrize(
    ("long", "short", "most_s"),
    [
        # it needs 60 rounds in turns, of which it loses nothing, and waits for a round before each
        (Driver("long", 10.0, 1_000.0, 4), Driver("short", 10.0, 20.0, 60), 5 * 1_050.0),
        # its turn begins when it has the slot, not when the other is told to give it up
        (Driver("long", 0.0, 7_000.0, 2), Driver("short", 0.0, 10.0, 4), 7_040.0),
    ],
)
def test_a_sweep_of_long_rounds_keeps_nobody_waiting_for_longer_than_its_limit(
    long: Driver, short: Driver, most_s: float
) -> None:
    for shared in (True, False):
        one, other = replace(long), replace(short)
        play([one, other], 1, 30_000.0, shared=shared)
        assert other.waits <= most_s
