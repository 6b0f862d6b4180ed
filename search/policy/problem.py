"""What a search is told beforehand, `SearchProblem`, and what it knows of its trials, `Trials`."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.models.config import Config
from lstm_sweep.search.values.sweep import Stop, StopReason
from lstm_sweep.search.values.trial import (
    VALIDATION_LOSS,
    Ended,
    Objective,
    Outcome,
    Phase,
    Trial,
)
from lstm_sweep.spaces.space import Space

Array = NDArray[np.float64]


def grown(array: Array, size: int) -> Array:
    """The array with room for `size` trials at least, along its last axis; new ones are NaN."""
    room = array.shape[-1]
    if size <= room:
        return array
    more = np.full((*array.shape[:-1], max(size, 2 * room) - room), np.nan)
    return np.concatenate([array, more], axis=-1)


def lowest(numbers: NDArray[np.intp], losses: Array, count: int) -> list[int]:
    """The so many of the ascending numbers that have the lowest losses, in order."""
    own = losses[numbers]
    if count < len(own):
        within = own <= np.partition(own, count - 1)[count - 1]
        numbers, own = numbers[within], own[within]
    return numbers[np.argsort(own, kind="stable")[:count]].tolist()  # type: ignore[no-any-return]


def usual(values: Array, otherwise: float) -> float:
    """Median of those that are known (not NaN)."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else otherwise


class Costs:
    """Predicts of any config what is usual: of networks of which nothing is known beforehand.

    Such a trial says nothing before its end, so it always takes what a whole one does.
    """

    fixed_seconds: float = 0.0

    def __init__(self) -> None:
        #: `<float64>[2, trials]`: usual seconds of a round of each, and those of whole trials
        self._seen = np.full((2, 64), np.nan)

    def observe(
        self, number: int, config: Config, rounds: Sequence[float], total: float | None = None
    ) -> None:
        """Learn from the rounds of a trial so far; `total` is what it took, if it is whole."""
        self._seen = grown(self._seen, number + 1)
        if rounds:
            self._seen[0, number] = np.median(rounds)
        if total is not None:
            self._seen[1, number] = total

    def round_seconds(self, config: Config) -> float:
        return usual(self._seen[0], 1.0)

    def trial_seconds(self, config: Config, rounds: int) -> float:
        return usual(self._seen[1], 0.0)


#: whether a config may be tried
Admits = Callable[[Config], bool]


@dataclass(frozen=True)
class LadderLength:
    """How long a trial of the ladder is trained."""

    #: None: as many as any trial
    rounds: int | None = None
    #: steps of the optimizer if it ends within its first round, else None
    steps: int | None = None


@dataclass(frozen=True)
class LargeNetwork:
    """A large network with which a search may begin later."""

    config: Config
    #: rounds for which there has to be time: with fewer, another one is better
    rounds: int
    #: rounds of another trial before it is begun: by then cheap networks have shown what they are
    #: worth
    begun_after: int
    #: the rung at which it is compared with others for the first time
    judged_from: int


def admits_all(config: Config) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class SearchProblem:
    """What is searched, and what is known of trials beforehand; by default nothing is."""

    space: Space
    objective: Objective = VALIDATION_LOSS
    admits: Admits = admits_all
    #: loss of a trial that has learned nothing; None if nobody knows
    untrained_loss: float | None = None
    #: makes what predicts the seconds of trials
    costs: Callable[[], Costs] = Costs
    #: config of the ladder's trials, but for their learning rate; None: the middle of the space
    smallest: Config | None = None
    #: whether a trial can wait after a round, and go on later
    pausable: bool = False
    #: rounds into which each epoch is divided
    rounds_per_epoch: int = 1
    #: round after which trials are judged for the first time
    first_rung: int = 1
    #: how long a trial of the ladder is trained, by the seconds that the sweep may take (None: no
    #: limit) and its slots
    ladder_length: Callable[[float | None, int], LadderLength] = lambda limit, slots: LadderLength()
    #: best learning rate of a config, as a share of that of the ladder's network; and the lowest
    #: one in the space
    rate_share: Callable[[Config], float] = lambda config: 1.0
    lowest_rate_share: float = 1.0
    #: with what the search begins, by the best learning rate; empty if nothing is more sensible
    openings: Callable[[float, Admits], Sequence[Config]] = lambda best_rate, admits: ()
    #: large networks, the most promising first, of which one may be a later opening, by the best
    #: learning rate
    large_openings: Callable[[float], Sequence[LargeNetwork]] = lambda best_rate: ()
    #: the best configs of earlier sweeps on the same data, with which the search begins
    prior: Sequence[Config] = ()

    @property
    def rounds(self) -> int:
        return self.space.epochs * self.rounds_per_epoch


#: how many of them a search begins with, those of the newest sweeps
MOST_EARLIER = 2


@dataclass(frozen=True)
class EarlierBest:
    """The trial of an earlier sweep with the lowest loss; a search begins with its config."""

    #: `SWEEP/NUMBER`
    trial: str
    config: Config


def described(prior: Sequence[EarlierBest]) -> list[str]:
    """A line for people: which earlier configs a search begins with; none if there are none."""
    if not prior:
        return []
    many = len(prior) > 1
    sweeps = f"configs of {len(prior)} earlier sweeps" if many else "config of an earlier sweep"
    trials = ", ".join(one.trial for one in prior)
    return [f"prior: begins with the best {sweeps} on these data ({trials})"]


