"""`Findings`: all that a report shows of a sweep, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from lstm_sweep.models.config import Limit
from lstm_sweep.search.policy.confirmation import Confirmed
from lstm_sweep.search.report.charts import Axis
from lstm_sweep.search.values.progress import TrialProgress, ranked


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
    attempts: tuple[TrialProgress, ...] = ()
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
    def trials(self) -> list[TrialProgress]:
        """The last attempt of each trial, by number."""
        last = {one.trial.number: one for one in sorted(self.attempts, key=_attempt)}
        return [last[number] for number in sorted(last)]

    @cached_property
    def ranked(self) -> list[TrialProgress]:
        """Trials that have ended with a loss that competes, the best first."""
        return ranked([one for one in self.trials if not one.is_open])

    @property
    def best(self) -> TrialProgress | None:
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
    def front(self) -> list[TrialProgress]:
        """`ranked`, and among them trials that have not ended, with the losses that they have.

        Those are only there while a sweep goes on: what a driver has left open is no result else.
        """
        if self.is_over:
            return self.ranked
        runs = self.state == "running"
        open_ones = [one for one in self.trials if one.is_open and (runs or one.state == "paused")]
        return ranked([*self.ranked, *open_ones], of_running=True)

    @property
    def leader(self) -> TrialProgress | None:
        """The trial with the lowest loss so far, whether it has ended or not."""
        return next(iter(self.front), None)

    @property
    def open_leader(self) -> TrialProgress | None:
        """The `leader` if it has not ended."""
        return self.leader if self.leader and self.leader.is_open else None

    @property
    def best_first(self) -> list[TrialProgress]:
        """All trials, those of `front` first, the others by number."""
        return [*self.front, *(one for one in self.trials if one not in self.front)]

    @property
    def open_gainer(self) -> TrialProgress | None:
        """The trial with the last of `gains` if it has not ended; None if one that has has it, too.

        That may also be one that its driver has left open.
        """
        if not self.gains or (self.best and self.best.best_loss == self.gains[-1][1]):
            return None
        going = (one for one in self.trials if one.is_open)
        return next((one for one in going if one.best_loss == self.gains[-1][1]), None)


def _attempt(one: TrialProgress) -> int:
    return one.trial.attempt


def by_name(name: str) -> str:
    """A name in the store as people write it."""
    return name.replace("_", " ")
