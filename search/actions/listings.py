"""What the store has: sweeps, the trials of one, the rounds of a trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.models.field_checks import check_kind
from lstm_sweep.search.actions.references import Here, store_of_sweep, store_of_trial
from lstm_sweep.search.actions.status_report import BROKEN_OFF, why_of
from lstm_sweep.search.driver import lease
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import store_to_read
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import BASELINE
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import WHOLE, Tag, count, finite
from lstm_sweep.search.values.documents import OMITTED, Document
from lstm_sweep.search.values.progress import ranked

#: in place of the state of a sweep that this version cannot read
ANOTHER = "made by another version"
#: states in the store of sweeps that may go on by themselves, or wait for somebody
UNFINISHED = ("queued", "running", "paused")


class Row(Protocol):
    """Something that is listed."""

    def to_dict(self) -> dict[str, Any]:
        """The row as it is printed by `--json`."""


AnyRow = TypeVar("AnyRow", bound=Row)
Item = TypeVar("Item")


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
class SweepRow(Document):
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
    #: why it is in this state; None if nothing says it
    why: str | None = field(default=None, metadata=OMITTED)
    #: trials that it may have in all; None if that is not said
    wanted: int | None = field(default=None, metadata=OMITTED)
    #: loss of each baseline, nats
    baselines: Mapping[str, float] = field(default_factory=dict, metadata=OMITTED)


@dataclass(frozen=True)
class SweepPage(Listing[SweepRow]):
    """Some of the sweeps, the newest first."""

    #: what names those after them; empty if there are none
    next_page: str = ""


@dataclass(frozen=True)
class SweepTrials(Listing[TrialRecord]):
    """Trials of a sweep, the best first, those without a result last."""

    #: loss of each baseline, nats
    baselines: Mapping[str, float] = field(default_factory=dict)
    #: what names those after them; empty if there are none
    next_page: str = ""

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the lowest loss of those that have ended, if it is among them."""
        return next(iter(ranked(list(self.rows))), None)


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

    def document(self) -> dict[str, Any]:
        """The trial as a service shows it: also what is said of it to people."""
        tags, told = self.record.tags, (Tag.DEVICE, Tag.VERDICT)
        shown = {n: v for n, v in tags.items() if n in told or n.startswith(Tag.VERSION)}
        more = {"results": list(self.record.results), "tags": shown}
        return self.record.document() | self.to_dict() | more


def check_rows(name: str, most: int | None) -> None:
    """Refuse an option that says how many rows are listed at most, but is below 1.

    Raises:
        InputError: so it is.
    """
    if most is not None:
        check_kind(f"--{name}", most, whole=True)
        if most < 1:
            raise InputError(f"--{name} is {shown(most)}: expected at least 1")


def sweeps(here: Here, limit: int | None = None, page: str = "") -> SweepPage:
    """The sweeps of the store, the newest first: all, or at most `limit` of them.

    `page` is what an answer with a limit has named as its next page.

    Raises:
        InputError: the limit is below 1, no answer has named the page, or the store cannot be
            reached.
    """
    check_rows("limit", limit)
    store, left_out = store_to_read(here.settings), list[str]()

    def skip(error: BadRunError) -> None:
        left_out.append(str(error))

    if limit is None:
        runs, more = reader.sweeps(store, skip)[::-1], ""
    else:
        runs, more = reader.newest_sweeps(store, limit, page, skip)
    return SweepPage(tuple(map(_row, runs)), tuple(left_out), more)


def unfinished(here: Here) -> list[SweepRow]:
    """The sweeps that wait, run or are paused."""
    store = store_to_read(here.settings)
    asked = [{Tag.STATE: state} for state in UNFINISHED] + [{Tag.QUEUED: "yes"}]
    found = [run for tags in asked for run in store.runs({Tag.ROLE: "sweep", **tags})]
    return list(map(_row, {run.info.run_id: run for run in found}.values()))


