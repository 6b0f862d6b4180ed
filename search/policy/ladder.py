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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lstm_sweep.models.config import Config, TrialConfig
from lstm_sweep.search.policy.confirmation import Confirmed
from lstm_sweep.search.policy.cost import PRIOR_FIXED, DataSize, prior_seconds, steps_per_round
from lstm_sweep.search.policy.problem import LadderLength, SearchProblem
from lstm_sweep.search.values.progress import TrialProgress
from lstm_sweep.search.values.spec import Plan
from lstm_sweep.search.values.stop_reason import stopped_early
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Trial
from lstm_sweep.spaces.dimension import Dimension, Range
from lstm_sweep.spaces.space import Space

FACTOR = 10.0
#: a rate whose loss is above this share of that of the unigram baseline has learned nothing
LEARNED = 0.98
#: numbers that differ by less than this share are the same rate
SAME = 1e-6
#: a rate that suits many networks, in place of what a ladder finds
USUAL = 0.01
#: neighbours whose ratio is off ten by less than this share are a tenth of each other
SAME_TENTH = 0.01


@dataclass(frozen=True)
class Step:
    """A rate of the ladder, and what came of it."""

    rate: float
    #: validation loss, nats; infinite if the trial has diverged; None if it is not known
    loss: float | None = None
    #: how its trial has ended, if that says nothing of the rate: it is passed over then
    accident: Outcome | None = None

    @property
    def is_open(self) -> bool:
        """Whether its loss is still to come."""
        return self.loss is None and self.accident is None


@dataclass(frozen=True)
class LadderDecision:
    """Which rates of a ladder are still needed, and which is the best so far."""

    #: rates whose losses are still needed, the highest first; empty when the ladder has ended
    needed: tuple[float, ...]
    #: the best rate so far; None if none has learned anything
    best: float | None
    reason: str

    @property
    def done(self) -> bool:
        """Whether the ladder has ended."""
        return not self.needed


def rates(dimension: Dimension) -> tuple[float, ...]:
    """The rates of a ladder over a dimension of learning rates, from its highest value down.

    Each is a tenth of the one before, or the largest listed value that is no more than that.
    """
    listed = dimension.values()
    if listed is not None:
        values = sorted((float(value) for value in listed), reverse=True)
        found = values[:1]
        for value in values:
            if value <= found[-1] / FACTOR * (1 + SAME):
                found.append(value)
        return tuple(found)
    low, high = (float(getattr(dimension, end)) for end in ("low", "high"))
    count = math.floor(math.log(high / low, FACTOR) + SAME) + 1
    exact = (high / FACTOR**index for index in range(count))
    return tuple(dict.fromkeys(float(dimension.decode(dimension.encode(r))) for r in exact))


def rates_of(space: Space) -> tuple[float, ...]:
    """The ladder of a space; empty if it has no more rates than would be left."""
    found = rates(space[space.rate]) if space.rate else ()
    return found if len(found) > 2 else ()


def is_left_out(rates: Sequence[float], trials: int) -> bool:
    """Whether a sweep of so many trials could end before a ladder of these rates does."""
    return trials <= len(rates)


def usual_rate(rates: Sequence[float]) -> float:
    """The one of these rates that is nearest to `USUAL`, on a log scale."""
    return min(rates, key=lambda rate: abs(math.log(rate / USUAL)))


def is_by_tens(dimension: Dimension) -> bool:
    """Whether a dimension lists three rates or more, each a tenth of the one before."""
    listed, found = dimension.values() or [], rates(dimension)
    return (
        len(found) > 2
        and len(found) == len(listed)
        and all(
            abs(high / low / FACTOR - 1) < SAME_TENTH for high, low in itertools.pairwise(found)
        )
    )


