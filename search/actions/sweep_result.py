"""The result of a sweep as a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from lstm_sweep.models.config import Config
from lstm_sweep.search.actions.references import Here, store_of_sweep
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.resume import driven_s
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.time_spent import TimeSpent, stored_time, time_spent
from lstm_sweep.search.policy.confirmation import Confirmed
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.curves import confirmed_of
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.documents import OMITTED, SAID, Document, rounded
from lstm_sweep.search.values.progress import TrialProgress, ranked
from lstm_sweep.search.values.stop_reason import DONE, SweepStatus
from lstm_sweep.search.values.trial import Outcome


@dataclass(frozen=True)
class BestTrial(Document):
    """The trial of a sweep with the lowest loss."""

    trial: str
    run_id: str
    #: validation loss, nats; of a template what it has returned
    val_loss: float
    #: the loss in bits; None for a template
    bits_per_symbol: float | None
    config: Config
    #: whether it runs still, so that the loss is that of its best round so far
    running: bool = field(default=False, metadata=SAID)

    @classmethod
    def of(cls, best_first: Sequence[TrialProgress]) -> BestTrial | None:
        """The first of trials, live or read back; None if there is none."""
        if not best_first or (loss := best_first[0].best_loss) is None:
            return None
        best = best_first[0]
        in_bits = best.trial.objective.bits_per_symbol(loss)
        return cls(best.trial.id, best.run_id, loss, in_bits, best.trial.config, best.is_open)


@dataclass(frozen=True, kw_only=True)
class SweepResult(Document):
    """The result of a sweep."""

    sweep: str
    run_id: str
    #: a `SweepStatus` once it has ended, else `queued`, `running` or `broken off`
    state: str
    #: why it has ended, a sentence; empty if it has not
    why: str = field(metadata=SAID)
    #: trials that have ended, by outcome
    trials: Mapping[str, int]
    #: while it runs, also by the rounds of a trial that has not ended
    best: BestTrial | None
    #: configs that were trained again, that of the best trial first
    confirmed: tuple[Confirmed, ...]
    #: loss of each baseline, nats
    baselines: Mapping[str, float]
    #: share of the validation symbols that training data do not have, which are not scored
    unknown_share: float = 0.0
    #: how long it was driven, in all
    seconds: float = field(metadata=rounded(3))
    #: where the time of its slots went; None if a version has ended it that did not say
    time: TimeSpent | None
    #: why the best config was not trained again, if the budget was too small
    omitted: str = field(default="", metadata=SAID)
    #: whether the store did not answer at the end, so that runs may be open, which `resume` closes
    left_open: bool = field(default=False, metadata=OMITTED)
    #: a sentence if nothing was run, since the sweep is finished: what it has spent, and what it
    #: takes to go on
    unchanged: str = field(default="", metadata=OMITTED)

    @property
    def has_ended(self) -> bool:
        """Whether a driver has ended it, be it that `resume` goes on with it."""
        return self.state in list(SweepStatus)

    @property
    def goes_on(self) -> bool:
        """Whether `resume` continues trials that were running."""
        return self.state != SweepStatus.FINISHED

    @classmethod
    def of(cls, state: SweepState) -> SweepResult:
        """The result of a sweep that was driven here."""
        report = state.report
        return cls(
            sweep=state.name,
            run_id=state.run_id,
            state=state.status,
            why=state.stop.text,
            trials=state.counts,
            best=BestTrial.of(state.ranked),
            confirmed=report.confirmed if report else (),
            baselines=dict(state.baselines),
            unknown_share=state.unknown_share,
            seconds=state.seconds,
            time=time_spent(state),
            omitted=report.omitted if report else "",
            left_open=state.left_open,
        )

    @override
    def document(self) -> dict[str, Any]:
        confirmed = [
            one.to_dict() | {"first_loss": one.first_loss, "above": one.above}
            for one in self.confirmed
        ]
        return super().document() | {"confirmed": confirmed}


def result(here: Here, name: str) -> SweepResult:
    """The result of a sweep, or what it has so far.

    Raises:
        InputError: there is no such sweep, or it cannot be read.
    """
    store = store_of_sweep(name, here.settings)
    return stored_result(store, reader.existing_sweep(store, name))


def stored_result(store: Store, run: Any, unchanged: str = "") -> SweepResult:
    """The result of a sweep, or what it has so far, read from the runs of the store.

    Raises:
        BadRunError: its run says no state that this program knows.
    """
    tags, state = Tags(run), lease.state_of(run)
    name, has_ended = reader.name_of(tags), state in list(SweepStatus)
    records = reader.trials(store, name)
    outcomes = Counter(record.state for record in records)
    return SweepResult(
        sweep=name,
        run_id=run.info.run_id,
        state=SweepStatus(state) if has_ended else state,
        why=tags.get(Tag.REASON, DONE.text) if has_ended else "",
        trials={str(outcome): outcomes[outcome] for outcome in Outcome if outcomes[outcome]},
        best=BestTrial.of(ranked(records, of_running=state == "running")),
        confirmed=tuple(confirmed_of(store, records)),
        baselines=reader.baselines(store, name),
        unknown_share=tags.share(Tag.UNKNOWN_SHARE),
        seconds=driven_s(run),
        time=stored_time(tags),
        omitted=tags.get(Tag.UNCONFIRMED, ""),
        unchanged=unchanged,
    )
