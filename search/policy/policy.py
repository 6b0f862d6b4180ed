"""What a sweep tries next, and which trials it cuts short: ladder, search, confirmation.

A `Policy` sees trials begin, report and end, and nothing else: no engine, no store, no clock. So
recorded trials can be put in place of real ones (benchmarks/replay.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.confirmation import (
    Confirmation,
    Reserve,
    is_whole,
    makespan,
)
from lstm_sweep.search.policy.halving import pruned
from lstm_sweep.search.policy.ladder import LadderDecision, LadderPhase
from lstm_sweep.search.policy.problem import (
    NO_RESULT,
    SearchProblem,
    Trials,
    all_trials,
    out_of_time,
    stopped_early,
)
from lstm_sweep.search.policy.search_phase import SearchPhase
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.sweep import Stop, StopReason
from lstm_sweep.search.values.trial import Ended, Outcome, Paused, Phase, Trial, trial_seed
from lstm_sweep.spaces.space import Space

#: why a trial ends before its sweep does
KEPT = "the time of the search is over; the rest is for further seeds of the best"


class Policy:
    """Decides for one sweep."""

    def __init__(self, plan: Plan, problem: SearchProblem, *, sweep: str, slots: int) -> None:
        self.plan, self.problem, self._sweep = plan, problem, sweep
        #: what predicts the seconds of trials
        self.costs = problem.costs()
        #: all trials, and how many may run at once by now (a ladder stays as long as it was)
        self.known = Trials(slots)
        #: trials that were told to end
        self._judged: set[int] = set()
        self._next = 0
        #: why no more trials are begun; None while they are
        self.stop: Stop | None = None
        self._ladder = LadderPhase(plan, problem, self.known)
        self._search = SearchPhase(plan, problem, self.known, self.costs)
        self.confirmation = Confirmation(plan, problem, self.known, self.costs)
        if best := self._ladder.best_rate():  # there is no ladder to wait for
            self._search.narrow(best)

    # what is known

    @property
    def ladder(self) -> LadderDecision | None:
        return self._ladder.decision

    @property
    def space(self) -> Space:
        """What is searched: the whole space, until the ladder has made it narrower."""
        return self._search.space

    def ladder_report(self) -> dict[str, Any] | None:
        return self._ladder.report(self.space)

    # what is begun

    def next(self, gone: float = 0.0) -> Trial | None:
        """The next trial, `gone` seconds after the beginning: a new one, or one that has waited.

        None if there is none now; once `stop` says why, there will be none later either.
        """
        if self.stop:
            return None
        left = self._left(gone)
        kept = self.confirmation.reserve(left)
        free = None if left is None else left - kept.seconds
        if paused := self._next_paused(free):
            return paused
        if self._next >= self.plan.trials and not self._may_pause():
            self.stop = all_trials(self.plan.trials)
            return None
        if self.ladder is None:
            if (config := self._ladder.next_config()) is None:
                return None
            return self._trial(config, Phase.LADDER, self.space.encode(config))
        pausing = self._search.pausing
        is_over = self.confirmation.begun or self._search_is_over(left, kept)
        if not is_over and (proposal := self._search.next(self._next, free)):
            return self._trial(proposal.config, Phase.SEARCH, proposal.point)
        if pausing:
            over = self._search.over
            short = left is not None and (over is None or over.reason is StopReason.MINUTES)
            unspent = short or (over is not None and over.reason is StopReason.SPACE)
            pausing.ending = unspent and self._next < self.plan.trials - kept.trials
        return self._next_paused(free, last=True) or self._next_confirmation(left)

    def _may_pause(self) -> bool:
        pausing, trials = self._search.pausing, self.known.open
        return pausing is not None and any(one.phase is Phase.SEARCH for one in trials)

    def _next_paused(self, free: float | None, *, last: bool = False) -> Trial | None:
        """A paused trial that goes on now; with `last`, since no new one is begun."""
        pausing = self._search.pausing
        if pausing is None or not self.known.paused or self.confirmation.begun:
            return None
        if free is not None and free <= self.costs.fixed_seconds:
            return None
        return pausing.last() if last else pausing.next()

    def dropped(self) -> list[tuple[Trial, Ended]]:
        if not self.confirmation.begun and not self.stop:
            return []
        return [(one, pruned(one.paused)) for one in self.known.paused]

    def _left(self, gone: float) -> float | None:
        return None if self.plan.seconds is None else self.plan.seconds - gone

    def _trial(self, config: Config, phase: Phase, point: dict[str, float]) -> Trial:
        number = self._next
        self._next += 1
        return Trial(
            sweep=self._sweep,
            number=number,
            config=config,
            seed=trial_seed(self.plan.seed, number),
            point=point,
            phase=phase,
            objective=self.problem.objective,
            rounds_per_epoch=self.problem.rounds_per_epoch,
            steps=self._ladder.steps if phase is Phase.LADDER else None,
        )

    def _search_is_over(self, left: float | None, kept: Reserve) -> bool:
        if self._next >= self.plan.trials - kept.trials:
            return True
        if left is not None and kept.seconds >= left:
            self._search.over = out_of_time(self.plan.seconds or 0.0)
            return True
        return self._search.has_lost_patience()

    def _next_confirmation(self, left: float | None) -> Trial | None:
        again, pausing = self.confirmation, self._search.pausing
        late = pausing and pausing.ending and left is not None
        if pausing and not (late or again.begun) and pausing.running_leader():
            return None  # the best may be the last to end
        self.confirmation.begin(self.plan.trials - self._next)
        if self.known.paused:  # they are ended first
            return None
        running = self.known.open
        if any(one.number in self._judged for one in running):
            return None  # it ends just now, and may be one of the best then
        if (first := again.next(left)) is not None:
            trial = self._trial(first.config, Phase.CONFIRM, {})
            return replace(trial, most_rounds=again.most_rounds(first))
        # as long as trials run, they may be among the best still
        if again.full or not running:
            self.stop = self._end(left)
        return None

    def _end(self, left: float | None) -> Stop:
        """Why nothing more is begun once the best are confirmed as far as they can be."""
        if self._next >= self.plan.trials:
            return all_trials(self.plan.trials)
        over, seconds, pausing = self._search.over, self.plan.seconds, self._search.pausing
        short = over.reason is StopReason.MINUTES if over else pausing and pausing.ending
        is_late = self.confirmation.next() or short
        if is_late and left is not None and seconds is not None:
            return out_of_time(seconds, left)
        may_have_one = self.known.ranked or self.known.open
        return over or (all_trials(self.plan.trials) if may_have_one else NO_RESULT)

    def put(self, progress: Trial) -> None:
        """A trial begins or goes on, is paused, or has ended and is tried again."""
        self._judged.discard(progress.number)
        self._next = max(self._next, progress.number + 1)
        self.note(progress)

    def note(self, progress: Trial) -> Trial:
        """Keep what is known of a trial by now; one that makes room for another sweep runs on."""
        one = replace(progress, paused="") if progress.preempted else progress
        self.known.put(one)
        self._search.put(one)
        if one.steps is None:  # else it ends within a round
            total = one.seconds if is_whole(one) else None
            self.costs.observe(one.number, one.config, one.round_seconds, total)
        return one

    def judge(self, progress: Trial) -> Ended | Paused | None:
        one = self.note(progress)
        if len(one.rounds) >= one.planned_rounds or one.last or one.number in self._judged:
            return None
        if verdict := self._verdict(one):
            self._judged.add(one.number)
        return verdict

    def _verdict(self, one: Trial) -> Ended | Paused | None:
        if ended := stopped_early(one, self.plan.early_stopping):
            return ended
        if one.phase is Phase.LADDER:
            return self._ladder.judge(one)
        return None if one.phase is Phase.CONFIRM else self._search.judge(one)

    def end(self, progress: Trial) -> list[tuple[Trial, Ended]]:
        """A trial has ended; return those that are no longer needed, and how to end them."""
        one = self.note(progress)
        self._search.end(one)
        if self.ladder is not None or one.phase is not Phase.LADDER:
            return []
        needless = self._ladder.end()
        if best := self._ladder.best_rate():
            self._search.narrow(best)
        return needless

    def overdue(self, gone: float) -> list[tuple[Trial, Ended]]:
        """Trials of the search that run into the time kept for confirming, each named once."""
        left = self._left(gone)
        if left is None or self.ladder is None:
            return []
        kept = self.confirmation.reserve(left)
        if not kept.trials or left > kept.seconds:
            return []
        ended = Ended(Outcome.OUT_OF_TIME, KEPT)
        self._search.over = self._search.over or out_of_time(self.plan.seconds or 0.0)
        self.confirmation.begin(self.plan.trials - self._next)
        searched = (one for one in self.known.open if one.phase is Phase.SEARCH)
        late = [o for o in searched if not o.paused and o.number not in self._judged]
        self._judged |= {one.number for one in late}
        return [(one, ended) for one in late]

    def restore(
        self,
        all_progress: Sequence[Trial],
        waiting: Sequence[Trial],
        paused: Sequence[Trial] = (),
        *,
        extended: bool,
    ) -> None:
        """Know what a sweep that was broken off knew: its trials, in order of their ends.

        `waiting` are those that were under way, and will be tried again, and `paused` those that
        had no slot. If the budget was `extended`, the search goes on even if it was over.
        """
        last: dict[int, Trial] = {}  # of attempts, in order of their ends
        for one in all_progress:
            last.pop(one.number, None)
            last[one.number] = one
        known = last | {one.number: one for one in paused}
        trials = [*known.values(), *waiting]
        searched = max((t.number for t in trials if t.phase is not Phase.CONFIRM), default=-1)
        for number in sorted(known):
            self.put(known[number])
        self._ladder.resume(waiting)
        under_way = {trial.number for trial in (*waiting, *paused)}
        for number, one in last.items():
            if number not in under_way:
                self.end(one)
        again = [trial.number for trial in trials if trial.phase is Phase.CONFIRM]
        if confirming := [number for number in again if number > searched]:  # the search had ended
            first, before = min(confirming), len(again) - len(confirming)
            kept = self.confirmation.reserve(None).trials
            if not extended and (first >= self.plan.trials - kept or self._search.find_over(first)):
                self.confirmation.begin(self.plan.trials - first, before)

    # how long it still takes

    def expected_left(self, gone: float) -> float | None:
        """Seconds to the end of the sweep, by what is known; None if that is too little."""
        plan, again, slots = self.plan, self.confirmation, self.known.slots
        kept = Reserve(0) if self.stop else again.reserve(self._left(gone))
        best = {one.config: one for one in self.known.best_so_far(plan.confirm_configs)}
        runs = again.order(list(best), kept.trials)
        further = [again.seconds_of(best[config]) for config in runs]
        running = [one for one in self.known.open if not one.paused]
        ends = [] if plan.seconds is None else [plan.seconds - gone]
        if again.begun or self.stop:
            rest = [max(0.0, again.seconds_of(o) - sum(o.round_seconds)) for o in running]
            ends.append(makespan([*rest, *further], slots))
        elif any(one.ended or one.paused for one in self.known.of(Phase.SEARCH)):
            done = len(self.known) - len(running) / 2
            to_come = max(0.0, plan.trials - kept.trials - done)
            # they take what those took that are done; further runs of the best come after them
            ends.append(gone * to_come / done + makespan(further, slots))
        return max(0.0, min(ends)) if ends else None
