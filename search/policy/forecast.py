"""The loss that a trial will reach: from its curve, its config, and the curves of other trials.

Rungs lie a factor apart. From one to the next the logarithm of the lowest loss falls by a *step*;
if losses fall as a power of the rounds, all steps of a trial are alike (such power laws: Hestness
et al., arXiv 1712.00409). Here each step has a usual height, that of the trials that have taken it;
where few have, that of the step before. By which share more or less a trial falls than that follows
from its config, by ridge regression. The shares are the same for all steps, so that the few long
curves of a search and its many short ones tell of each other. A trial ends where the steps that are
left lead it from its lowest loss so far; curves that go up and down so do no harm.

It is a Bayesian linear regression with a normal prior of the weights and an inverse gamma prior of
the noise (Murphy, Machine Learning, 2012, section 7.6.3), so what is left follows Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lstm_sweep.search.policy.arrays import Array, Renewal, grown

#: how many steps the prior counts for: that a step is as high as the one before, that a trial falls
#: as usual, and that a feature has the influence that is expected (for a difference of one)
AS_BEFORE, AS_USUAL, AS_TOLD = 1.0, 1.0, 12.0
#: height of the first step before any was seen, in logarithms of the loss, and the least of all
FIRST_HEIGHT, LEAST_HEIGHT = 0.08, 0.005
#: variance of a usual height that one trial has shown, as a share of its square
HEIGHT_VARIANCE = 0.3
#: standard deviation of a trial's step from what is expected, as a share of the usual height,
#: before any was seen, and how many steps that counts for
NOISE, NOISE_COUNTS = 1.0, 3.0
#: what is trained of a step that is not over tells of the whole from this share on
LEAST_SHARE = 0.25
#: on the rest of a step its trial goes on as it has begun, but for a share of the step as large as
#: this, for which the prior counts that it goes on as expected
AS_EXPECTED = 0.3
#: probability that a loss ends between the two ends of a forecast
INTERVAL = 0.8


@dataclass(frozen=True)
class Curve:
    """How far a trial has come."""

    rounds: int
    #: lowest loss so far; finite
    lowest: float
    #: lowest loss so far at each rung, and after all rounds, as far as it has come
    at_rungs: tuple[float, ...]
    #: what is known of its config; all trials of a search have as many, of different scale only as
    #: far as their influence is
    features: tuple[float, ...] = ()
    #: whether it goes no further
    over: bool = False

    @classmethod
    def of(
        cls,
        best_so_far: Sequence[float],
        rungs: Sequence[int],
        features: Sequence[float] = (),
        *,
        over: bool = False,
    ) -> Self | None:
        """The curve of a trial by its lowest losses so far after each round.

        `rungs` are those of the search and the rounds of a whole trial. None without a finite loss.
        """
        if not best_so_far or not math.isfinite(best_so_far[-1]):
            return None
        rounds = len(best_so_far)
        reached = tuple(best_so_far[rung - 1] for rung in rungs if rung <= rounds)
        return cls(rounds, best_so_far[-1], reached, tuple(features), over)


@dataclass(frozen=True)
class Forecast:
    """The lowest loss that a trial will have reached after all rounds."""

    loss: float
    #: it lies from here on ...
    low: float
    #: ... to here with a probability of `INTERVAL`
    high: float


class Forecasts:
    """Forecasts of all trials of a search, made anew once one has trained on.

    Above `arrays.FEW` trials that is only so once a share of them has; until then what is learned
    of all of them stays, and those alone that have trained on are told by it.
    """

    def __init__(self, rungs: Sequence[int], weights: Sequence[float] = ()) -> None:
        """`rungs` are those of the search and the rounds of a whole trial, ascending.

        `weights` are as in `forecasts`.
        """
        self.rungs, self._weights = tuple(rungs), tuple(weights)
        self._curves: dict[int, Curve] = {}
        #: `_row` of each curve by the number of its trial; 0 of those that have none
        self._rows = np.zeros((0, 0))
        #: numbers of trials whose forecasts are to be made, by what is learned of all
        self._changed: set[int] = set()
        self._fit: _Fit | None = None
        self._renewal = Renewal()
        #: as of `ranges`
        self._ranges = np.full((3, 0), np.nan)

    def put(self, number: int, curve: Curve | None) -> None:
        """How far a trial has come; None if it has no loss, or has failed."""
        if curve == self._curves.get(number):
            return
        self._changed.add(number)
        self._renewal.change()
        if curve is None:
            del self._curves[number]
        else:
            self._curves[number] = curve
            row = _row(curve, len(self.rungs))
            if number >= len(self._rows):
                more = np.zeros((max(number + 1, 2 * len(self._rows)) - len(self._rows), len(row)))
                self._rows = np.concatenate([self._rows, more]) if len(self._rows) else more
            self._rows[number] = row

    def losses(self) -> Array:
        """What each trial will reach, by its number; NaN of those that have no curve."""
        return np.asarray(self.ranges()[0])

    def ranges(self) -> Array:
        """Loss, low and high of the forecast of each trial, `<float64>[3, numbers]`.

        NaN of those that have no curve.
        """
        if self._changed:
            self._make()
            self._changed.clear()
        return self._ranges

    def _make(self) -> None:
        """Make the forecasts of all trials, or of those that have changed."""
        if self._fit is None or self._renewal.is_due(len(self._curves)):
            self._renewal.done()
            numbers = sorted(self._curves)
            self._ranges = np.full((3, max(numbers, default=-1) + 1), np.nan)
            if numbers:
                steps = _Steps.of(self._rows[numbers], self.rungs)
                self._fit = _Fit.of(steps, self._weights)
                self._ranges[:, numbers] = _ends(steps, self._fit)
            return
        gone = [number for number in self._changed if number not in self._curves]
        numbers = sorted(self._changed.difference(gone))
        self._ranges = np.stack([grown(row, max(self._changed) + 1) for row in self._ranges])
        self._ranges[:, gone] = np.nan
        if numbers:
            steps = _Steps.of(self._rows[numbers], self.rungs)
            self._ranges[:, numbers] = _ends(steps, self._fit)


def forecasts(
    curves: Mapping[int, Curve], rungs: Sequence[int], weights: Sequence[float] = ()
) -> dict[int, Forecast]:
    """What each trial will reach, by its number; never more than it has reached.

    `rungs` are those of the search and the rounds of a whole trial, ascending. `weights` are the
    influence that the features are expected to have before any curve was seen, none by default: as
    a share of the usual height of a step, negative if the loss falls further. Losses that are not
    positive have no logarithm: such a trial is expected to keep what it has.
    """
    if not curves:
        return {}
    numbers = sorted(curves)
    rows = np.array([_row(curves[number], len(rungs)) for number in numbers])
    steps = _Steps.of(rows, rungs)
    found = _ends(steps, _Fit.of(steps, weights))
    return {n: Forecast(*each) for n, each in zip(numbers, found.T.tolist(), strict=True)}


def _row(curve: Curve, rungs: int) -> tuple[float, ...]:
    """A curve as numbers, of as many for all: rounds, lowest loss, over, features, levels.

    The levels are the losses at so many rungs, NaN where there is none, and the lowest so far.
    """
    levels = *curve.at_rungs, *[math.nan] * (rungs - len(curve.at_rungs)), curve.lowest
    return (curve.rounds, curve.lowest, curve.over, *curve.features, *levels)


@dataclass(frozen=True)
class _Steps:
    """What is seen of the steps of curves, one at least."""

    #: lowest losses, and whether the curves go no further, `<float64>[curves]`
    lowest: Array
    over: Array
    #: `<float64>[curves, features]`
    features: Array
    #: share of each step that is trained, and by what the logarithm of the loss has fallen on it,
    #: `<float64>[curves, steps]`
    trained: Array
    fallen: Array
    #: where enough of a step is trained, `<bool>[curves, steps]`
    seen: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Array, rungs: Sequence[int]) -> Self:
        """Those of rows of `_row`, `<float64>[curves, numbers]`."""
        places = np.log(np.array(rungs, dtype=np.float64))
        steps = len(places) - 1
        features = np.ascontiguousarray(rows[:, 3 : -(steps + 2)])
        levels = _logarithms(rows[:, -(steps + 2) :])
        at = np.log(rows[:, 0])
        trained = np.clip((at[:, None] - places[:-1]) / np.diff(places), 0.0, 1.0)
        fallen = np.where(trained < 1, levels[:, -1:], levels[:, 1:-1]) - levels[:, :-2]
        seen = (trained >= LEAST_SHARE) & np.isfinite(fallen)
        return cls(rows[:, 1], rows[:, 2], features, trained, fallen, seen)


@dataclass(frozen=True)
class _Fit:
    """What is learned of the steps of all curves."""

    #: means of the features
    middle: Array
    #: usual heights of the steps, and of how many they are means, `<float64>[steps]`
    heights: Array
    counts: Array
    #: of the regression: weights, `<float64>[1 + features]`, and their covariance without the noise
    weights: Array
    covariance: Array
    #: of the noise, and the degrees of freedom of the distribution of what is left
    variance: float
    freedom: float

    @classmethod
    def of(cls, steps: _Steps, expected: Sequence[float]) -> Self:
        """Learn from curves, with weights that are `expected` of the features, if any are."""
        middle, seen, trained = steps.features.mean(axis=0), steps.seen, steps.trained
        fallen = np.where(seen, steps.fallen, 0.0)
        heights, counts = _heights(fallen, np.where(seen, trained, 0.0))
        design = _design(steps, middle)
        one, step = np.nonzero(seen)
        # what is seen of a step varies in proportion to how much of it that is
        root = np.sqrt(trained[one, step])
        goals = (steps.fallen / heights)[one, step] / root
        seen_design = design[one] * root[:, None]
        usual = np.array([-1.0, *(expected or [0.0] * len(middle))])
        prior = np.array([AS_USUAL, *[AS_TOLD] * len(middle)])
        information = seen_design.T @ seen_design + np.diag(prior)
        covariance = np.asarray(np.linalg.inv(information), np.float64)
        weights = covariance @ (seen_design.T @ goals + prior * usual)
        freedom = NOISE_COUNTS + len(goals)
        off = float(((goals - seen_design @ weights) ** 2).sum() + prior @ (weights - usual) ** 2)
        variance = (NOISE_COUNTS * NOISE**2 + off) / freedom
        return cls(middle, heights, counts, weights, covariance, variance, freedom)


def _design(steps: _Steps, middle: Array) -> Array:
    """What the shares of steps depend on, `<float64>[curves, 1 + features]`."""
    return np.concatenate([np.ones((len(steps.features), 1)), steps.features - middle], axis=1)


def _ends(steps: _Steps, fit: _Fit) -> Array:
    """Loss, low and high of the forecast of each curve, `<float64>[3, curves]`."""
    mean, deviation = _left(steps, fit)
    wide = _quantile((1 + INTERVAL) / 2, fit.freedom) * deviation
    shares = np.exp(np.minimum(np.stack([mean, mean - wide, mean + wide]), 0.0))
    stays = (steps.lowest <= 0) | (steps.over > 0)
    return np.asarray(np.where(stays, 1.0, shares) * steps.lowest)


def _left(steps: _Steps, fit: _Fit) -> tuple[Array, Array]:
    """What the logarithms of losses will still fall by: mean and deviation, `<float64>[curves]`."""
    design, trained, heights = _design(steps, fit.middle), steps.trained, fit.heights
    left = (1.0 - trained) * heights
    each = np.repeat((design @ fit.weights)[:, None], len(heights), axis=1)
    shares = steps.fallen / heights
    begun = np.where(steps.seen & (trained < 1), shares - trained * each, 0.0)
    each += begun / (trained + AS_EXPECTED)
    mean = (left * np.minimum(each, 0.0)).sum(axis=1)
    unsure = np.einsum("ij,jk,ik->i", design, fit.covariance, design) * left.sum(axis=1) ** 2
    unsure += (left * heights).sum(axis=1)
    spread = fit.variance * unsure + HEIGHT_VARIANCE * (left**2 / fit.counts).sum(axis=1)
    return mean, np.sqrt(spread)


def _heights(fallen: Array, trained: Array) -> tuple[Array, Array]:
    """Usual heights of the steps, `<float64>[steps]`, and of how many steps they are means.

    `fallen` is by what each trial has changed on each step, and `trained` the share of the step
    for that, `<float64>[curves, steps]`.
    """
    heights, counts = np.empty(fallen.shape[1]), trained.sum(axis=0) + AS_BEFORE
    height = FIRST_HEIGHT
    for step, total in enumerate(fallen.sum(axis=0)):
        height = max(LEAST_HEIGHT, (AS_BEFORE * height - float(total)) / float(counts[step]))
        heights[step] = height
    return heights, counts


def _logarithms(losses: Array) -> Array:
    """Logarithms of losses, NaN where there is none, or none that is positive and finite."""
    positive = (losses > 0) & np.isfinite(losses)
    return np.asarray(np.log(losses, out=np.full(losses.shape, math.nan), where=positive))


def _quantile(share: float, freedom: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))