def decide(steps: Sequence[Step], unigram_loss: float) -> LadderDecision:
    """Decide from the steps, highest rate first, which are still needed.

    A step counts once all above it are known. The ladder ends at the first rate that is worse than
    a higher one that has learned something; `unigram_loss` is that of the unigram baseline, nats.
    """
    passed = "".join(
        f"; {one.rate:g} was passed over ({str(one.accident).replace('_', ' ')})"
        for one in steps
        if one.accident
    )
    best: Step | None = None
    for index, step in enumerate(steps):
        if step.is_open:
            needed = tuple(later.rate for later in steps[index:] if later.is_open)
            return LadderDecision(needed, best.rate if best else None, f"waiting for {step.rate:g}")
        if step.loss is None:
            continue
        learned = math.isfinite(step.loss) and step.loss < LEARNED * unigram_loss
        if best is None:
            best = step if learned else None
        elif best.loss is not None and math.isfinite(step.loss) and step.loss < best.loss:
            best = step
        else:
            told = f"{best.rate:g} is best, {_compare(step, best)}"
            return LadderDecision((), best.rate, told + passed)
    if best is None:
        limit = f"{LEARNED:g} times the unigram loss ({unigram_loss:.4f})"
        return LadderDecision((), None, f"no rate came below {limit}{passed}")
    told = f"{best.rate:g}, the lowest rate, is best, loss {best.loss:.4f}"
    return LadderDecision((), best.rate, told + passed)


def _compare(step: Step, best: Step) -> str:
    diverged = step.loss is None or not math.isfinite(step.loss)
    worse = "diverged" if diverged else f"reached {step.loss:.4f}"
    return f"loss {best.loss:.4f}; {step.rate:g} {worse}"


#: the search keeps to rates from a tenth of the best one to twice as high
BELOW, ABOVE = 10.0, 2.0
#: a step is nearly as good as the best one if it gains so much of what that gains over unigrams
NEARLY = 0.9
#: significant digits of a rate
DIGITS = 2


@dataclass(frozen=True, kw_only=True)
class BestRate:
    """The best rate of a ladder's network, and the rates that other networks may have."""

    space: Space
    #: of the ladder's network; between two steps of the ladder if `refines`
    rate: float
    #: rates above this one have diverged, or lost clearly
    highest: float
    #: best rate of a config, as a share of that of the ladder's network
    share: Callable[[Config], float] = field(compare=False)
    #: the lowest share in the space
    lowest_share: float = 1.0
    #: rates below this one have lost; 0: those below a tenth of the best one
    lowest: float = 0.0
    #: whether the search may take any rate within the space's ends, or listed ones only
    refines: bool = False

    @property
    def narrowed(self) -> Space:
        """The space with the rates that the search keeps to."""
        assert self.space.rate
        dimension = self.space[self.space.rate]
        if self.refines:
            low, high = self._ends
            kept = _range(dimension, low, high)
        else:
            low = min(self.rate / FACTOR, self.lowest or math.inf)
            kept = dimension.between(low * (1 - SAME), self.highest * (1 + SAME))
        return self.space.replace(**{self.space.rate: kept}) if kept else self.space

    def suits(self, config: Config) -> bool:
        """Whether a config has a rate that may suit it."""
        if not self.refines:
            return True
        own, low = self._own(config), self._ends[0]
        # where all that would suit is below the space, the lowest rates are left
        high = max(own * ABOVE, low * ABOVE)
        return own / BELOW * (1 - SAME) <= self._rate_of(config) <= high * (1 + SAME)

    def suited(self, config: Config, multiple: float | None = None) -> Config:
        """The config with the best rate for it, as far as that is known and in the space.

        Or with a `multiple` of that.
        """
        if not self.refines and multiple is None:
            return config
        assert self.space.rate
        kept = self.narrowed[self.space.rate]
        wanted = self._own(config) * min(max(multiple or 1.0, 1 / BELOW), ABOVE)
        if values := kept.values():  # a single one, or those that are listed
            rate = min(values, key=lambda value: abs(math.log(float(value) / wanted)))
        else:
            rate = kept.decode(kept.encode(wanted))
        return config.evolve(**{self.space.rate: rate})

    @property
    def _ends(self) -> tuple[float, float]:
        assert self.space.rate
        lowest, highest = ends_of(self.space[self.space.rate])
        low = max(lowest, rounded(self.rate * self.lowest_share / BELOW))
        return low, max(low, min(highest, rounded(self.rate * ABOVE)))

    def _own(self, config: Config) -> float:
        return self.rate * self.share(config)

    def _rate_of(self, config: Config) -> float:
        return float(config.to_dict()[self.space.rate or ""])


