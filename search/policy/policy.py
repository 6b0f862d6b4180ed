"""What a sweep tries next, and which trials it cuts short: ladder, search, confirmation.

A `Policy` sees trials begin, report and end, and nothing else: no engine, no store, no clock. So
recorded trials can be put in place of real ones (benchmarks/replay.py).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence

from lstm_sweep.models.config import Config, TrialConfig
from lstm_sweep.search.policy import halving, importance, ladder, tpe
from lstm_sweep.search.policy.confirmation import Confirmation
from lstm_sweep.search.policy.cost import CostModel, Costs, DataSize, ObservedCosts, steps_per_epoch
from lstm_sweep.search.policy.plan import Plan
from lstm_sweep.search.policy.proposer import Observation, Proposal, Proposer
from lstm_sweep.search.policy.stop_reason import DONE, Stop, StopReason
from lstm_sweep.search.trial import Ended, Outcome, Phase, Trial, TrialProgress, trial_seed
from lstm_sweep.spaces.space import Space

#: steps of the optimizer before which losses say little about how a trial will end, and steps by
#: which the rates of a ladder have parted
FEWEST_STEPS = 50
LADDER_STEPS = 300
#: proposals that are looked at for one that reaches its first rung before the deadline
LOOKS = 30
#: what the end of the time is for
KEPT = "which were kept to train the best configs again"
#: fields that a trial's need of memory grows with
MEMORY_FIELDS = ("layers", "layer_size", "sequence_length", "batch_size")


class Policy:
    """Decides for one sweep.

    Without an `data_size` nothing is known of the networks before they are trained.
    """

    def __init__(
        self,
        plan: Plan,
        space: Space,
        data_size: DataSize | None,
        *,
        sweep: str,
        slots: int,
        unigram_loss: float,
        admits: Callable[[Config], bool] = lambda config: True,
    ) -> None:
        self.plan, self.space, self._sweep = plan, space, sweep
        #: the space before the ladder made it narrower
        self.whole_space = space
        self._unigram_loss = unigram_loss
        self._admits = lambda config: admits(config) and not self.too_large(config)
        self.costs: Costs = CostModel(data_size) if data_size else ObservedCosts()
        #: the last attempt of each trial, by its number
        self.all_progress: dict[int, TrialProgress] = {}
        self._judged: set[int] = set()
        self._next = 0
        self.confirmation = Confirmation(plan, self.all_progress, self.costs, slots)
        #: configs that used up the memory
        self._exhausting: list[TrialConfig] = []
        #: why the search proper has ended, if not by the number of trials
        self._over: Stop | None = None
        #: why no more trials are begun; None while they are
        self.stop: Stop | None = None
        self._rungs: dict[int, dict[int, float]] = {}
        self.rates = ladder.of(space) if plan.ladder else ()
        self.ladder: ladder.Decision | None = None if self.rates else _no_ladder(plan)
        self._small: Config = space.middle()
        #: epoch after which trials are judged for the first time
        self.first_rung = plan.first_rung or 1
        #: epochs that a trial of the ladder is trained
        self.ladder_epochs = plan.ladder_epochs or space.epochs
        if data_size:
            self._measure(data_size, admits)
        self._proposer: Proposer | None = None

    def _measure(self, data_size: DataSize, admits: Callable[[Config], bool]) -> None:
        """Begin with the smallest network, and judge once enough steps are done."""
        plan, space = self.plan, self.space
        self._small = small = ladder.smallest(space, data_size.alphabet, admits)
        middle = {n: space[n].decode(space[n].at(0.5)) for n in ("sequence_length", "batch_size")}
        steps = steps_per_epoch(small.evolve(**middle), data_size)
        enough = min(math.ceil(FEWEST_STEPS / steps), space.epochs // halving.FACTOR)
        self.first_rung = plan.first_rung or max(1, enough)
        parted = math.ceil(LADDER_STEPS / steps_per_epoch(small, data_size))
        self.ladder_epochs = plan.ladder_epochs or min(parted, space.epochs)

    # what comes next

    def next(self, gone: float = 0.0) -> Trial | None:
        """The next trial, `gone` seconds after the beginning.

        None if there is none now; once `stop` says why, there will be none later either.
        """
        if self.stop:
            return None
        if self._next >= self.plan.trials:
            self.stop = DONE
            return None
        left = self._left(gone)
        if self.ladder is None:
            return self._next_rate()
        if not self.confirmation.begun and not self._search_is_over(left):
            kept = self.confirmation.reserve(left).seconds
            trial = self._next_search(None if left is None else left - kept)
            if trial:
                return trial
        return self._next_confirmation(left)

    def _left(self, gone: float) -> float | None:
        return None if self.plan.seconds is None else self.plan.seconds - gone

    def _trial(self, config: Config, phase: Phase, point: dict[str, float]) -> Trial:
        number = self._next
        self._next += 1
        seed = trial_seed(self.plan.seed, number)
        return Trial(
            sweep=self._sweep, number=number, config=config, seed=seed, point=point, phase=phase
        )

    def _next_rate(self) -> Trial | None:
        begun = {self._rate(progress) for progress in self._of(Phase.LADDER)}
        rate = next((rate for rate in self.rates if rate not in begun), None)
        if rate is None:
            return None
        config = self._small.evolve(**{self.space.rate or "": rate})
        return self._trial(config, Phase.LADDER, self.space.encode(config))

    def _rate(self, progress: TrialProgress) -> int | float | str:
        return progress.trial.config.to_dict()[self.space.rate or ""]

    def _next_search(self, left: float | None) -> Trial | None:
        if opening := self._opening(left):
            return self._trial(opening, Phase.SEARCH, self.space.encode(opening))
        if self._proposer is None:
            plan = self.plan
            self._proposer = Proposer(
                self.space,
                seed=plan.seed,
                algorithm=plan.algorithm,
                admits=self._admits,
                liar=plan.liar,
                startup=plan.startup,
            )
        candidates = self._proposer.candidates(self._next, self._seen())
        plan, costs = self.plan, self.costs
        wanted = (
            plan.choices if self._next < plan.startup else tpe.CANDIDATES if plan.cost_weight else 1
        )
        some: list[Proposal] = []
        least = math.inf
        for proposal in itertools.islice(candidates, LOOKS):
            needs = costs.trial_seconds(proposal.config, self.first_rung)
            least = min(least, needs)
            if left is None or needs <= left:
                some.append(proposal)
            if len(some) == wanted:
                break
        if not some:
            text = f"{left or 0:.0f} s are left, and a trial's first rung takes {least:.0f} s"
            self._over = Stop(StopReason.MINUTES, text)
            if least == math.inf:
                text = f"all {self._next} configs of the space that may be tried are begun"
                self._over = Stop(StopReason.SPACE, text)
            return None

        def worth(proposal: Proposal) -> float:
            if proposal.acquisition is None:  # nothing is known of any: the one that learns soonest
                return -costs.step_seconds(proposal.config)
            return proposal.acquisition - plan.cost_weight * math.log(
                costs.epoch_seconds(proposal.config)
            )

        chosen = max(some, key=worth)
        return self._trial(chosen.config, Phase.SEARCH, chosen.point)

    def _opening(self, left: float | None) -> Config | None:
        """A sensible config to begin with, once the ladder has found a rate; else None."""
        best = self.ladder and self.ladder.best
        if not best or not self.plan.opening or self._of(Phase.SEARCH):
            return None
        config = ladder.opening(self.space, self._small, best, self._admits)
        used = {progress.trial.config for progress in self.all_progress.values()}
        if config is None or config in used:
            return None
        needs = self.costs.trial_seconds(config, self.first_rung)
        return None if left is not None and needs > left else config

    def _seen(self) -> list[Observation]:
        trained = [c for c in self.all_progress.values() if c.trial.phase is not Phase.CONFIRM]
        losses = self.objective_values()
        return [
            Observation(
                progress.trial.number,
                progress.trial.config,
                self._point(progress),
                losses.get(progress.trial.number) if progress.ended else None,
                pending=progress.ended is None,
            )
            for progress in sorted(trained, key=lambda progress: progress.trial.number)
        ]

    def _point(self, progress: TrialProgress) -> dict[str, float]:
        if progress.trial.phase is Phase.SEARCH:
            return progress.trial.point
        inside = self.space.admits(progress.trial.config)
        return self.space.encode(progress.trial.config) if inside else {}

    def objective_values(self) -> dict[int, float]:
        """What TPE is told of each trial that has a loss, by its number."""
        if self._small.returns_loss:  # a trial that was cut short has none
            ranked = {
                number: progress.ranked_loss for number, progress in self.all_progress.items()
            }
            return {number: loss for number, loss in ranked.items() if loss is not None}
        curves = {
            number: progress.best_so_far
            for number, progress in self.all_progress.items()
            if progress.epochs and (progress.ended is None or progress.ended.outcome.ranks)
        }
        epochs = self.space.epochs
        if self.plan.lesson == "prospect":
            return halving.extrapolated_losses(curves, epochs, self.first_rung)
        if self.plan.lesson == "rung":
            return halving.at_highest_rung(curves, epochs, self.first_rung)
        return {n: curve[-1] for n, curve in curves.items() if math.isfinite(curve[-1])}

    def too_large(self, config: Config) -> bool:
        """Whether a config that is smaller in nothing has used up the memory."""
        return isinstance(config, TrialConfig) and any(
            config.direction == large.direction
            and all(getattr(config, field) >= getattr(large, field) for field in MEMORY_FIELDS)
            for large in self._exhausting
        )

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
        for progress in (
            progress for progress in all_progress if progress is last[progress.trial.number]
        ):
            if progress.trial.phase is Phase.SEARCH:
                for epoch, best in enumerate(progress.best_so_far, start=1):
                    self._rungs.setdefault(epoch, {})[progress.trial.number] = best
            if progress.trial.number not in under_way:
                self.end(progress)
        if confirming and not extended:
            self.confirmation.begin(self.plan.trials - min(confirming))
        for number in sorted(confirming & set(last)):
            self.begin(last[number])

    # what is cut short

    def begin(self, progress: TrialProgress) -> None:
        """A trial has begun."""
        self._judged.discard(progress.trial.number)
        self.all_progress[progress.trial.number] = progress
        self._next = max(self._next, progress.trial.number + 1)

    def update(self, progress: TrialProgress) -> None:
        """Something else is known of the last attempt at a trial that has begun."""
        if progress.trial.number in self.all_progress:
            self.all_progress[progress.trial.number] = progress

    def note(self, progress: TrialProgress) -> None:
        """A trial has finished an epoch."""
        self.update(progress)
        trial = progress.trial
        self.costs.observe(trial.number, trial.config, progress.epoch_seconds)
        if trial.phase is Phase.SEARCH:  # others do not go on, or are not to be cut short
            best = progress.best_so_far[-1]
            self._rungs.setdefault(len(progress.epochs), {})[trial.number] = best

    def judge(self, progress: TrialProgress) -> Ended | None:
        """After an epoch: how to end the trial; None if it goes on."""
        self.note(progress)
        trial, epoch, best = progress.trial, len(progress.epochs), progress.best_so_far[-1]
        if epoch >= trial.config.epochs or progress.last or trial.number in self._judged:
            return None
        verdict = self._verdict(progress, epoch, best)
        if verdict:
            self._judged.add(trial.number)
        return verdict

    def _verdict(self, progress: TrialProgress, epoch: int, best: float) -> Ended | None:
        plan, trial = self.plan, progress.trial
        since = epoch - (progress.best_epoch or epoch)
        if plan.early_stopping and since >= plan.early_stopping:
            return Ended(Outcome.COMPLETE, f"no better since epoch {progress.best_epoch}")
        if trial.phase is Phase.LADDER:
            if self.ladder is not None:  # it was under way when the sweep was broken off
                return Ended(Outcome.STOPPED, f"the ladder has ended: {self.ladder.reason}")
            if epoch >= self.ladder_epochs:
                return Ended(Outcome.COMPLETE, f"a trial of the ladder takes {epoch} epochs")
            return None
        if trial.phase is Phase.CONFIRM or not plan.halving:
            return None
        if epoch in halving.rungs(trial.config.epochs, self.first_rung):
            others = [v for n, v in self._rungs[epoch].items() if n != trial.number]
            places = halving.FIRST_PLACES if epoch == self.first_rung else 1
            decision = halving.decide(epoch, best, others, places=places)
            if not decision.go_on:
                return Ended(Outcome.PRUNED, decision.reason)
        return None

    def end(self, progress: TrialProgress) -> list[tuple[TrialProgress, Ended]]:
        """A trial has ended; return those that are no longer needed, and how to end them."""
        self.update(progress)
        trial = progress.trial
        total = progress.seconds if _is_whole(progress) else None
        self.costs.observe(trial.number, trial.config, progress.epoch_seconds, total)
        full = progress.ended and progress.ended.outcome is Outcome.OUT_OF_MEMORY
        if full and isinstance(trial.config, TrialConfig):
            self._exhausting.append(trial.config)
        if self.ladder is not None or trial.phase is not Phase.LADDER:
            return []
        decision = ladder.decide(self.steps(), self._unigram_loss)
        if not decision.done:
            return []
        self.ladder = decision
        if decision.best is not None:
            self.space = ladder.narrowed(self.space, decision.best)
        ended = Ended(Outcome.STOPPED, f"the ladder has ended: {decision.reason}")
        return [(c, ended) for c in self._of(Phase.LADDER) if c.ended is None]

    def overdue(self, gone: float) -> list[tuple[TrialProgress, Ended]]:
        """Trials of the search that run into the time that is kept for confirming; how to end them.

        Each is named once.
        """
        left = self._left(gone)
        if left is None or self.ladder is None:
            return []
        kept = self.confirmation.reserve(left)
        if not kept.trials or left > kept.seconds:
            return []
        ended = Ended(Outcome.STOPPED, f"{left:.0f} s are left, {KEPT}")
        self._over = self._over or Stop(StopReason.MINUTES, ended.reason)
        self.confirmation.begin(self.plan.trials - self._next)
        late = [c for c in self._of(Phase.SEARCH) if not c.ended]
        late = [c for c in late if c.trial.number not in self._judged]
        self._judged |= {progress.trial.number for progress in late}
        return [(progress, ended) for progress in late]

    def steps(self) -> list[ladder.Step]:
        """The rates of the ladder and their losses so far."""
        found = {self._rate(progress): progress for progress in self._of(Phase.LADDER)}
        return [ladder.Step(rate, _ladder_loss(found.get(rate))) for rate in self.rates]

    def _of(self, *phases: Phase) -> list[TrialProgress]:
        return [c for c in self.all_progress.values() if c.trial.phase in phases]

    # when the search is over

    def _search_is_over(self, left: float | None) -> bool:
        kept = self.confirmation.reserve(left)
        if self._next >= self.plan.trials - kept.trials:
            return True
        if left is not None and kept.seconds >= left:
            self._over = Stop(StopReason.MINUTES, f"{left:.0f} s are left, {KEPT}")
            return True
        patience = self.plan.patience
        if patience is not None and self.trials_without_gain() >= patience:
            self._over = Stop(StopReason.PATIENCE, f"no better for {patience} trials")
            return True
        return False

    def trials_without_gain(self) -> int:
        """Trials of the search that have ended since the best loss improved by more than noise."""
        since, best = 0, math.inf
        ended = [progress for progress in self._of(Phase.SEARCH) if progress.ended]
        for progress in sorted(ended, key=lambda progress: progress.began + progress.seconds):
            loss = progress.ranked_loss
            if loss is not None and loss < best - noise(progress):
                since, best = 0, loss
            else:
                since += 1
        return since

    def importance(self) -> dict[str, float] | None:
        """Share of the variance of the loss that each hyperparameter explains.

        Trials that failed or did worse than guessing count as guessing.
        """
        losses = self.objective_values()
        found = {
            progress.trial.config: min(losses.get(number, math.inf), self._unigram_loss)
            for number, progress in self.all_progress.items()
            if progress.trial.phase is not Phase.CONFIRM and progress.ended
        }
        finite = {config: loss for config, loss in found.items() if math.isfinite(loss)}
        return importance.shares(self.whole_space, finite, self.plan.seed)

    @property
    def running(self) -> list[TrialProgress]:
        """Trials that have not ended."""
        return [progress for progress in self.all_progress.values() if progress.ended is None]

    def _next_confirmation(self, left: float | None) -> Trial | None:
        again = self.confirmation
        again.begin(self.plan.trials - self._next)
        running = self.running
        if any(c.trial.number in self._judged for c in running):
            return None  # it ends just now, and may be a leader then
        progress = again.next(left)
        if progress is not None:
            return self._trial(progress.trial.config, Phase.CONFIRM, {})
        # as long as trials run, there may be leaders still
        if again.full or not running:
            self.stop = self._end(left)
        return None

    def _end(self, left: float | None) -> Stop:
        """Why nothing more is begun once the best are confirmed as far as they can be."""
        if (progress := self.confirmation.next()) and left is not None:
            needs = self.confirmation.seconds_of(progress)
            text = f"{left:.0f} s are left, and another trial takes {needs:.0f} s"
            return Stop(StopReason.MINUTES, text)
        none = Stop(StopReason.TRIALS, "no trial has a result")
        return self._over or (DONE if self.confirmation.ranked() else none)


def _is_whole(progress: TrialProgress) -> bool:
    """Whether a trial that has ended was not cut short between two epochs, or a template at all."""
    assert progress.ended
    if progress.trial.config.returns_loss:
        return progress.ended.loss is not None
    return progress.ended.outcome is not Outcome.STOPPED


def _ladder_loss(progress: TrialProgress | None) -> float | None:
    if progress is None or progress.ended is None:
        return None
    return math.inf if progress.ranked_loss is None else progress.ranked_loss


def _no_ladder(plan: Plan) -> ladder.Decision:
    return ladder.Decision((), None, "no rates to climb" if plan.ladder else "switched off")


def noise(progress: TrialProgress) -> float:
    """How much a trial's validation loss moves from epoch to epoch once it has settled, nats.

    The median absolute step over the second half of its epochs.
    """
    losses = [loss for loss in progress.val_losses if loss is not None]
    later = losses[len(losses) // 2 :]
    steps = [abs(a - b) for a, b in itertools.pairwise(later)]
    return statistics.median(steps) if steps else 0.0
