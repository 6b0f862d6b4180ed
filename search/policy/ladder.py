"""The ladder: a coarse sweep of learning rates from high to low, and what follows from it.

Greff et al. (LSTM: A Search Space Odyssey, arXiv 1503.04069) find that the learning rate explains
most of the variance of a network's loss. The best one depends on the network's size, but by less
than a step of ten. So it is found first, on a small network: start high, divide by ten until the
loss stops improving.

The best rate lies somewhere between the neighbours of the best step, and is another one for other
networks: of RMSprop and Adam it falls as layers grow in size and in number. So the search gets a
range on a log scale, and of it each config the part that suits its size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lstm_sweep.models.config import Config, TrialConfig
from lstm_sweep.search.policy.cost import PRIOR_FIXED, DataSize, prior_seconds, steps_per_round
from lstm_sweep.search.policy.problem import LadderLength, SearchProblem, Trials, stopped_early
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial
from lstm_sweep.spaces.dimension import Dimension, Range
from lstm_sweep.spaces.space import Space

TENTH = 10.0
#: a rate whose loss is above this share of that of a model without input has learned nothing
LEARNED = 0.98
#: numbers that differ by less than this share are the same rate
SAME = 1e-6
#: a rate that suits many networks, in place of what a ladder finds
USUAL = 0.01
#: neighbours whose ratio is off ten by less than this share are a tenth of each other
SAME_TENTH = 0.01


# which rates


def rates(dimension: Dimension) -> tuple[float, ...]:
    """Rates from the highest down: a tenth of the one before, or the largest listed below that."""
    listed = dimension.values()
    if listed is not None:
        values = sorted((float(value) for value in listed), reverse=True)
        found = values[:1]
        for value in values:
            if value <= found[-1] / TENTH * (1 + SAME):
                found.append(value)
        return tuple(found)
    low, high = ends_of(dimension)
    count = math.floor(math.log(high / low, TENTH) + SAME) + 1
    exact = (high / TENTH**index for index in range(count))
    return tuple(dict.fromkeys(float(dimension.decode(dimension.encode(r))) for r in exact))


def rates_of(space: Space) -> tuple[float, ...]:
    """The ladder of a space; empty if it has no more rates than would be left."""
    found = rates(space[space.rate]) if space.rate else ()
    return found if len(found) > 2 else ()


def is_left_out(rates: Sequence[float], trials: int) -> bool:
    return trials <= len(rates)


def usual_rate(rates: Sequence[float]) -> float:
    return min(rates, key=lambda rate: abs(math.log(rate / USUAL)))


def refinable(space: Space) -> bool:
    """Whether the search may take rates between those of the ladder.

    They are a range without steps, or three listed rates or more by tens; lists of others are meant
    as they stand, as is what a template says.
    """
    if space.stands_in or not space.rate:
        return False
    dimension = space[space.rate]
    if isinstance(dimension, Range):
        return not dimension.step
    listed, found = dimension.values() or [], rates(dimension)
    ratios = (high / low / TENTH for high, low in itertools.pairwise(found))
    by_tens = all(abs(ratio - 1) < SAME_TENTH for ratio in ratios)
    return len(listed) == len(found) > 2 and by_tens


def ends_of(dimension: Dimension) -> tuple[float, float]:
    if values := dimension.values():
        return float(values[0]), float(values[-1])
    return float(getattr(dimension, "low", 0.0)), float(getattr(dimension, "high", math.inf))


# how long a trial is trained

#: steps of the optimizer by which rates have parted, and those without which they may not have
STEPS, FEWEST_STEPS = 300, 150
#: share of them that whole rounds have at least
ENOUGH = 0.8
#: by how many steps it is shortened at a time
LESS = 50
#: share of a sweep's time that a ladder may take, and the rates that it usually needs
LADDER_SHARE, USUAL_RATES = 0.05, 4


def ladder_length(
    network: TrialConfig, data_size: DataSize, rounds: int, seconds: float | None, slots: int
) -> LadderLength:
    """How long each trial is trained, so that the ladder takes at most `LADDER_SHARE` of the time.

    It follows from what the ladder's network costs by `cost.PRIOR`, so it is known before anything
    is trained, and the same for all rates. `rounds` are those that a trial of the sweep has at
    most. A sweep takes so many `seconds` (None: no limit) on a number of slots.
    """
    turns, in_round = math.ceil(USUAL_RATES / slots), steps_per_round(network, data_size)
    score_s = prior_seconds(network, replace(data_size, symbols=0))
    step_s = (prior_seconds(network, data_size) - score_s) / in_round
    for steps in range(STEPS, FEWEST_STEPS - 1, -LESS):
        if steps < in_round:
            length, train_s = LadderLength(1, steps), steps * step_s
        else:  # whole rounds with about as many
            some = min(math.ceil(ENOUGH * steps / in_round), rounds)
            length, train_s = LadderLength(some), some * in_round * step_s
        trial_s = PRIOR_FIXED + (length.rounds or 1) * score_s + train_s
        if seconds is None or turns * trial_s <= LADDER_SHARE * seconds:
            break
    return length


# what follows from the losses


@dataclass(frozen=True)
class Step:
    """A rate of the ladder, and what came of it."""

    rate: float
    #: validation loss, nats; infinite if the trial has diverged; None if it is not known
    loss: float | None = None
    #: how its trial has ended, if that says nothing of the rate: it is passed over then
    accident: Outcome | None = None


@dataclass(frozen=True)
class LadderDecision:
    """How a ladder has ended."""

    #: None if no rate has learned anything
    best: float | None
    reason: str


def decide(steps: Sequence[Step], untrained_loss: float) -> LadderDecision | None:
    """Which of the steps, the highest rate first, is best; None if losses are still needed.

    A step counts once all above it are known. The ladder ends at the first rate that is worse than
    a higher one that has learned something. `untrained_loss` is that of one that knows nothing.
    """
    passed = "".join(
        f"; {one.rate:g} was passed over ({str(one.accident).replace('_', ' ')})"
        for one in steps
        if one.accident
    )
    best, lowest = None, math.inf
    for step in steps:
        if step.accident:
            continue
        if step.loss is None:
            return None
        if best is None:
            if step.loss < LEARNED * untrained_loss:
                best, lowest = step.rate, step.loss
        elif step.loss < lowest:
            best, lowest = step.rate, step.loss
        else:
            worse = f"reached {step.loss:.4f}" if math.isfinite(step.loss) else "diverged"
            told = f"{best:g} is best, loss {lowest:.4f}; {step.rate:g} {worse}"
            return LadderDecision(best, told + passed)
    if best is None:
        limit = f"{LEARNED:g} times the untrained loss ({untrained_loss:.4f})"
        return LadderDecision(None, f"no rate came below {limit}{passed}")
    return LadderDecision(best, f"{best:g}, the lowest rate, is best, loss {lowest:.4f}{passed}")


#: the search keeps to rates from a tenth of the best one to twice as high
BELOW, ABOVE = 10.0, 2.0
#: significant digits of a rate
DIGITS = 2


def rounded(rate: float) -> float:
    return float(f"{rate:.{DIGITS}g}")


class BestRate:
    """The best rate of a ladder's network, and the rates that other networks may have."""

    def __init__(self, problem: SearchProblem, steps: Sequence[Step], best: float) -> None:
        """`best` is the rate of the best of the ladder's steps, which has ended."""
        self._problem, self._dimension = problem, problem.space[problem.space.rate or ""]
        #: whether the search may take any rate within the space's ends, or listed ones only
        self._refines = refinable(problem.space)
        untrained = problem.untrained_loss
        #: of the ladder's network; between two steps of the ladder if it is refined
        self.rate = between_steps(steps, best, untrained) if self._refines else best
        index = [step.rate for step in steps].index(best)
        above, below = _passed_over(reversed(steps[:index])), _passed_over(steps[index + 1 :])
        #: rates below the first have lost, and those above the second have diverged, or lost
        self._known = below[-1] if below else math.inf, above[-1] if above else best * TENTH**0.5

    @property
    def narrowed(self) -> Space:
        space, dimension = self._problem.space, self._dimension
        if not self._refines:
            low = min(self.rate / TENTH, self._known[0])
            kept = dimension.between(low * (1 - SAME), self._known[1] * (1 + SAME))
        else:
            whole = dimension
            if not isinstance(dimension, Range):
                whole = Range(dimension.field, *ends_of(dimension), log=True)
            kept = whole.between(*self._ends)
            kept = replace(kept, digits=DIGITS) if isinstance(kept, Range) else kept
        return space.replace(**{dimension.field: kept}) if kept else space

    def suits(self, config: Config) -> bool:
        if not self._refines:
            return True
        own, low = self._own(config), self._ends[0]
        # where all that would suit is below the space, the lowest rates are left
        high, rate = max(own, low) * ABOVE, float(config.to_dict()[self._dimension.field])
        return own / BELOW * (1 - SAME) <= rate <= high * (1 + SAME)

    def suited(self, config: Config) -> Config:
        """The config with the best rate for it, as far as that is known and in the space."""
        if not self._refines:
            return config
        kept, wanted = self.narrowed[self._dimension.field], self._own(config)
        if values := kept.values():  # a single one, or those that are listed
            rate = min(values, key=lambda value: abs(math.log(float(value) / wanted)))
        else:
            rate = kept.decode(kept.encode(wanted))
        return config.evolve(**{self._dimension.field: rate})

    @property
    def _ends(self) -> tuple[float, float]:
        lowest, highest = ends_of(self._dimension)
        low = max(lowest, rounded(self.rate * self._problem.lowest_rate_share / BELOW))
        return low, max(low, min(highest, rounded(self.rate * ABOVE)))

    def _own(self, config: Config) -> float:
        return self.rate * self._problem.rate_share(config)