def refinable(space: Space) -> bool:
    """Whether the search may take rates between those of the ladder.

    They are a range without steps, or three listed rates or more by tens; lists of others are meant
    as they stand, as is what a template says.
    """
    if space.stands_in or not space.rate:
        return False
    dimension = space[space.rate]
    return is_by_tens(dimension) or (isinstance(dimension, Range) and not dimension.step)


def best_rate(
    space: Space,
    steps: Sequence[Step],
    best: float,
    untrained: float | None,
    share: Callable[[Config], float],
    lowest_share: float,
) -> BestRate:
    """What is to be made of a ladder that has ended with the rate `best`.

    `untrained` is the loss of the unigram baseline, nats; None if it is not known.
    """
    refines = refinable(space)
    index = [step.rate for step in steps].index(best)
    above, below = _passed_over(reversed(steps[:index])), _passed_over(steps[index + 1 :])
    near = best * FACTOR if _nearly_as_good(steps, index, untrained) else best * FACTOR**0.5
    return BestRate(
        space=space,
        rate=between_steps(steps, best, untrained) if refines else best,
        highest=above[-1].rate if above else near,
        lowest=below[-1].rate if below else 0.0,
        share=share,
        lowest_share=lowest_share,
        refines=refines,
    )


def _passed_over(steps: Iterable[Step]) -> list[Step]:
    """The first of some steps, those of which nothing is known."""
    return list(itertools.takewhile(lambda step: step.accident, steps))


def between_steps(steps: Sequence[Step], best: float, untrained: float | None) -> float:
    """The rate at the lowest point of a parabola through the best step and its two neighbours.

    It is a parabola of the loss over the logarithm of the rate. A neighbour counts with the loss
    `untrained` if it has diverged, was worse or lies above the space; one that was passed over is
    none, so the next one is. If the best step is the lowest, it is that.
    """
    places = {step.rate: place for place, step in enumerate(steps)}
    own = places[best]
    below = next((step for step in steps[own + 1 :] if not step.accident), None)
    if below is None:
        return best
    above = next((step for step in reversed(steps[:own]) if not step.accident), None)
    # distances to the two, in steps of the ladder, and how much higher their losses are
    up, down = own - (places[above.rate] if above else -1), places[below.rate] - own
    least = _gauged(steps[own].loss, untrained)
    over = _gauged(above.loss if above else None, untrained) - least
    under = _gauged(below.loss, untrained) - least
    bend = (up * under + down * over) / (up * down * (up + down))
    if not math.isfinite(bend) or bend <= 0:
        return best
    slope = over / up - bend * up
    return rounded(best * FACTOR ** (-slope / (2 * bend)))


def _gauged(loss: float | None, untrained: float | None) -> float:
    worst = math.inf if untrained is None else untrained
    return worst if loss is None else min(loss, worst)


def _nearly_as_good(steps: Sequence[Step], index: int, untrained: float | None) -> bool:
    """Whether the step above the best one has gained nearly as much, or nobody can tell."""
    losses = [math.inf if step.loss is None else step.loss for step in steps]
    if index == 0 or not math.isfinite(losses[index - 1]):
        return False
    if untrained is None:
        return True
    return untrained - losses[index - 1] >= NEARLY * (untrained - losses[index])


def rounded(rate: float) -> float:
    """A rate with `DIGITS` significant digits."""
    return float(f"{rate:.{DIGITS}g}")


def ends_of(dimension: Dimension) -> tuple[float, float]:
    """The lowest and the highest rate of a dimension that may be refined."""
    if values := dimension.values():
        return float(values[0]), float(values[-1])
    return float(getattr(dimension, "low", 0.0)), float(getattr(dimension, "high", math.inf))