class Trials(dict[int, Trial]):
    """The last attempt of each trial by its number, in the order in which they were first put."""

    def __init__(self, slots: int = 1) -> None:
        super().__init__()
        #: how many trials may run at once by now, 1 or more: other sweeps come and go, and nodes
        self.slots = slots
        self._open, self._paused, self._again = set[int](), set[int](), set[int]()
        #: `<float64>[2, trials]` of first runs, NaN of others: the loss of one that competes, and
        #: that so far of one that is not of steps only
        self._losses = np.full((2, 64), np.nan)
        #: configs of all trials but those that confirm
        self.configs: set[Config] = set()

    def put(self, one: Trial) -> None:
        number, first, loss = one.number, one.phase is not Phase.CONFIRM, one.ranked_loss
        self[number] = one
        for numbers, holds in (
            (self._open, one.ended is None),
            (self._paused, bool(one.paused)),
            (self._again, not first),
        ):
            numbers.add(number) if holds else numbers.discard(number)
        if first:
            self.configs.add(one.config)
            so_far = None if one.steps is not None else loss if one.ended else one.best_loss
            self._losses = grown(self._losses, number + 1)
            self._losses[:, number] = [np.nan if x is None else x for x in (loss, so_far)]

    def _of(self, numbers: Iterable[int]) -> list[Trial]:
        return [self[number] for number in numbers]

    def of(self, phase: Phase) -> list[Trial]:
        return [one for one in self.values() if one.phase is phase]

    @property
    def open(self) -> list[Trial]:
        return self._of(sorted(self._open))

    @property
    def paused(self) -> list[Trial]:
        return self._of(sorted(self._paused))

    @property
    def again(self) -> list[Trial]:
        return self._of(sorted(self._again))

    @property
    def ranked(self) -> list[Trial]:
        return self._best(self._losses[0], len(self))

    def best_so_far(self, count: int) -> list[Trial]:
        """The best first runs by their loss so far, those under way too, but none of steps only."""
        return self._best(self._losses[1], count)

    def _best(self, losses: Array, count: int) -> list[Trial]:
        return self._of(lowest(np.flatnonzero(~np.isnan(losses)), losses, count))


#: nothing is begun any more, since none of many trials has a loss
NO_RESULT = Stop(StopReason.TRIALS, "no trial has a result")
#: seconds, and share of the time, that count as none
NOTHING_S, NOTHING = 1.0, 0.02


def all_trials(count: int) -> Stop:
    text = f"all {count:,} trials are done" if count > 1 else "the only trial is done"
    return Stop(StopReason.TRIALS, text)


def out_of_time(seconds: float, left: float = 0.0) -> Stop:
    minutes = round(seconds / 60, 2)
    time, verb = (f"the {minutes:g} minutes", "are") if minutes != 1 else ("the minute", "is")
    if left <= max(NOTHING_S, NOTHING * seconds):
        return Stop(StopReason.MINUTES, f"{time} {verb} over")
    return Stop(StopReason.MINUTES, f"what is left of {time} is too short for another trial")


def out_of_patience(trials: int) -> Stop:
    last = f"the last {trials:,} trials were" if trials > 1 else "the last trial was"
    return Stop(StopReason.PATIENCE, f"{last} no better than those before")


def space_is_tried(count: int) -> Stop:
    text = f"all {count:,} configs of the space are tried" if count else "no config may be tried"
    return Stop(StopReason.SPACE, text)


def stopped_early(one: Trial, epochs: int) -> Ended | None:
    """How a trial ends that has not improved for so many epochs (0: never); None if it goes on."""
    done, patience = len(one.rounds), epochs * one.rounds_per_epoch
    best = one.best_round or done
    if not patience or done - best < patience:
        return None
    return Ended(Outcome.COMPLETE, f"no better since epoch {one.epoch_text(best)}")


def trials_without_gain(searched: Iterable[Trial]) -> int:
    """Most trials in a row of the search, ended or paused, in which the best loss stayed.

    It has to improve by more than noise. What trials gain that still run once patience is lost does
    not bring it back, also to a sweep that is resumed then.
    """
    since, most, best = 0, 0, math.inf
    shown = [one for one in searched if one.paused or (one.ended and _counts(one.ended))]
    for one in sorted(shown, key=lambda one: one.began + one.seconds):
        loss = one.best_loss if one.paused else one.ranked_loss
        if loss is not None and loss < best - noise(one):
            since, best = 0, loss
        else:
            since += 1
        most = max(most, since)
    return most


def _counts(ended: Ended) -> bool:
    """Whether a trial says something of its config, and was not cut off as the search was over."""
    outcome = ended.outcome
    return not (outcome in (Outcome.OUT_OF_TIME, Outcome.STOPPED) or outcome.is_accident)


def noise(one: Trial) -> float:
    """Median absolute step, nats, of the validation loss over the second half of the rounds."""
    losses = [loss for loss in one.val_losses if loss is not None]
    later = losses[len(losses) // 2 :]
    steps = [abs(a - b) for a, b in itertools.pairwise(later)]
    return statistics.median(steps) if steps else 0.0
