"""`Findings`: a sweep with all that a report shows of it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeGuard

from lstm_sweep.models.classes import Evidence
from lstm_sweep.models.config import Limit
from lstm_sweep.models.data import source
from lstm_sweep.models.quality import OverRates
from lstm_sweep.search.report.charts import Axis
from lstm_sweep.search.values.sweep import SHARES, Sweep
from lstm_sweep.search.values.trial import VALIDATION_LOSS, Objective, Trial, shown_name


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings(Sweep):
    """A sweep that was read back for its report."""

    #: its options as they are written; empty if they cannot be read
    spec: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    objective: Objective = VALIDATION_LOSS
    #: what the losses were scored on; those of sweeps with the same can be compared
    scored_on: Mapping[str, str | None] = field(default_factory=dict)
    #: share of the loss's variance that each hyperparameter explains
    importance: Mapping[str, float] = field(default_factory=dict)
    #: 0 if it is not known
    training_symbols: int = 0
    #: limits of the hyperparameters that `--set` takes, and where others are given more values
    limits: Mapping[str, Limit] = field(default_factory=dict)
    space_place: str = "in a new sweep"
    #: whether `--epochs` says how long trials are trained
    takes_epochs: bool = False
    #: verdicts of its best trial on later normal sessions, and on labelled ones
    verdicts: OverRates | None = None
    labelled: OverRates | None = None
    #: how well the best trial tells classes; None: it tells none, or the sweep is not closed
    classes: Evidence | None = None
    #: further facts with their names: data, seed, device, versions
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def goes_on(self) -> bool:
        """Whether `resume` continues trials that were under way."""
        return self.is_over and self.state != "finished"

    @property
    def trials_wanted(self) -> int | None:
        return int(self.spec["trials"]) if is_number(self.spec.get("trials")) else None

    @property
    def minutes(self) -> float | None:
        return self.spec["minutes"] if is_number(self.spec.get("minutes")) else None

    @property
    def size_rule(self) -> tuple[float, float] | None:
        """Parameters for each training symbol that the size rule allows."""
        low, high = self.spec.get("size_low"), self.spec.get("size_high")
        if self.spec.get("size_rule") == "off" or not (is_number(low) and is_number(high)):
            return None
        return (low, high) if 0 < low < high else None

    @property
    def entropy(self) -> float | None:
        """Entropy of the data, nats per symbol; known of the sample that was generated."""
        data = self.spec.get("data", self.params.get("data"))
        known = data == "workflow-log" and self.objective.nats_per_symbol
        return source.WORKFLOW.entropy(ends=bool(self.spec.get("ends"))) if known else None

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The hyperparameters that vary, from a space as `Space.describe` has written it."""
        space = self.spec.get("space")
        written = space.items() if isinstance(space, dict) else ()
        axes = (_axis(name, values, self.limits.get(name)) for name, values in written)
        return tuple(axis for axis in axes if axis)

    @property
    def rate(self) -> str | None:
        """The one of `axes` that is the learning rate, as it is shown."""
        of_template = self.spec.get("template")
        field = self.spec.get("learning_rate_field") if of_template else "learning_rate"
        names = [axis.name for axis in self.axes]
        same = (name for name in names if isinstance(field, str) and name.split(" ")[0] == field)
        return shown_name(field) if field in names else next(same, None)

    @property
    def time_shares(self) -> dict[str, float]:
        """Seconds of slots by what they were used for; of a sweep that runs, by its trials."""
        spent = self.time or self.time_spent
        return {words: getattr(spent, name) for name, words in SHARES.items()}

    @property
    def over_time(self) -> list[tuple[float, float]]:
        """Seconds after the beginning, and the best loss from then on; the last is the end."""
        falls = list(self.best_over_time)
        ends_later = falls and self.seconds > falls[-1][0]
        return [*falls, (self.seconds, falls[-1][1])] if ends_later else falls

    @property
    def open_leader(self) -> Trial | None:
        """The `leader` if it has not ended."""
        return self.leader if self.leader and self.leader.is_open else None

    @property
    def open_gainer(self) -> Trial | None:
        """The trial with the lowest loss if it has not ended; None if one that has has it, too.

        That may also be one that its driver has left open.
        """
        lowest = self.best_over_time[-1][1] if self.best_over_time else None
        if lowest is None or lowest == self.best_loss:
            return None
        return next((one for one in self.trials if one.is_open and one.best_loss == lowest), None)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of a written spec is a finite number, also as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _axis(name: str, written: object, limit: Limit | None) -> Axis | None:
    shown = shown_name(name)
    is_whole = limit is not None and limit.kind is int
    if isinstance(written, list) and len(written) > 1:
        if all(map(is_number, written)):
            marks = tuple(sorted(map(float, written)))
            log = marks[0] > 0 and limit is not None and limit.ratio
            return Axis(shown, marks[0], marks[-1], log, is_whole=is_whole, marks=marks)
        return Axis(shown, words=tuple(dict.fromkeys(map(str, written))))
    if not isinstance(written, dict):
        return None
    log, low, high = written.get("scale") == "log", written.get("low"), written.get("high")
    mu, sigma = written.get("mu"), written.get("sigma")
    if low is None and is_number(mu) and is_number(sigma):  # a normal distribution
        low, high = mu - 2 * sigma, mu + 2 * sigma
        low, high = (math.exp(min(x, 700.0)) if log else x for x in (low, high))
    if not (is_number(low) and is_number(high)) or low >= high or (log and low <= 0):
        return None
    return Axis(shown, low, high, log=log, is_whole=is_whole)


def by_name(name: str) -> str:
    """A name in the store as people write it."""
    return name.replace("_", " ")