def _range(dimension: Dimension, low: float, high: float) -> Dimension | None:
    """The rates of a dimension from `low` to `high`, as a range without steps."""
    if isinstance(dimension, Range):
        kept = dimension.between(low, high)
        return replace(kept, digits=DIGITS) if isinstance(kept, Range) else kept
    whole = Range(dimension.field, *ends_of(dimension), log=True, digits=DIGITS)
    return whole.between(low, high)


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
    """How long each trial is trained, so that the ladder takes at most `SHARE` of the time.

    `rounds` are those that a trial of the sweep has at most. A sweep takes so many `seconds` (None:
    no limit) on a number of slots.
    """
    turns = math.ceil(USUAL_RATES / slots)
    for steps in range(STEPS, FEWEST_STEPS, -LESS):
        length = _length_of(steps, network, data_size, rounds)
        trial_s = PRIOR_FIXED + predicted_s(length, network, data_size)
        if seconds is None or turns * trial_s <= LADDER_SHARE * seconds:
            return length
    return _length_of(FEWEST_STEPS, network, data_size, rounds)


def _length_of(steps: int, network: TrialConfig, data_size: DataSize, rounds: int) -> LadderLength:
    """So many steps of a round that has more, else whole rounds with about as many."""
    in_round = steps_per_round(network, data_size)
    if steps < in_round:
        return LadderLength(1, steps)
    return LadderLength(min(math.ceil(ENOUGH * steps / in_round), rounds))


def predicted_s(length: LadderLength, network: TrialConfig, data_size: DataSize) -> float:
    """Seconds of training and scoring."""
    score_s = prior_seconds(network, replace(data_size, symbols=0))
    train_s = prior_seconds(network, data_size) - score_s
    share = 1.0
    if length.steps is not None:
        share = length.steps / steps_per_round(network, data_size)
    return (length.rounds or 1) * (score_s + share * train_s)