def _passed_over(steps: Iterable[Step]) -> list[float]:
    return [step.rate for step in itertools.takewhile(lambda step: step.accident, steps)]


def between_steps(steps: Sequence[Step], best: float, untrained: float | None) -> float:
    """The rate at the lowest point of a parabola through the best step and its two neighbours.

    It is a parabola of the loss over the logarithm of the rate. A neighbour counts with the loss
    `untrained` if it has diverged, was worse or lies above the space; one that was passed over is
    none, so the next one is. If the best step is the lowest, it is that.
    """
    worst = math.inf if untrained is None else untrained
    own = [step.rate for step in steps].index(best)
    losses = [worst if step.loss is None else min(step.loss, worst) for step in steps]
    known = [place for place, step in enumerate(steps) if not step.accident]
    lower = next((place for place in known if place > own), None)
    if lower is None:
        return best
    upper = max((place for place in known if place < own), default=-1)
    # distances to the two, in steps of the ladder, and how much higher their losses are
    up, down = own - upper, lower - own
    over = (worst if upper < 0 else losses[upper]) - losses[own]
    under = losses[lower] - losses[own]
    bend = (up * under + down * over) / (up * down * (up + down))
    if not math.isfinite(bend) or bend <= 0:
        return best
    slope = over / up - bend * up
    return rounded(best * TENTH ** (-slope / (2 * bend)))


