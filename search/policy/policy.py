"""What a sweep tries next, and which trials it cuts short: ladder, search, confirmation.

A `Policy` sees trials begin, report and end, and nothing else: no engine, no store, no clock. So
recorded trials can be put in place of real ones (benchmarks/replay.py). It keeps snapshots of them
and hands out snapshots.
"""

from __future__ import annotations

from collections.abc import Sequence

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.confirmation import Confirmation
from lstm_sweep.search.policy.ladder import LadderDecision
from lstm_sweep.search.policy.ladder_phase import LadderPhase
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.problem import SearchProblem
from lstm_sweep.search.policy.report import LadderReport, SearchReport
from lstm_sweep.search.policy.search_phase import SearchPhase
from lstm_sweep.search.policy.stop_reason import DONE, Stop, StopReason
from lstm_sweep.search.trial import (
    Ended,
    Outcome,
    Phase,
    Trial,
    TrialProgress,
    TrialSnapshot,
    trial_seed,
)
from lstm_sweep.spaces.space import Space

#: what the end of the time is for
KEPT = "which were kept to train the best configs again"


class Policy:
    """Decides for one sweep."""

    def __init__(self, plan: Plan, problem: SearchProblem, *, sweep: str, slots: int) -> None:
        self.plan, self._problem, self._sweep = plan, problem, sweep
        self._costs = problem.costs()
        #: the last attempt of each trial, by its number
        self._trials: dict[int, TrialSnapshot] = {}
        #: trials that were told to end
        self._judged: set[int] = set()
        self._next = 0
        self._stop: Stop | None = None
        self._ladder = LadderPhase(problem, self._trials, climbs=plan.ladder)
        self._search = SearchPhase(plan, problem, self._trials, self._costs)
        self._confirmation = Confirmation(plan, self._trials, self._costs, slots)

    # what is known

    @property
    def stop(self) -> Stop | None:
        """Why no more trials are begun; None while they are."""
        return self._stop

    @property
    def ladder(self) -> LadderDecision | None:
        """How the ladder has ended; None while it goes on."""
        return self._ladder.decision

    @property
    def space(self) -> Space:
        """What is searched: the whole space, until the ladder has made it narrower."""
        return self._search.space

    @property
    def confirms(self) -> bool:
        """Whether the search is over and the best configs are trained again."""
        return self._confirmation.begun

    @property
    def trials(self) -> tuple[TrialSnapshot, ...]:
        """The last attempt of each trial, in the order in which they began."""
        return tuple(self._trials.values())

    @property
    def leaders(self) -> tuple[TrialSnapshot, ...]:
        """First runs of the configs that are trained again, the best first."""
        return tuple(self._confirmation.leaders())

    def objective_values(self) -> dict[int, float]:
        """What TPE is told of each trial that has a loss, by its number."""
        return self._search.objective_values()

    def too_large(self, config: Config) -> bool:
        """Whether a config that is smaller in nothing has used up the memory."""
        return self._search.too_large(config)

    def round_seconds(self, config: Config) -> float:
        """Seconds that one round of a config will take."""
        return self._costs.round_seconds(config)

    def trial_seconds(self, config: Config, rounds: int) -> float:
        """Seconds from the start of a trial to the end of a number of rounds."""
        return self._costs.trial_seconds(config, rounds)

    def importance(self) -> dict[str, float] | None:
        """Share of the variance of the loss that each hyperparameter explains.

        Trials that failed or did worse than guessing count as guessing; None if the trials are too
        few.
        """
        return self._search.importance()

    def report(self) -> SearchReport:
        """What was found out so far."""
        again, climbed = self._confirmation, None
        if self._ladder.rates:
            rates = self.space[self.space.rate or ""].describe()
            climbed = LadderReport(tuple(self._ladder.steps()), self.ladder, rates)
        return SearchReport(climbed, tuple(again.results()), again.omitted())

    # what comes next

    def next(self, gone: float = 0.0) -> Trial | None:
        """The next trial, `gone` seconds after the beginning.

        None if there is none now; once `stop` says why, there will be none later either.
        """
        if self._stop:
            return None
        if self._next >= self.plan.trials:
            self._stop = DONE
            return None
        left = self._left(gone)
        if self.ladder is None:
            config = self._ladder.next_config()
            if config is None:
                return None
            return self._trial(config, Phase.LADDER, self.space.encode(config))
        if not self._confirmation.begun and not self._search_is_over(left):
            kept = self._confirmation.reserve(left).seconds
            proposal = self._search.next(self._next, None if left is None else left - kept)
            if proposal:
                return self._trial(proposal.config, Phase.SEARCH, proposal.point)
        return self._next_confirmation(left)

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
            objective=self._problem.objective,
            rounds_per_epoch=self._problem.rounds_per_epoch,
        )

    def _search_is_over(self, left: float | None) -> bool:
        kept = self._confirmation.reserve(left)
        if self._next >= self.plan.trials - kept.trials:
            return True
        if left is not None and kept.seconds >= left:
            self._search.over = Stop(StopReason.MINUTES, f"{left:.0f} s are left, {KEPT}")
            return True
        return self._search.has_lost_patience()

    def _next_confirmation(self, left: float | None) -> Trial | None:
        again = self._confirmation
        again.begin(self.plan.trials - self._next)
        running = [one for one in self._trials.values() if one.ended is None]
        if any(one.trial.number in self._judged for one in running):
            return None  # it ends just now, and may be a leader then
        first = again.next(left)
        if first is not None:
            return self._trial(first.trial.config, Phase.CONFIRM, {})
        # as long as trials run, there may be leaders still
        if again.full or not running:
            self._stop = self._end(left)
        return None

    def _end(self, left: float | None) -> Stop:
        """Why nothing more is begun once the best are confirmed as far as they can be."""
        if (first := self._confirmation.next()) and left is not None:
            needs = self._confirmation.seconds_of(first)
            text = f"{left:.0f} s are left, and another trial takes {needs:.0f} s"
            return Stop(StopReason.MINUTES, text)
        none = Stop(StopReason.TRIALS, "no trial has a result")
        return self._search.over or (DONE if self._confirmation.ranked() else none)

    # what trials do

    def begin(self, progress: TrialProgress) -> None:
        """A trial has begun."""
        self._judged.discard(progress.trial.number)
        self._take(progress)
        self._next = max(self._next, progress.trial.number + 1)

    def _take(self, progress: TrialProgress) -> TrialSnapshot:
        """Keep what is known of a trial by now."""
        one = self._trials[progress.trial.number] = progress.snapshot()
        return one

    def note(self, progress: TrialProgress) -> TrialSnapshot:
        """A trial has finished a round."""
        one = self._take(progress)
        self._costs.observe(one.trial.number, one.trial.config, one.round_seconds)
        # only trials of the search are compared at rungs, up to the rung that has ended them
        if one.trial.phase is Phase.SEARCH and one.trial.number not in self._judged:
            self._search.note_round(one)
        return one

    def judge(self, progress: TrialProgress) -> Ended | None:
        """After a round: how to end the trial; None if it goes on."""
        one = self.note(progress)
        trial = one.trial
        if len(one.rounds) >= trial.rounds or one.last or trial.number in self._judged:
            return None
        verdict = self._verdict(one)
        if verdict:
            self._judged.add(trial.number)
        return verdict

    def _verdict(self, one: TrialSnapshot) -> Ended | None:
        trial, done = one.trial, len(one.rounds)
        best = one.best_round or done
        patience = self.plan.early_stopping * trial.rounds_per_epoch
        if patience and done - best >= patience:
            return Ended(Outcome.COMPLETE, f"no better since epoch {trial.epoch_text(best)}")
        if trial.phase is Phase.LADDER:
            return self._ladder.judge(one)
        return self._search.judge(one) if trial.phase is Phase.SEARCH else None

    def lose(self, progress: TrialProgress) -> None:
        """An attempt of a trial has ended that will be tried again."""
        self._take(progress)

    def end(self, progress: TrialProgress) -> list[tuple[TrialSnapshot, Ended]]:
        """A trial has ended; return those that are no longer needed, and how to end them."""
        one = progress.snapshot()
        if one.trial.number in self._trials:  # of those that confirm, `restore` begins some later
            self._trials[one.trial.number] = one
        total = one.seconds if _is_whole(one) else None
        self._costs.observe(one.trial.number, one.trial.config, one.round_seconds, total)
        self._search.note_end(one)
        if self.ladder is not None or one.trial.phase is not Phase.LADDER:
            return []
        needless = self._ladder.end()
        if self._ladder.best_rate is not None:
            self._search.narrow(self._ladder.best_rate)
        return needless

    def overdue(self, gone: float) -> list[tuple[TrialSnapshot, Ended]]:
        """Trials of the search that run into the time that is kept for confirming; how to end them.

        Each is named once.
        """
        left = self._left(gone)
        if left is None or self.ladder is None:
            return []
        kept = self._confirmation.reserve(left)
        if not kept.trials or left > kept.seconds:
            return []
        ended = Ended(Outcome.STOPPED, f"{left:.0f} s are left, {KEPT}")
        self._search.over = self._search.over or Stop(StopReason.MINUTES, ended.reason)
        self._confirmation.begin(self.plan.trials - self._next)
        late = [
            one
            for one in self._trials.values()
            if one.trial.phase is Phase.SEARCH
            and not one.ended
            and one.trial.number not in self._judged
        ]
        self._judged |= {one.trial.number for one in late}
        return [(one, ended) for one in late]

    # a sweep that goes on

    def restore(
        self, all_progress: Sequence[TrialProgress], waiting: Sequence[Trial], *, extended: bool
    ) -> None:
        """Know what a sweep that was broken off knew: its trials, in order of their ends.

        `waiting` are those that were under way, and will be tried again. If the budget was
        `extended`, the search goes on even if it was over.
        """
        last = {progress.trial.number: progress for progress in all_progress}
        trials = [*(progress.trial for progress in last.values()), *waiting]
        searched = max((t.number for t in trials if t.phase is not Phase.CONFIRM), default=-1)
        again = {trial.number for trial in trials if trial.phase is Phase.CONFIRM}
        #: those since the search has ended last
        confirming = {number for number in again if number > searched}
        under_way = {trial.number for trial in waiting}
        for number in sorted(set(last) - confirming):
            self.begin(last[number])
        for progress in all_progress:
            if progress is not last[progress.trial.number]:
                continue
            if progress.trial.phase is Phase.SEARCH:
                self._search.restore_rounds(progress.snapshot())
            if progress.trial.number not in under_way:
                self.end(progress)
        if confirming and not extended:
            self._confirmation.begin(self.plan.trials - min(confirming))
        for number in sorted(confirming & set(last)):
            self.begin(last[number])


def _is_whole(one: TrialSnapshot) -> bool:
    """Whether a trial that has ended was not cut short between rounds, or before it returned."""
    assert one.ended
    if one.trial.objective.returned:
        return one.ended.loss is not None
    return one.ended.outcome is not Outcome.STOPPED
