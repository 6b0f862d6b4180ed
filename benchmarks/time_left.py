"""How far off the time left is that is shown while a sweep runs, over sweeps of recorded trials.

    python -m benchmarks.time_left [--file FILE] [--seeds 20] [--slots 2]

The policy and the state of a sweep are the program's own; trainings are the recordings in `curves/`
and the clock is simulated, as in `replay.py`. Each recording is searched within a number of trials,
and within a time that is too short for as many. The time left is read when a third, half and two
thirds of the budget are spent, in trials that were begun or in minutes, and compared with what the
sweep still took. A row is a recording, and a budget; what it says of each reading is the median
error with its sign, as a share of what was really left, the tenth and the ninetieth percentile of
such errors, the share of sweeps in which it was within a fifth, and the share in which what was
really left was in the range that was shown.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pool
from pathlib import Path

from benchmarks import curves
from benchmarks.replay import Replay
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.search.engines.trainings import CorpusTraining
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.policy import Policy
from lstm_sweep.search.policy.stop_reason import Stop, StopReason
from lstm_sweep.search.policy.time_left import Estimate, TimeLeft
from lstm_sweep.search.spec import SweepSpec
from lstm_sweep.search.sweep.events import (
    Event,
    ProgressReported,
    RoundReported,
    SearchEnded,
    SweepClosing,
    Ticked,
    TrialClosed,
    TrialEnded,
    TrialPaused,
    TrialPlaced,
    TrialProposed,
    TrialStarted,
    TrialThawed,
)
from lstm_sweep.search.sweep.state import SweepState
from lstm_sweep.search.sweep.transitions import after
from lstm_sweep.search.trial import Ended, Job, Outcome, Paused, Progressed, RoundDone, Slot, Trial

#: shares of the budget at which the time left is read
MARKS = (1 / 3, 1 / 2, 2 / 3)
#: an error that is small enough, as a share of the time that was left
WITHIN = 0.2
#: a range is shown in whole seconds or minutes: such a share of its ends counts as within it
ROUNDING = 0.05
#: share of the recorded configs that a sweep within a number of trials begins, and the most
TRIALS_SHARE, MOST_TRIALS = 0.6, 50
#: seconds between two looks at the clock, as in the loop of a real sweep, and until a trial ends
TICK_S, KILL_S = 0.5, 0.1


#: minutes of a sweep that is bounded by them, as a share of what the one by trials takes
TIME_SHARE = 0.75


@dataclass(frozen=True)
class Error:
    """How far off the time left was that was shown at one moment."""

    #: what was shown too much, as a share of what was left; infinite if nothing was shown
    share: float
    #: whether what was left was in the range that was shown
    in_range: bool


@dataclass(frozen=True)
class Errors:
    """Errors of one sweep at shares of its budget and of its time, and the seconds it took."""

    by_budget: Sequence[Error]
    by_time: Sequence[Error]
    took: float


@dataclass(frozen=True)
class Reading:
    """What was shown at one moment of a sweep."""

    #: share of the budget that was spent
    spent: float
    #: seconds since the beginning, and those that were shown as left
    at: float
    left: Estimate | None


class TimedSweep:
    """One sweep of recorded trials, from its beginning to the end of its budget."""

    def __init__(self, replay: Replay, spec: SweepSpec, slots: int) -> None:
        self._replay = replay
        plan = replace(spec.plan(), refine=False)  # of the rates of the ladder only
        self._policy = Policy(plan, replay.problem, sweep="replay", slots=slots)
        own = tuple(Slot(index) for index in range(slots))
        self._state = SweepState("replay", spec, "run", own, deadline=plan.seconds)
        self._plan = plan
        #: when a trial says something, of which stretch on a slot, and what
        self._queue: list[tuple[float, int, int, RoundDone | Ended | Paused]] = []
        #: when the round that each trial is in has begun, and when it will be done
        self._round: dict[int, tuple[float, float]] = {}
        self._stopped = set[int]()
        self._order = itertools.count()
        self.readings: list[Reading] = []

    def run(self) -> float:
        """Run to the end; return the seconds it took."""
        limit = self._plan.seconds or math.inf
        self._fill()
        while self._state.running:
            upcoming = self._queue[0][0] if self._queue else math.inf
            self._tick(min(upcoming, self._state.now + TICK_S, limit))
            while self._queue and self._queue[0][0] <= self._state.now:
                _, _, number, said = heapq.heappop(self._queue)
                self._receive(number, said)
            if self._state.now >= limit:
                self._apply(SweepClosing(Stop(StopReason.MINUTES, "the time is over")))
                break
            for late, why in self._policy.overdue(self._state.now):
                self._stop(late.trial.number, why)
            self._fill()
            self._read()
        return self._state.now

    def _read(self) -> None:
        """Note the time left that is shown, and the share of the budget that is spent."""
        for slot, progress in self._state.running.items():
            began, done = self._round[progress.trial.number]
            share = min(1.0, (self._state.now - began) / max(done - began, 1e-9))
            self._apply(ProgressReported(slot, Progressed(len(progress.rounds) + 1, share, 0.0)))
        state, seconds = self._state, self._plan.seconds
        left = TimeLeft(self._policy, state.now, len(state.slots), state.shares).estimate()
        by_trials = (state.trials_done + len(state.under_way)) / self._plan.trials
        spent = max(by_trials, state.now / seconds) if seconds else by_trials
        self.readings.append(Reading(spent, state.now, left))

    def _apply(self, event: Event) -> None:
        self._state = after(self._state, event)

    def _tick(self, now: float) -> None:
        self._apply(Ticked(now))

    def _say(self, number: int, seconds: float, said: RoundDone | Ended | Paused) -> None:
        heapq.heappush(self._queue, (self._state.now + seconds, next(self._order), number, said))

    def _fill(self) -> None:
        free = [slot for slot in self._state.slots if slot not in self._state.running]
        while free and (trial := self._next()):
            slot = free.pop(0)
            job = _job(trial, slot)
            curve = self._replay.curve_of(trial.config)
            if trial.number in self._state.paused:
                self._apply(TrialThawed(trial.number, slot, job))
                extra = self._replay.thaw_s
            else:
                self._apply(TrialProposed(trial))
                self._apply(TrialPlaced(trial, slot, "run", job))
                extra = curve.fixed
            self._policy.begin(self._state.running[slot])
            predicted = self._policy.costs.round_seconds(trial.config)
            self._apply(TrialStarted(slot, predicted))
            self._train(slot, extra)

    def _next(self) -> Trial | None:
        """The next trial; those that are paused and not needed any more end."""
        while (trial := self._policy.next(self._state.now)) is None:
            if not (dropped := self._policy.dropped()):
                break
            for one, why in dropped:
                self._end(one.trial.number, why)
        if self._policy.stop and not self._state.search_ended:
            self._apply(SearchEnded(self._policy.stop))
        return trial

    def _train(self, slot: Slot, extra: float = 0.0) -> None:
        """Let a trial say when its next round is done, or how it ends."""
        progress = self._state.running[slot]
        number, done = progress.trial.number, len(progress.rounds)
        curve = self._replay.curve_of(progress.trial.config)
        if done >= len(curve.losses):
            self._say(number, extra + 0.01, Ended(Outcome(curve.outcome)))
            self._round[number] = (self._state.now, self._state.now + extra + 0.01)
            return
        seconds = extra + curve.seconds[done]
        metrics = {"val_loss": curve.losses[done], "round_seconds": curve.seconds[done]}
        self._round[number] = (self._state.now, self._state.now + seconds)
        self._say(number, seconds, RoundDone(done + 1, metrics))

    def _stop(self, number: int, why: Ended | Paused) -> None:
        if number not in self._stopped:
            self._stopped.add(number)
            self._say(number, KILL_S, why)

    def _receive(self, number: int, said: RoundDone | Ended | Paused) -> None:
        progress = self._state.open_trial(number)
        if progress is None or progress.ended:
            return
        if isinstance(said, RoundDone):
            if number in self._stopped:
                return
            self._apply(RoundReported(progress.slot, said))
            progress = self._state.running[progress.slot]
            verdict = self._policy.judge(progress)
            # a trial of the ladder may end within its first round, which is taken for it
            if len(progress.rounds) >= progress.trial.rounds or progress.trial.steps is not None:
                verdict = Ended(Outcome.COMPLETE)
            if verdict:
                self._stop(number, verdict)
            else:
                self._train(progress.slot)
        elif isinstance(said, Paused):
            self._stopped.discard(number)
            self._apply(TrialPaused(progress.slot, said))
            self._policy.pause(self._state.paused[number])
        else:
            self._end(number, said)

    def _end(self, number: int, ended: Ended) -> None:
        self._apply(TrialEnded(number, ended))
        progress = self._state.open_trial(number)
        assert progress
        self._apply(TrialClosed(number))
        for other, why in self._policy.end(progress):
            self._stop(other.trial.number, why)


def _job(trial: Trial, slot: Slot) -> Job:
    nowhere = Path()
    return Job(
        trial=trial, slot=slot, training=CorpusTraining(nowhere, Scoring(1, 0)), folder=nowhere
    )


def errors(readings: Sequence[Reading], took: float, *, by_time: bool) -> Iterator[Error]:
    """The errors at each of `MARKS`.

    These are shares of the time that it took if `by_time`, and of the budget otherwise.
    """
    for mark in MARKS:
        passed = (one for one in readings if (one.at / took if by_time else one.spent) >= mark)
        one = next(passed, readings[-1])
        left, shown = max(took - one.at, 1e-9), one.left
        if shown is None:
            yield Error(math.inf, in_range=False)
        else:
            inside = shown.low * (1 - ROUNDING) <= left <= shown.high * (1 + ROUNDING)
            yield Error((shown.seconds - left) / left, inside)


_replay: Replay | None = None


def _open(file: Path) -> None:
    global _replay
    _replay = Replay(file)


def _run(task: tuple[SweepSpec, int]) -> Errors:
    """The errors of one sweep, and how long it took."""
    assert _replay
    spec, slots = task
    sweep = TimedSweep(_replay, spec, slots)
    took = sweep.run()
    readings = sweep.readings
    by_budget, by_time = (list(errors(readings, took, by_time=by)) for by in (False, True))
    return Errors(by_budget, by_time, took)


def main() -> None:
    """Simulate sweeps, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--file", type=Path, action="append", help="again for another recording")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    print(
        f"{given.seeds} sweeps each, {given.slots} slots; error (80 % range), within a fifth, ",
        end="",
    )
    print("within the range shown")
    print(f"{'recording, budget':<38}" + "".join(f"{f'at {mark:.0%}':>34}" for mark in MARKS))
    for file in given.file or sorted(curves.FOLDER.glob("*.jsonl")):
        head, found = curves.read(file)
        name = file.stem + (curves.HELD_OUT if head.get("held_out") else "")
        trials = min(MOST_TRIALS, round(TRIALS_SHARE * len(found)))
        with Pool(given.workers, _open, (file,)) as pool:
            specs = [SweepSpec(trials=trials, seed=seed) for seed in range(given.seeds)]
            results = pool.map(_run, [(spec, given.slots) for spec in specs], chunksize=1)
            print(_line(f"{name}, {trials} trials", [one.by_budget for one in results]))
            print(_line(f"{name}, {trials} trials, of its time", [one.by_time for one in results]))
            minutes = round(TIME_SHARE * statistics.median(one.took for one in results) / 60, 2)
            specs = [replace(s, trials=Plan.trials, minutes=minutes) for s in specs]
            results = pool.map(_run, [(spec, given.slots) for spec in specs], chunksize=1)
            line = _line(f"{name}, {minutes:g} minutes", [one.by_budget for one in results])
            print(line, flush=True)


def _line(label: str, found: Sequence[Sequence[Error]]) -> str:
    cells = list[str]()
    for at_mark in zip(*found, strict=True):
        shares = sorted(one.share for one in at_mark)
        low, high = (shares[round(share * (len(shares) - 1))] for share in (0.1, 0.9))
        within = sum(abs(share) <= WITHIN for share in shares) / len(shares)
        inside = sum(one.in_range for one in at_mark) / len(shares)
        text = f"{statistics.median(shares):+.0%} ({low:+.0%} to {high:+.0%})"
        cells.append(f"{text:>22} {within:>5.0%} {inside:>5.0%}")
    return f"{label:<38}{''.join(cells)}"


if __name__ == "__main__":
    main()