def sweep_row(here: Here, name: str) -> SweepRow:
    """A sweep as a list has it.

    Raises:
        InputError: there is no such sweep.
    """
    return _row(reader.existing_sweep(store_of_sweep(name, here.settings), name))


def _row(run: Any) -> SweepRow:
    tags, metrics, state = run.data.tags, run.data.metrics, _state_of(run.data.tags)
    scored = [name for name in metrics if name.startswith(BASELINE)]
    losses = ((name.removeprefix(BASELINE), finite(metrics, name)) for name in scored)
    about = _about(run)
    wanted = str(about.get("trials"))
    return SweepRow(
        sweep=tags[Tag.NAME],
        run_id=run.info.run_id,
        state=state,
        trials_done=count(metrics, "trials_done"),
        best_val_loss=finite(metrics, "best_val_loss"),
        data=about.get("data", about.get("template")),
        why=why_of(state, tags),
        wanted=int(wanted) if WHOLE.fullmatch(wanted) else None,
        baselines={name: loss for name, loss in losses if loss is not None},
    )


def _about(run: Any) -> Mapping[str, Any]:
    """What a sweep is about: its params say it once it has begun, and its spec before."""
    about: Mapping[str, Any] = run.data.params
    if about.keys() & {"data", "template"}:
        return about
    try:
        return reader.written_spec(run)
    except InputError:
        return {}


def _state_of(tags: dict[str, str]) -> str:
    """What a list says of the state of a sweep that any version may have made."""
    if not reader.is_readable(tags):
        return ANOTHER
    state = tags.get(Tag.STATE, "")
    return BROKEN_OFF if state == "running" and lease.is_left(tags) else state


def trials(here: Here, name: str, top: int | None = None, page: str = "") -> SweepTrials:
    """The trials of a sweep, the best first, those without a result last; `top` of them at most.

    `page` is what an answer has named as its next page.
    While the sweep runs, the best round of a trial that has not ended is a result, too.

    Raises:
        InputError: there is no such sweep or page, or `top` is below 1.
    """
    check_rows("top", top)
    store = store_of_sweep(name, here.settings)
    running = lease.state_of(reader.existing_sweep(store, name)) == "running"
    left_out = list[str]()
    records = reader.trials(store, name, lambda error: left_out.append(str(error)))
    best = ranked(records, of_running=running)
    are_best = {record.run_id for record in best}
    rest = [record for record in records if record.run_id not in are_best]
    rows, more = page_of([*best, *rest], top, page)
    return SweepTrials(rows, tuple(left_out), reader.baselines(store, name), more)


def page_of(rows: Sequence[Item], limit: int | None, page: str) -> tuple[tuple[Item, ...], str]:
    """So many of rows from a page on, and what names the page after it; empty after the last.

    Raises:
        InputError: no answer has named the page.
    """
    if page and not (page.isascii() and page.isdecimal() and len(page) < 10):
        raise InputError(f"page is {shown(page)}: expected what an answer has named as its next")
    begin = int(page or 0)
    end = len(rows) if limit is None else begin + limit
    return tuple(rows[begin:end]), str(end) if end < len(rows) else ""


def show(here: Here, reference: str) -> TrialDetails:
    """The trial that `SWEEP/NUMBER`, or a run ID or its beginning, means.

    Raises:
        InputError: there is none, or several.
    """
    store = store_of_trial(reference, here.settings)
    record = reader.find_trial(store, reference)
    history = {metric: store.history(record.run_id, metric) for metric in record.results}
    steps = sorted({step for values in history.values() for step in values})
    rows = ({"epoch": record.trial.epochs_after(step), **_at(step, history)} for step in steps)
    return TrialDetails(record, tuple(rows))


def _at(step: int, history: Mapping[str, Mapping[int, float]]) -> dict[str, float | None]:
    """The metrics of one round; None for one that was not logged."""
    return {name: values.get(step) for name, values in history.items()}
