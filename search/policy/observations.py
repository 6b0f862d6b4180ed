"""`Observations`: what a search knows of its trials at one moment, as its proposer is told it.

`ObservedTrials` are these trials, kept up to date.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lstm_sweep.models.config import Config
from lstm_sweep.search.policy.arrays import Array, grown, lowest

#: trials that TPE looks at: the best ones, and of the others the last; its time grows with them
HISTORY = 300
#: of these, how many TPE counts as good, at most (Hyperopt's own bound)
GOOD = 25


@dataclass(frozen=True)
class Observation:
    """A trial that was begun, and what is known of it."""

    number: int
    config: Config
    #: raw number of each varying field; empty if the trial lies outside of the space
    point: Mapping[str, float]
    #: nats; None: it failed, so that TPE keeps away, or is not known yet
    loss: float | None
    #: whether the trial is still under way
    pending: bool = False


@dataclass(frozen=True)
class Observations:
    """What is known of all trials that were begun, at one moment."""

    #: configs of all of them
    configs: Collection[Config]
    #: how many lie in the space, and how many of these have a loss
    inside: int
    known: int
    #: those in the space that are worth knowing, in order: all under way, the best ones, and of the
    #: others the last, up to `HISTORY`
    history: Sequence[Observation]

    @staticmethod
    def of(trials: Iterable[Observation]) -> Observations:
        """What a list of trials says, which are in order of their numbers."""
        observed, losses = ObservedTrials(), np.full(0, np.nan)
        for one in trials:
            observed.put(one.number, one.config, one.point, pending=one.pending)
            losses = grown(losses, one.number + 1)
            losses[one.number] = np.nan if one.loss is None else one.loss
        return observed.observations(losses)


class ObservedTrials:
    """Trials by their number; arrays are by the number of a trial."""

    def __init__(self) -> None:
        self._configs: dict[int, Config] = {}
        self._points: dict[int, Mapping[str, float]] = {}
        self._used: set[Config] = set()
        self._inside, self._pending = np.zeros(64, bool), np.zeros(64, bool)

    def put(
        self, number: int, config: Config, point: Mapping[str, float], *, pending: bool
    ) -> None:
        """Know a trial, its point in the space, and whether its loss is still to come."""
        self._inside = grown(self._inside, number + 1)
        self._pending = grown(self._pending, number + 1)
        self._configs[number], self._points[number] = config, point
        self._used.add(config)
        self._inside[number], self._pending[number] = bool(point), pending

    def point(self, number: int) -> Mapping[str, float] | None:
        """The point of a trial that was put; None if it was not."""
        return self._points.get(number)

    def observations(self, losses: Array) -> Observations:
        """What is known; `losses` are NaN for trials without one."""
        size = len(self._inside)
        values = np.where(self._pending, np.nan, grown(losses, size)[:size])
        numbers = np.flatnonzero(self._inside)
        inside, known = len(numbers), np.count_nonzero(~np.isnan(values[numbers]))
        if inside > HISTORY:
            kept = set(lowest(numbers[~np.isnan(values[numbers])], values, GOOD))
            kept |= set(np.flatnonzero(self._inside & self._pending).tolist())
            for number in reversed(numbers[-HISTORY:].tolist()):
                if len(kept) >= HISTORY:
                    break
                kept.add(number)
            numbers = np.array(sorted(kept))
        history = [self._observation(number, float(values[number])) for number in numbers.tolist()]
        return Observations(self._used, inside, int(known), history)

    def _observation(self, number: int, loss: float) -> Observation:
        return Observation(
            number,
            self._configs[number],
            self._points[number],
            None if math.isnan(loss) else loss,
            pending=bool(self._pending[number]),
        )