class LadderPhase:
    """Which rates are tried, and how their trials end; `trials` are all of the sweep."""

    def __init__(self, plan: Plan, problem: SearchProblem, trials: Trials) -> None:
        self._trials, self._problem = trials, problem
        self._early_stopping = plan.early_stopping
        self._rate_field = problem.space.rate or ""
        self._small = problem.smallest or problem.space.middle()
        self._length = problem.ladder_length(plan.seconds, trials.slots)
        self.rates = rates_of(problem.space) if plan.ladder else ()
        #: None while rates are tried
        self.decision: LadderDecision | None = None
        #: whether it is left out, since it might take all trials
        self._is_left_out = is_left_out(self.rates, plan.trials) and bool(self.rates)
        if self._is_left_out:
            self.decision = LadderDecision(usual_rate(self.rates), "left out")
        elif not self.rates:
            reason = "no rates to climb" if plan.ladder else "switched off"
            self.decision = LadderDecision(None, reason)

    @property
    def steps(self) -> int | None:
        return self._length.steps

    def resume(self, waiting: Sequence[Trial]) -> None:
        """Train the next trials as long, and as large, as those before the sweep was broken off."""
        own = self._trials.of(Phase.LADDER)
        begun = [*own, *(t for t in waiting if t.phase is Phase.LADDER)]
        if not begun:
            return
        steps, self._small = begun[0].steps, begun[0].config
        if steps is not None:
            self._length = LadderLength(1, steps)
        elif (rounds := self._length.rounds) is not None:
            complete = (o for o in own if o.ended and o.ended.outcome is Outcome.COMPLETE)
            whole = (len(o.rounds) for o in complete if not stopped_early(o, self._early_stopping))
            self._length = LadderLength(max(whole, default=0) or rounds)

    def best_rate(self) -> BestRate | None:
        """What the search goes on with; None if there is nothing, or nothing yet."""
        if self.decision is None or self.decision.best is None:
            return None
        return BestRate(self._problem, self._tried(), self.decision.best)

    def next_config(self) -> Config | None:
        begun = {self._rate(trial) for trial in self._trials.of(Phase.LADDER)}
        rate = next((rate for rate in self.rates if rate not in begun), None)
        return None if rate is None else self._small.evolve(**{self._rate_field: rate})

    def judge(self, one: Trial) -> Ended | None:
        if self.decision is not None:  # it was under way when the sweep was broken off
            return _not_needed(self.decision)
        if len(one.rounds) >= (self._length.rounds or self._problem.rounds):
            epochs = one.epoch_text(len(one.rounds))
            return Ended(Outcome.COMPLETE, f"{epochs} epochs, as all trials of the ladder")
        return None

    def end(self) -> list[tuple[Trial, Ended]]:
        """Decide after a trial has ended; return those not needed any more, and how they end."""
        untrained = self._problem.untrained_loss
        self.decision = decide(self._tried(), math.inf if untrained is None else untrained)
        if self.decision is None:
            return []
        ended = _not_needed(self.decision)
        return [(one, ended) for one in self._trials.of(Phase.LADDER) if one.ended is None]

    def _tried(self) -> list[Step]:
        found = {self._rate(one): one for one in self._trials.of(Phase.LADDER)}
        return [self._step(rate, found.get(rate)) for rate in self.rates]

    def report(self, space: Space) -> dict[str, Any] | None:
        """What came of it, and the rates that the search goes on with; None if there is none."""
        if not self.rates or self._is_left_out:
            return None
        losses = [step.loss for step in self._tried()]
        return {
            "rates": list(self.rates),
            "losses": [None if loss == math.inf else loss for loss in losses],
            "best": self.decision.best if self.decision else None,
            "reason": self.decision.reason if self.decision else "not finished",
            "learning_rates": space[self._rate_field].describe(),
        }

    def _rate(self, one: Trial) -> int | float | str:
        return one.config.to_dict()[self._rate_field]

    def _step(self, rate: float, one: Trial | None) -> Step:
        if one is None or one.ended is None or one.ended.unfinished:
            return Step(rate)
        outcome = one.ended.outcome
        if outcome.is_accident and one.attempt < outcome.most_attempts(one.phase):
            return Step(rate)  # it is tried again
        if one.ranked_loss is not None:
            return Step(rate, one.ranked_loss)
        if outcome in (Outcome.DIVERGED, Outcome.COMPLETE):  # it has no finite loss
            return Step(rate, math.inf)
        return Step(rate, accident=outcome)


def _not_needed(decision: LadderDecision) -> Ended:
    return Ended(Outcome.PRUNED, f"its learning rate is not needed: {decision.reason}")
