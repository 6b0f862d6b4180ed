"""What the store has: sweeps, the trials of one, the rounds of a trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.field_checks import check_kind
from lstm_sweep.models.wording import option
from lstm_sweep.search.api.references import store_of_sweep, store_of_trial
from lstm_sweep.search.api.status_report import BROKEN_OFF
from lstm_sweep.search.store import archive
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.shared import store_to_read
from lstm_sweep.search.store.tags import Tag, count, finite
from lstm_sweep.search.store.trial_record import TrialRecord
from lstm_sweep.search.sweep import lease

#: in place of the state of a sweep that this version cannot read
ANOTHER = "made by another version"


class Row(Protocol):
    """Something that is listed."""

    def to_dict(self) -> dict[str, Any]:
        """The row as it is printed by `--json`."""


AnyRow = TypeVar("AnyRow", bound=Row)


@dataclass(frozen=True)
class Listing(Generic[AnyRow]):
    """What could be read, and what could not."""

    rows: tuple[AnyRow, ...]
    #: a sentence for each run that is left out: which one, and why
    left_out: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[AnyRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_list(self) -> list[dict[str, Any]]:
        """The rows as they are printed by `--json`."""
        return [row.to_dict() for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A sweep in a list."""

    sweep: str
    run_id: str
    #: `running`, `broken off`, how it has ended, or that a newer version has made it
    state: str
    trials_done: int
    #: nats; of a sweep that runs or was broken off, trials that had not ended count with their best
    #: round
    best_val_loss: float | None
    #: path of the data or of the template, or name of a sample
    data: str | None

    def to_dict(self) -> dict[str, Any]:
        """The sweep as `sweeps --json` prints it."""
        return dict(vars(self))


@dataclass(frozen=True)
class SweepTrials(Listing[TrialRecord]):
    """Trials of a sweep, the best first, those without a result last."""

    #: loss of each baseline, nats
    baselines: Mapping[str, float] = field(default_factory=dict)

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the lowest loss of those that have ended, if it is among them."""
        return next(iter(archive.ranked(list(self.rows))), None)


@dataclass(frozen=True)
class TrialDetails:
    """One trial, round by round."""

    record: TrialRecord
    #: of each round the epochs that are trained then, `epoch`, and its metrics; None for one that
    #: was not logged
    by_epoch: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """The trial as `show --json` prints it."""
        more = {"reason": self.record.reason, "by_epoch": [dict(row) for row in self.by_epoch]}
        return self.record.to_dict() | more


def sweeps(*, settings: Settings) -> Listing[SweepRow]:
    """The sweeps of the store, oldest first."""
    store = store_to_read(settings)
    left_out = list[str]()
    runs = archive.sweeps(store, lambda error: left_out.append(str(error)))
    return Listing(tuple(map(_row, runs)), tuple(left_out))


def _row(run: Any) -> SweepRow:
    tags, metrics = run.data.tags, run.data.metrics
    return SweepRow(
        sweep=tags[Tag.NAME],
        run_id=run.info.run_id,
        state=_state_of(tags),
        trials_done=count(metrics, "trials_done"),
        best_val_loss=finite(metrics, "best_val_loss"),
        data=_data_of(run),
    )


def _data_of(run: Any) -> str | None:
    """What a sweep is about: its params say it once it has begun, and its spec before."""
    about = run.data.params
    if not about.keys() & {"data", "template"}:
        try:
            about = archive.written_spec(run)
        except InputError:
            return None
    found: str | None = about.get("data", about.get("template"))
    return found


def _state_of(tags: dict[str, str]) -> str:
    """What a list says of the state of a sweep that any version may have made."""
    if not archive.is_readable(tags):
        return ANOTHER
    state = tags.get(Tag.STATE, "")
    return BROKEN_OFF if state == "running" and lease.is_left(tags) else state


def trials(name: str, *, settings: Settings, top: int | None = None) -> SweepTrials:
    """The trials of a sweep, the best first, those without a result last; `top` of them at most.

    While the sweep runs, the best round of a trial that has not ended is a result, too.

    Raises:
        InputError: there is no such sweep, or `top` is below 1.
    """
    if top is not None:
        check_kind(option("top"), top, whole=True)
        if top < 1:
            raise InputError(option("top"), f" is {shown(top)}: expected at least 1")
    store = store_of_sweep(name, settings)
    running = lease.state_of(archive.existing_sweep(store, name)) == "running"
    left_out = list[str]()
    records = archive.trials(store, name, lambda error: left_out.append(str(error)))
    best = archive.ranked(records, of_running=running)
    rest = [record for record in records if record not in best]
    baselines = archive.baselines(store, name)
    return SweepTrials(tuple([*best, *rest][:top]), tuple(left_out), baselines)


def show(reference: str, *, settings: Settings) -> TrialDetails:
    """The trial that `SWEEP/NUMBER`, or a run ID or its beginning, means.

    Raises:
        InputError: there is none, or several.
    """
    store = store_of_trial(reference, settings)
    record = archive.find_trial(store, reference)
    history = {metric: store.history(record.run_id, metric) for metric in record.results}
    steps = sorted({step for values in history.values() for step in values})
    rows = ({"epoch": record.trial.epochs_after(step), **_at(step, history)} for step in steps)
    return TrialDetails(record, tuple(rows))


def _at(step: int, history: Mapping[str, Mapping[int, float]]) -> dict[str, float | None]:
    """The metrics of one round; None for one that was not logged."""
    return {name: values.get(step) for name, values in history.items()}
