"""What is asked of sweeps and trials: lists, states, results, reports, and two side by side."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from typing_extensions import override

from lstm_sweep.models.config import Config
from lstm_sweep.models.errors import InputError, check_kind, shown
from lstm_sweep.search.actions.detection import Rule, detect
from lstm_sweep.search.actions.export import export
from lstm_sweep.search.actions.references import Here, means_sweep, store_of_trial
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.read_back import (
    confirmed_of,
    expected_left,
    read_findings,
    read_sweep,
    why_of,
)
from lstm_sweep.search.driver.state import SweepState
from lstm_sweep.search.driver.sweep import page_of as report_of
from lstm_sweep.search.process.files import new_report, write_report
from lstm_sweep.search.report.report_page import headline
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import store_to_read
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import BASELINE
from lstm_sweep.search.store.reader import TrialRecord, scored_on
from lstm_sweep.search.store.tags import MOST_SECONDS, WHOLE, Tag, Tags, count, finite
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.documents import OMITTED, SAID, Document, rounded
from lstm_sweep.search.values.sweep import (
    DONE,
    GOING_ON,
    OPEN,
    Confirmed,
    Sweep,
    SweepStatus,
    TimeSpent,
)
from lstm_sweep.search.values.trial import Outcome, Trial, ranked

Item = TypeVar("Item")
#: in place of `running` if the sweep's driver has died, and of the state of a sweep that this
#: version cannot read
BROKEN_OFF, ANOTHER = lease.BROKEN_OFF, "made by another version"
#: seconds between two looks at a sweep that is followed
FOLLOW_S = 2.0


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
    def of(cls, best: Trial | None) -> BestTrial | None:
        if best is None or (loss := best.best_loss) is None:
            return None
        in_bits = best.objective.bits_per_symbol(loss)
        return cls(best.id, best.run_id, loss, in_bits, best.config, best.is_open)


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
    def of(cls, sweep: Sweep) -> SweepResult:
        """The result of a sweep that was read back, or driven here."""
        sweep = sweep.as_ended() if isinstance(sweep, SweepState) else sweep
        has_ended = sweep.state in list(SweepStatus)
        still = [] if sweep.state == SweepStatus.PAUSED else OPEN
        return cls(
            sweep=sweep.name,
            run_id=sweep.run_id,
            state=SweepStatus(sweep.state) if has_ended else sweep.state,
            why=(sweep.why or DONE.text) if has_ended else "",
            trials={word: n for word, n in sweep.counts.items() if word not in still},
            best=BestTrial.of(sweep.leader),
            confirmed=sweep.confirmed,
            baselines=dict(sweep.baselines),
            unknown_share=sweep.unknown_share,
            seconds=sweep.seconds,
            time=sweep.time,
            omitted=sweep.unconfirmed,
            left_open=isinstance(sweep, SweepState) and sweep.left_open,
        )


def result(here: Here, name: str) -> SweepResult:
    return stored_result(*here.sweep_run(name))


def stored_result(store: Store, run: Any) -> SweepResult:
    sweep = read_sweep(store, run)
    again = confirmed_of(store, cast("list[TrialRecord]", sweep.trials))
    return SweepResult.of(replace(sweep, confirmed=tuple(again)))


@dataclass(frozen=True, kw_only=True)
class SweepStatusReport(Document):
    """The state of a sweep."""

    sweep: str
    run_id: str
    #: queued, running, paused, finished, failed, stopped, interrupted, or broken off
    state: str
    #: why it is in this state, a sentence; None while it runs
    why: str | None
    #: trials by outcome, and how many are `running`, and `paused`
    trials: Mapping[str, int]
    #: trial with the lowest loss; while the sweep runs, also by the rounds of a trial that runs
    best: BestTrial | None
    #: trials that can run at once where it is driven, or was; None if none has driven it yet
    slots: int | None
    #: when it was handed in, and when its driver began
    submitted: datetime
    started: datetime | None
    #: seconds to its end as its driver expects it; None unless it runs, or if nobody can tell
    eta_seconds: float | None

    @property
    def is_under_way(self) -> bool:
        """Whether it may change by itself."""
        return self.state in GOING_ON

    @override
    def to_dict(self) -> dict[str, Any]:
        return self.document()


def status(here: Here, name: str) -> SweepStatusReport:
    return _status(*here.sweep_run(name))


def follow(here: Here, name: str) -> Iterator[SweepStatusReport]:
    """The state of a sweep, and again every `FOLLOW_S` seconds for as long as it is under way."""
    store, run = here.sweep_run(name)
    while (report := _status(store, run)).is_under_way:
        yield report
        time.sleep(FOLLOW_S)
        run = reader.existing_sweep(store, name)
    yield report


def _status(store: Store, run: Any) -> SweepStatusReport:
    tags, sweep = Tags(run), read_sweep(store, run)
    began_s = min(max(0.0, (run.info.start_time or 0) / 1000), MOST_SECONDS)
    began = datetime.fromtimestamp(began_s, UTC)
    return SweepStatusReport(
        sweep=sweep.name,
        run_id=sweep.run_id,
        state=sweep.state,
        why=sweep.why,
        trials=sweep.counts,
        best=BestTrial.of(sweep.leader),
        slots=tags.whole(Tag.SLOTS, 0) if Tag.SLOTS in tags else None,
        submitted=_time(tags, Tag.SUBMITTED) or began,
        # one that has only waited in a queue has no driver yet
        started=_time(tags, Tag.STARTED) if Tag.SUBMITTED in tags else began,
        eta_seconds=expected_left(run) if sweep.state == "running" else None,
    )


def _time(tags: Tags, name: str) -> datetime | None:
    return datetime.fromtimestamp(tags.seconds(name), UTC) if tags.get(name) else None


@dataclass(frozen=True)
class Listing(Generic[Item]):
    """What could be read, and what could not."""

    rows: tuple[Item, ...]
    #: a sentence for each run that is left out: which one, and why
    left_out: tuple[str, ...] = ()
    #: what names the rows after these; empty if there are none
    next_page: str = ""

    def __iter__(self) -> Iterator[Item]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_list(self) -> list[dict[str, Any]]:
        return [cast("Any", row).to_dict() for row in self.rows]


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


#: some of the sweeps, the newest first
SweepPage = Listing[SweepRow]


def sweeps(here: Here, limit: int | None = None, page: str = "") -> SweepPage:
    """The sweeps of the store, the newest first: all, or at most `limit` of them.

    `page` is what an answer with a limit has named as its next page.
    """
    check_rows("limit", limit)
    store, left_out = store_to_read(here.settings), list[BadRunError]()
    if limit is None:
        runs, more = reader.sweeps(store, left_out.append)[::-1], ""
    else:
        runs, more = reader.newest_sweeps(store, limit, page, left_out.append)
    return SweepPage(tuple(map(row_of, runs)), tuple(map(str, left_out)), more)


def unfinished(here: Here) -> list[SweepRow]:
    store = store_to_read(here.settings)
    asked = [{Tag.STATE: state} for state in GOING_ON] + [{Tag.QUEUED: "yes"}]
    found = [run for tags in asked for run in store.runs({Tag.ROLE: "sweep", **tags})]
    return list(map(row_of, {run.info.run_id: run for run in found}.values()))


def row_of(run: Any) -> SweepRow:
    tags, metrics = run.data.tags, run.data.metrics
    state = tags.get(Tag.STATE, "") if reader.is_readable(tags) else ANOTHER
    if state == "running" and lease.is_left(tags):
        state = BROKEN_OFF
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


@dataclass(frozen=True)
class SweepTrials(Listing[TrialRecord]):
    """Trials of a sweep, the best first, those without a result last."""

    #: loss of each baseline, nats
    baselines: Mapping[str, float] = field(default_factory=dict)

    @property
    def best(self) -> TrialRecord | None:
        """The trial with the lowest loss of those that have ended, if it is among them."""
        return next(iter(ranked(self.rows)), None)


def trials(here: Here, name: str, top: int | None = None, page: str = "") -> SweepTrials:
    """The trials of a sweep, the best first, those without a result last; `top` of them at most.

    `page` is what an answer has named as its next page.
    While the sweep runs, the best round of a trial that has not ended is a result, too.
    """
    check_rows("top", top)
    sweep = read_sweep(*here.sweep_run(name))
    rows, more = page_of(cast("list[TrialRecord]", sweep.best_first), top, page)
    return SweepTrials(rows, sweep.left_out, more, sweep.baselines)


def check_rows(name: str, most: int | None) -> None:
    if most is not None:
        check_kind(f"--{name}", most, whole=True)
        if most < 1:
            raise InputError(f"--{name} is {shown(most)}: expected at least 1")


def page_of(rows: Sequence[Item], limit: int | None, page: str) -> tuple[tuple[Item, ...], str]:
    """So many of rows from a page on, and what names the page after it; empty after the last."""
    if page and not (page.isascii() and page.isdecimal() and len(page) < 10):
        raise InputError(f"page is {shown(page)}: expected what an answer has named as its next")
    begin = int(page or 0)
    end = len(rows) if limit is None else begin + limit
    return tuple(rows[begin:end]), str(end) if end < len(rows) else ""


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """The report of a sweep."""

    sweep: str
    run_id: str
    state: str
    #: the best trial and its loss, a sentence
    headline: str
    #: the page, which loads nothing from elsewhere
    html: str
    #: the file that it was written to; None if to none
    file: str | None = None

    def to_dict(self) -> dict[str, Any]:
        said = {"sweep": self.sweep, "run_id": self.run_id, "state": self.state}
        return said | {"report": self.file}


def report(
    here: Here,
    name: str,
    to: str | None = None,
    *,
    data: str | None = None,
    labels: str | None = None,
) -> SweepReport:
    """The report of a sweep as it is now, be it finished or not; written to the file `to` if given.

    A report that is there is replaced; another file is not. `data` and `labels`, those of `detect`,
    are sessions that the best trial judges; how well stays in the sweep's run, for later reports.
    """
    file = None if to is None else new_report(to)
    if (data is None) != (labels is None):
        raise InputError("found one of --data and --labels, expected both or neither")
    store, run = here.sweep_run(name)
    if data is not None and labels is not None:
        with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as folder:
            bundle = str(Path(folder) / "model")
            trial = export(here, name, bundle).trial
            judged = detect(bundle, data, Rule(), 0, labels=labels).verdicts.over_rates
        assert judged is not None  # there are labels
        store.log(run.info.run_id, tags={Tag.LABELLED: replace(judged, trial=trial).to_text()})
        store, run = here.sweep_run(name)
    found = read_findings(store, run)
    html = report_of(found)
    if file:
        write_report(file, html)
    return SweepReport(
        sweep=found.name,
        run_id=found.run_id,
        state=found.state,
        headline=headline(found),
        html=html,
        file=None if file is None else str(file),
    )


@dataclass(frozen=True)
class TrialDetails:
    """One trial, round by round."""

    record: TrialRecord
    #: of each round the epochs that are trained then, `epoch`, and its metrics; None for one that
    #: was not logged
    by_epoch: tuple[Mapping[str, Any], ...]

    @property
    def rounds(self) -> list[dict[str, float]]:
        names = self.record.results
        return [{n: row[n] for n in names if row[n] is not None} for row in self.by_epoch]

    def to_dict(self) -> dict[str, Any]:
        more = {"reason": self.record.reason, "by_epoch": [dict(row) for row in self.by_epoch]}
        return self.record.to_dict() | more

    def document(self) -> dict[str, Any]:
        """The trial as a service shows it: also what is said of it to people."""
        tags, told = self.record.tags, (Tag.DEVICE, Tag.VERDICT)
        shown = {n: v for n, v in tags.items() if n in told or n.startswith(Tag.VERSION)}
        more = {"results": list(self.record.results), "tags": shown}
        return self.record.document() | self.to_dict() | more


def show(here: Here, reference: str) -> TrialDetails:
    """The trial that `SWEEP/NUMBER`, or a run ID or its beginning, means."""
    store = store_of_trial(reference, here.settings)
    return details_of(store, reader.find_trial(store, reference))


def details_of(store: Store, record: TrialRecord) -> TrialDetails:
    history = {metric: store.history(record.run_id, metric) for metric in record.results}
    rows = (
        dict[str, Any](epoch=record.epochs_after(step))
        | {name: values.get(step) for name, values in history.items()}
        for step in sorted({step for values in history.values() for step in values})
    )
    return TrialDetails(record, tuple(rows))


#: of trials that cannot be compared
OTHER_DATA = "their losses cannot be compared: they were scored on other data, or on other targets"
#: standard deviations of a difference beyond which it is more than chance
BEYOND = 2.0


@dataclass(frozen=True)
class TrialComparison(Document):
    """Two trials side by side."""

    first: TrialDetails
    second: TrialDetails
    #: values of the fields of their configs that differ, by field; None where one has no such field
    differences: Mapping[str, tuple[Any, Any]]
    #: loss of the second less that of the first; None if one has none, or they are of other data
    difference: float | None
    #: standard deviation over seeds, nats, of configs of their sweeps that were trained again; None
    #: if none was
    spread: float | None
    #: which one is better, for people
    verdict: str
    #: the sweeps whose best trials they are, if they were named by sweeps
    sweeps: tuple[SweepRow, ...] = ()


def compare(here: Here, first: str, other: str) -> TrialComparison:
    """Compare two trials; each is `SWEEP/NUMBER`, a run ID or its beginning, or a sweep.

    Of a sweep it is the best trial; while it runs, also by the rounds of one that has not ended.
    """
    rows = dict[str, SweepRow]()
    one, two = (_details(here, named, rows) for named in (first, other))
    mine, its = one.record.config.to_dict(), two.record.config.to_dict()
    pairs = {name: (mine.get(name), its.get(name)) for name in {**mine, **its}}
    differences = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    losses = _loss(one.record), _loss(two.record)
    same = scored_on(one.record.tags) == scored_on(two.record.tags)
    difference = spread = None
    if losses[0] is not None and losses[1] is not None and same:
        difference = losses[1] - losses[0]
        spread = _spread(store_to_read(here.settings), {one.record.sweep, two.record.sweep})
    verdict = _verdict(one.record, two.record, difference, spread) if same else OTHER_DATA
    return TrialComparison(one, two, differences, difference, spread, verdict, tuple(rows.values()))


def _details(here: Here, reference: str, rows: dict[str, SweepRow]) -> TrialDetails:
    """The trial that a reference means; its sweep is added to the rows if that names it."""
    if not means_sweep(here, reference):
        return show(here, reference)
    best = status(here, reference).best
    if best is None:
        raise InputError(f"sweep '{reference}' has no trial with a result, expected one")
    rows[reference] = row_of(here.sweep_run(reference)[1])
    return show(here, best.run_id)


def _loss(record: TrialRecord) -> float | None:
    """The loss that a trial competes with; None if it has failed or has none."""
    ranks = not record.outcome or Outcome(record.outcome).ranks
    return record.best_loss if ranks else None


def _spread(store: Store, sweeps: set[str]) -> float | None:
    """Largest standard deviation over seeds of the configs that sweeps have trained again."""
    found = (confirmed_of(store, reader.trials(store, name)) for name in sorted(sweeps))
    known = (one.spread for confirmed in found for one in confirmed if len(one.losses) > 1)
    return max(known, default=None)


def _verdict(
    first: TrialRecord, second: TrialRecord, difference: float | None, spread: float | None
) -> str:
    if difference is None:
        lacking = first if _loss(first) is None else second
        why = lacking.state
        return f"{lacking.id} has no loss to compare ({why}), so that nothing can be said"
    if difference == 0:
        return "both have the same loss"
    better, worse = (first, second) if difference > 0 else (second, first)
    text = f"{better.id} is {abs(difference):.4f} better than {worse.id}"
    if spread is None:
        return f"{text}; what seeds change is not known: no config was trained again with several"
    # each of the two losses varies by the spread
    limit = BEYOND * 2**0.5 * spread
    sure = "more" if abs(difference) > limit else "no more"
    return f"{text}, {sure} than seeds change ({limit:.4f}: {BEYOND:g} standard deviations)"