class LadderPhase:
    """Which rates are tried, and how their trials end; `trials` are all of the sweep."""

    def __init__(
        self, plan: Plan, problem: SearchProblem, trials: Mapping[int, TrialProgress], slots: int
    ) -> None:
        self._trials, self._problem = trials, problem
        self._early_stopping = plan.early_stopping
        self._rate_field = problem.space.rate or ""
        self._small = problem.smallest or problem.space.middle()
        self._length = problem.ladder_length(plan.seconds, slots)
        self.rates = rates_of(problem.space) if plan.ladder else ()
        #: which attempt is the next of trials that are tried again, by their number
        self._to_come: dict[int, int] = {}
        #: None while rates are tried
        self.decision: LadderDecision | None = None
        #: whether it is left out, since it might take all trials
        self.is_left_out = is_left_out(self.rates, plan.trials) and bool(self.rates)
        if self.is_left_out:
            self.decision = LadderDecision((), usual_rate(self.rates), "left out")
        elif not self.rates:
            reason = "no rates to climb" if plan.ladder else "switched off"
            self.decision = LadderDecision((), None, reason)

    @property
    def steps(self) -> int | None:
        """Steps of the optimizer that a trial takes; None if it is trained for whole rounds."""
        return self._length.steps

    def take_up(self, waiting: Sequence[Trial]) -> None:
        """Train the next trials as those before the sweep was broken off: as long, and as large.

        `waiting` are those that were under way then.
        """
        self._to_come = {trial.number: trial.attempt for trial in waiting}
        own = self._own()
        begun = [*(one.trial for one in own), *(t for t in waiting if t.phase is Phase.LADDER)]
        if not begun:
            return
        steps, self._small = begun[0].steps, begun[0].config
        rounds = self._length.rounds
        if steps is not None:
            self._length = LadderLength(1, steps)
        elif rounds is not None:
            self._length = LadderLength(self._rounds_before(own) or rounds)

    def _rounds_before(self, own: Sequence[TrialProgress]) -> int:
        """Rounds after which the ladder has ended its trials; 0 if it has ended none so far."""
        complete = (o for o in own if o.ended and o.ended.outcome is Outcome.COMPLETE)
        whole = (o for o in complete if not stopped_early(o, self._early_stopping))
        return max((len(one.rounds) for one in whole), default=0)

    def found(self) -> BestRate | None:
        """What the search goes on with; None if there is nothing, or nothing yet."""
        best, problem = self.decision.best if self.decision else None, self._problem
        if best is None:
            return None
        return best_rate(
            problem.space,
            self.tried(),
            best,
            problem.untrained_loss,
            problem.rate_share,
            problem.lowest_rate_share,
        )

    def next_config(self) -> Config | None:
        """The config with the next rate; None if all are begun."""
        begun = {self._rate(trial) for trial in self._own()}
        rate = next((rate for rate in self.rates if rate not in begun), None)
        return None if rate is None else self._small.evolve(**{self._rate_field: rate})

    def judge(self, one: TrialProgress) -> Ended | None:
        """How a trial ends after a round; None if it goes on."""
        if self.decision is not None:  # it was under way when the sweep was broken off
            return self._not_needed(self.decision)
        if len(one.rounds) >= (self._length.rounds or self._problem.rounds):
            epochs = one.trial.epoch_text(len(one.rounds))
            return Ended(Outcome.COMPLETE, f"{epochs} epochs, as all trials of the ladder")
        return None

    def lose(self, one: TrialProgress) -> None:
        """An attempt has ended that says nothing of its rate, since the trial is tried again."""
        self._to_come[one.trial.number] = one.trial.attempt + 1

    def end(self) -> list[tuple[TrialProgress, Ended]]:
        """Decide after a trial has ended; return those not needed any more, and how they end."""
        untrained = self._problem.untrained_loss
        decision = decide(self.tried(), math.inf if untrained is None else untrained)
        if not decision.done:
            return []
        self.decision = decision
        ended = self._not_needed(decision)
        return [(trial, ended) for trial in self._own() if trial.ended is None]

    def tried(self) -> list[Step]:
        """The rates and their losses so far."""
        found = {self._rate(trial): trial for trial in self._own()}
        return [self._step(rate, found.get(rate)) for rate in self.rates]

    def report(self, space: Space) -> LadderReport | None:
        """What came of it; None if there was none. `space` is what is searched by now."""
        if not self.rates or self.is_left_out:
            return None
        return LadderReport(tuple(self.tried()), self.decision, space[self._rate_field].describe())

    def _own(self) -> list[TrialProgress]:
        return [one for one in self._trials.values() if one.trial.phase is Phase.LADDER]

    def _rate(self, trial: TrialProgress) -> int | float | str:
        return trial.trial.config.to_dict()[self._rate_field]

    def _step(self, rate: float, one: TrialProgress | None) -> Step:
        if one is None or one.ended is None:
            return Step(rate)
        if one.trial.attempt < self._to_come.get(one.trial.number, 0):
            return Step(rate)
        outcome = one.ended.outcome
        if one.ranked_loss is not None:
            return Step(rate, one.ranked_loss)
        if outcome in (Outcome.DIVERGED, Outcome.COMPLETE):  # it has no finite loss
            return Step(rate, math.inf)
        return Step(rate, accident=outcome)

    def _not_needed(self, decision: LadderDecision) -> Ended:
        return Ended(Outcome.PRUNED, f"its learning rate is not needed: {decision.reason}")


@dataclass(frozen=True)
class LadderReport:
    """What came of a ladder."""

    steps: tuple[Step, ...]
    #: None while it is not finished
    decision: LadderDecision | None
    #: the rates that the search goes on with, as a space describes them
    learning_rates: Any


@dataclass(frozen=True)
class SearchReport:
    """What a search has found out."""

    #: None if there was none
    ladder: LadderReport | None
    #: configs that were trained again, the best first
    confirmed: tuple[Confirmed, ...]
    #: why the best config was not trained again, if the budget was too small; else empty
    omitted: str
