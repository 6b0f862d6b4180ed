"""`Findings`: all that a report shows of a sweep, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from lstm_sweep.models.config import Limit
from lstm_sweep.search.policy.confirmation import Confirmed
from lstm_sweep.search.report.charts import Axis, Value
from lstm_sweep.search.values.trial import Outcome, Phase


@dataclass(frozen=True, kw_only=True)
class TrialFinding:
    """An attempt of a trial."""

    #: `SWEEP/NUMBER`
    id: str
    number: int
    attempt: int = 1
    phase: str
    #: an `Outcome`, or `running` or `paused`
    outcome: str
    reason: str = ""
    #: lowest loss of its rounds, or what it has returned; finite, or None
    loss: float | None
    config: Mapping[str, Value] = field(default_factory=dict)
    #: network and learning rate in a few words; empty if the config has none
    label: str = ""
    #: None if it is not known
    parameters: int | None = None
    #: epochs and validation loss after each round
    curve: tuple[tuple[float, float | None], ...] = ()
    #: epochs after which its loss was lowest
    best_epoch: float | None = None
    #: epochs that were trained, and that it was to train at most
    epochs: float = 0.0
    planned_epochs: float | None = None
    #: for which it had a slot
    seconds: float = 0.0

    @property
    def ranks(self) -> bool:
        """Whether it has ended with a loss that competes."""
        known = self.outcome in list(Outcome) and Outcome(self.outcome).ranks
        return self.loss is not None and known

    @property
    def waits(self) -> bool:
        """Whether it goes on later."""
        return self.outcome == "paused"

    @property
    def has_result_so_far(self) -> bool:
        """Whether it has a loss, and has not ended."""
        return self.loss is not None and self.outcome not in list(Outcome)

    @property
    def order(self) -> tuple[float, bool, int]:
        """The key that sorts trials with a loss, the best first, and of equal ones those ended."""
        return self.loss or 0.0, not self.ranks, self.number

    @property
    def failed(self) -> bool:
        """Whether it has ended without a result that counts; a rung of the ladder may diverge."""
        known = self.outcome in list(Outcome) and not Outcome(self.outcome).ranks
        return known and (self.phase, self.outcome) != (Phase.LADDER, Outcome.DIVERGED)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a report shows of a sweep."""

    sweep: str
    run_id: str = ""
    #: as `lstm-sweep status` has it
    state: str
    why: str = ""
    #: what the loss is, and whether it is in nats per symbol
    loss_name: str
    in_nats: bool
    #: what the loss of a round is; another name than `loss_name` is perhaps another measure
    round_name: str
    #: what the losses were scored on; those of sweeps with the same can be compared
    scored_on: Mapping[str, str | None] = field(default_factory=dict)
    #: attempts of all trials, by number
    attempts: tuple[TrialFinding, ...] = ()
    #: loss of each baseline on the same targets
    baselines: Mapping[str, float] = field(default_factory=dict)
    #: loss that no model can be below, nats; None if that is not known
    entropy: float | None = None
    #: the best mean first
    confirmed: tuple[Confirmed, ...] = ()
    #: why the best config was not trained again, a sentence without its point; empty if it was
    unconfirmed: str = ""
    #: the hyperparameters that vary
    axes: tuple[Axis, ...] = ()
    #: the one of them that is the learning rate
    rate: str | None = None
    #: share of the loss's variance that each hyperparameter explains
    importance: Mapping[str, float] = field(default_factory=dict)
    #: seconds of slots by what they were used for, in the order in which they are shown
    time: Mapping[str, float] = field(default_factory=dict)
    #: for which it was driven
    seconds: float = 0.0
    #: when the best loss fell, seconds after the beginning, and to what, also by a round of a trial
    #: that has not ended; each lower than the one before. Empty if that is not known
    gains: tuple[tuple[float, float], ...] = ()
    #: 0 if it is not known
    training_symbols: int = 0
    #: parameters for each training symbol that the size rule allows
    size_rule: tuple[float, float] | None = None
    #: trials at most, and minutes at most
    trials_wanted: int | None = None
    minutes: float | None = None
    #: limits of the hyperparameters that `--set` takes, and where others are given more values
    limits: Mapping[str, Limit] = field(default_factory=dict)
    space_place: str = "in a new sweep"
    #: whether `--epochs` says how long trials are trained
    takes_epochs: bool = False
    #: further facts with their names: data, seed, device, versions
    about: Mapping[str, str] = field(default_factory=dict)
    #: runs that could not be read
    left_out: int = 0

    @cached_property
    def trials(self) -> list[TrialFinding]:
        """The last attempt of each trial, by number."""
        last = {one.number: one for one in sorted(self.attempts, key=lambda one: one.attempt)}
        return [last[number] for number in sorted(last)]

    @cached_property
    def ranked(self) -> list[TrialFinding]:
        """Trials with a loss that competes, the best first."""
        found = [one for one in self.trials if one.ranks]
        return sorted(found, key=lambda one: one.order)

    @property
    def best(self) -> TrialFinding | None:
        """The best trial that has ended."""
        return next(iter(self.ranked), None)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs, or waits to run."""
        return self.state not in ("queued", "running", "paused")

    @property
    def goes_on(self) -> bool:
        """Whether `resume` continues trials that were under way."""
        return self.is_over and self.state != "finished"

    @property
    def best_over_time(self) -> list[tuple[float, float]]:
        """Seconds after the beginning, and the best loss from then on; the last is the end."""
        found = list(self.gains)
        ends_later = found and self.seconds > found[-1][0]
        return [*found, (self.seconds, found[-1][1])] if ends_later else found

    @cached_property
    def front(self) -> list[TrialFinding]:
        """`ranked`, and among them trials that have not ended, with the losses that they have.

        Those are only there while a sweep goes on: what a driver has left open is no result else.
        """
        if self.is_over:
            return self.ranked
        runs = self.state == "running"
        open_ones = (o for o in self.trials if o.has_result_so_far and (runs or o.waits))
        found = [*self.ranked, *open_ones]
        return sorted(found, key=lambda one: one.order)

    @property
    def leader(self) -> TrialFinding | None:
        """The trial with the lowest loss so far, whether it has ended or not."""
        return next(iter(self.front), None)

    @property
    def open_leader(self) -> TrialFinding | None:
        """The `leader` if it has not ended."""
        return self.leader if self.leader and not self.leader.ranks else None

    @property
    def best_first(self) -> list[TrialFinding]:
        """All trials, those of `front` first, the others by number."""
        return [*self.front, *(one for one in self.trials if one not in self.front)]

    @property
    def open_gainer(self) -> TrialFinding | None:
        """The trial with the last of `gains` if it has not ended; None if one that has has it, too.

        That may also be one that its driver has left open.
        """
        if not self.gains or (self.best and self.best.loss == self.gains[-1][1]):
            return None
        going = (one for one in self.trials if one.has_result_so_far)
        return next((one for one in going if one.loss == self.gains[-1][1]), None)


def by_name(name: str) -> str:
    """A name in the store as people write it."""
    return name.replace("_", " ")
