"""A sweep read back from its runs, as the value that its driver held; also for its report.

What a run does not have, or has in a form that cannot be read, is left out.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lstm_sweep.models.classes import Evidence
from lstm_sweep.models.data.source import read_small
from lstm_sweep.models.documents import json_text
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.quality import OverRates
from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.driver import lease
from lstm_sweep.search.policy.confirmation import confirmed
from lstm_sweep.search.process.scoped import restored
from lstm_sweep.search.report.figures import Findings
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import CURVE, DRIVER_DIED, was_lost_with_driver
from lstm_sweep.search.store.reader import Children, TrialRecord, last_attempts, scored_on
from lstm_sweep.search.store.tags import LARGEST, MOST_SECONDS, Tag, Tags, is_finite
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.sweep import Confirmed, Sweep, TimeSpent
from lstm_sweep.search.values.trial import (
    Phase,
    Trial,
    comparable,
    ranked,
    round_seconds,
)

#: values of a round that are read
NAMES = (*CURVE, "scoring_seconds")


def read_curve(store: Store, record: TrialRecord) -> list[dict[str, float]]:
    """Validation loss and seconds of each round, from the tags or else the metrics."""
    if record.tags.get(Tag.CURVE):
        return written_curve(record)
    columns = [store.history(record.run_id, name) for name in NAMES if record.logged_rounds]
    steps = sorted({step for column in columns for step in column})
    return [_round([column.get(step) for column in columns]) for step in steps]


def written_curve(record: TrialRecord) -> list[dict[str, float]]:
    """The same from the tags alone; seconds of scoring are there if they were measured."""
    tags = record.tags
    rows: list[list[float | None]] = tags.json(Tag.CURVE, list)
    for row in rows:
        known = isinstance(row, list) and len(row) == len(CURVE)
        if not known or not all(isinstance(one, int | float | None) for one in row):
            raise tags.bad(Tag.CURVE, f"{' and '.join(CURVE)} of each round")
    scoring = tags.json(Tag.SCORING_SECONDS, list, json.dumps([None] * len(rows)))
    if len(scoring) != len(rows) or not all(one is None or is_finite(one) for one in scoring):
        raise tags.bad(Tag.SCORING_SECONDS, f"a number for each of {len(rows)} rounds")
    return [_round([*row, seconds]) for row, seconds in zip(rows, scoring, strict=True)]


def _round(row: Sequence[float | None]) -> dict[str, float]:
    """The values of a round by their names: any loss, and times that can be added up."""
    loss, *times = row
    found = {} if loss is None else {NAMES[0]: loss}
    for name, seconds in zip(NAMES[1:], times, strict=True):
        takes_some = seconds or name == "scoring_seconds"
        if (
            seconds is not None
            and takes_some
            and is_finite(seconds)
            and 0 <= seconds <= MOST_SECONDS
        ):
            found[name] = seconds
    return found


#: states of a run in MLflow that has not ended
OPEN = ("RUNNING", "SCHEDULED")


def with_rounds(
    store: Store, record: TrialRecord, before: Sequence[Mapping[str, float]] = ()
) -> TrialRecord:
    """An attempt of a trial with its rounds, and the seconds for which it has had slots so far.

    An attempt that is under way, or whose driver died, took as long as its rounds, but for those
    that it has from the checkpoint of an earlier attempt, whose rounds are `before`; and at least
    as long as it had when it waited last.
    """
    rounds = read_curve(store, record)
    # one whose driver died has no end of its own, also if its run was closed when the sweep went on
    is_open = record.status in OPEN or was_lost_with_driver(record.tags)
    if record.closed_at and not is_open:
        return replace(record, rounds=rounds)
    own = [one for number, one in enumerate(rounds) if one not in before[number : number + 1]]
    waited = record.seconds if record.waited else 0.0
    return replace(record, rounds=rounds, seconds=max(waited, math.fsum(round_seconds(own))))


def each_with_rounds(
    store: Store, records: Iterable[TrialRecord], *skipped: type[Exception]
) -> Iterator[TrialRecord]:
    """Attempts with their rounds; of each trial earlier ones come first.

    One that cannot be read for one of the reasons that are `skipped` has none.
    """
    #: rounds of the last attempt of each trial
    before = dict[int, Sequence[Mapping[str, float]]]()
    for record in records:
        with contextlib.suppress(*skipped):
            record = with_rounds(store, record, before.get(record.number, ()))
        before[record.number] = record.rounds
        yield record


#: the metric of a sweep's run
LOSS = "best_val_loss"


def best_loss_history(store: Store, run: Any, driven: float) -> tuple[tuple[float, float], ...]:
    """When the best loss of a sweep fell, in seconds for which it was driven, and to what.

    A time is that since the beginning, and at most `driven`, the seconds for which it was driven in
    all: the store does not have when a sweep was driven that was resumed, only for how long.
    """
    has_any = LOSS in run.data.metrics  # else the store is not asked
    logged = store.timeline(run.info.run_id, LOSS) if has_any else ()
    found, last, began = list[tuple[float, float]](), 0.0, began_s(run)
    for at, loss in gains(logged):
        last = max(last, min(at / 1000 - began, driven or math.inf))  # clocks may differ
        found.append((last, loss))
    return tuple(found)


def gains(logged: Iterable[tuple[int, int, float]]) -> list[tuple[int, float]]:
    """When the best loss fell, in ms since 1970, and to what; each loss is below those before.

    `logged` are steps, times in ms and the best losses. One that is followed by a higher one, or by
    none (NaN), was that of a trial which has failed since.
    """
    known = [(step, at, comparable(loss)) for step, at, loss in logged]
    # by the step first, as MLflow orders them, and within a millisecond as losses fall
    known.sort(key=lambda one: (*one[:2], -math.inf if one[2] is None else -one[2]))
    found = list[tuple[int, float]]()
    for _, at, loss in known:
        while found and (loss is None or found[-1][1] < loss):
            found.pop()
        if loss is not None and (not found or loss < found[-1][1]):
            found.append((at, loss))
    return found


def began_s(sweep: Any) -> float:
    """When a sweep began, in seconds since 1970: when it left its queue, or its run was made."""
    left_queue = 0.0
    with contextlib.suppress(BadRunError):
        left_queue = Tags(sweep).seconds(Tag.STARTED)
    return left_queue or (sweep.info.start_time or 0) / 1000


def confirmed_of(store: Store, records: Sequence[TrialRecord]) -> list[Confirmed]:
    again = {one.config for one in records if one.phase is Phase.CONFIRM}
    known = dict[int, Trial]()
    for one in (one for one in records if one.config in again):
        with contextlib.suppress(BadRunError):  # one that cannot be read counts as one that goes on
            known[one.number] = with_rounds(store, one)
    best = next(iter(ranked([*records])), None)
    return confirmed(known.values(), best.config if best else None)


#: numbers of a report among the files of a sweep's run, and bytes of them that are read, at most
EVIDENCE, MOST_EVIDENCE = "evidence.json", 1 << 26


def read_sweep(store: Store, run: Any) -> Sweep:
    """A sweep as its runs have it, without the rounds of its trials."""
    return Sweep(**_facts(run, reader.children(store, run)))


def _facts(run: Any, children: Children) -> dict[str, Any]:
    tags, state = Tags(run), lease.state_of(run)
    last = last_attempts(children.attempts, state)
    # an attempt may wait if it is its trial's last
    attempts = [
        own if (own := last[one.number]).run_id == one.run_id else one for one in children.attempts
    ]
    open_ones = [one for one in attempts if one.is_open]
    return {
        "name": reader.name_of(tags),
        "run_id": tags.run_id,
        "state": state,
        "why": why_of(state, tags),
        "baselines": children.baselines,
        "unknown_share": _or_zero(lambda: tags.share(Tag.UNKNOWN_SHARE)),
        "now": driven_s(run),
        "running": dict(enumerate(one for one in open_ones if one.state != "paused")),
        "paused": {one.number: one for one in open_ones if one.state == "paused"},
        "finished": tuple(one for one in attempts if not one.is_open),
        "ranked": tuple(ranked([one for one in last.values() if not one.is_open])),
        "unconfirmed": tags.get(Tag.UNCONFIRMED, ""),
        "time": None if state == "running" else stored_time(tags),
        "left_out": tuple(map(str, children.left_out)),
    }


def why_of(state: str, tags: Mapping[str, str]) -> str | None:
    if state in ("queued", "running"):
        return tags.get(Tag.WAITS) or None
    return DRIVER_DIED if state == lease.BROKEN_OFF else tags.get(Tag.REASON)


def read_findings(store: Store, run: Any) -> Findings:
    """All that a report shows of the sweep with this run; a `BadRunError` if that is unreadable."""
    tags, kind, spec = Tags(run), reader.run_kind(Tags(run)), _spec(run)
    children = reader.children(store, run)
    attempts = list(each_with_rounds(store, children.attempts, BadRunError))
    facts = _facts(run, replace(children, attempts=attempts))
    if facts["state"] != "finished":
        facts["unconfirmed"] = ""
    found = Findings(
        **facts,
        best_over_time=best_loss_history(store, run, facts["now"]),
        spec=spec,
        objective=kind.objective,
        scored_on=scored_on(attempts[0].tags) if attempts else {},
        training_symbols=_training_symbols(attempts),
        limits=kind.limits,
        space_place=kind.space_place,
        takes_epochs=kind.takes_epochs,
        verdicts=OverRates.from_text(tags.get(Tag.VERDICTS, "")),
        labelled=OverRates.from_text(tags.get(Tag.LABELLED, "")),
        about=_about(tags, spec, attempts),
        classes=_classes(store, tags) if kind is reader.CLASSES and facts["time"] else None,
    )
    best = found.best
    again = confirmed(found.trials, best.config if best else None)
    return replace(found, confirmed=tuple(again), importance=importance(found))


def _classes(store: Store, tags: Tags) -> Evidence | None:
    """How well the best trial tells classes, as it was found when the sweep was closed last."""
    try:
        with tempfile.TemporaryDirectory(prefix="lstm-sweep-") as scratch:
            file = store.fetch(tags.run_id, EVIDENCE, Path(scratch))
            written = json.loads(read_small(file, MOST_EVIDENCE))
        return Evidence.from_dict(written["classes"])
    except Exception:  # of whatever kind the store has: it is not there, or another program's
        return None


def _spec(run: Any) -> dict[str, Any]:
    try:
        return reader.written_spec(run)
    except InputError:
        return {}


def _training_symbols(records: Sequence[TrialRecord]) -> int:
    """About how many symbols there are to train on, by the sizes of the networks; else 0."""
    # the largest is rounded least
    sized = (one for one in records if 0 < one.parameters_per_symbol < math.inf)
    largest = max(sized, key=lambda one: one.parameters_per_symbol, default=None)
    symbols = largest.parameters / largest.parameters_per_symbol if largest else 0.0
    return round(symbols) if symbols <= LARGEST else 0


def _about(tags: Tags, spec: Mapping[str, Any], records: Sequence[TrialRecord]) -> dict[str, str]:
    devices = dict.fromkeys(device for one in records if (device := one.tags.get(Tag.DEVICE)))
    facts = {
        "data": spec.get("data"),
        "template": spec.get("template"),
        "digest of the data": tags.get(Tag.CORPUS_DIGEST),
        "validation targets": spec.get("targets"),
        "unknown symbols": unknown_text(_or_zero(lambda: tags.share(Tag.UNKNOWN_SHARE))),
        "algorithm": spec.get("algo"),
        "seed": spec.get("seed"),
        "devices": ", ".join(devices),
        "versions": ", ".join(
            f"{tag.removeprefix(Tag.VERSION)} {value}"
            for tag, value in sorted(records[0].tags.items() if records else ())
            if tag.startswith(Tag.VERSION)
        ),
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


#: trials without which a forest would only show chance: of a dozen, a third are the ladder's, which
#: differ from the others in more than their rate
FEWEST_TRIALS, TREES = 20, 100


def importance(found: Findings) -> dict[str, float]:
    """How much of the variance of the loss each hyperparameter explains, largest first, 1 in all.

    By a random forest that is fitted to the trials: what its splits by each take away. Trials that
    diverged or did worse than each baseline count with the loss of the worst; there are no shares
    if the trials are too few.
    """
    worst = max(found.baselines.values(), default=math.inf)
    places, losses = list[list[float | None]](), list[float]()
    for one in found.trials:
        if one.phase is Phase.CONFIRM or one.ended is None or one.ended.outcome.is_accident:
            continue
        loss = min(math.inf if one.best_loss is None else one.best_loss, worst)
        row = [axis.share(one.hyperparameters.get(axis.name)) for axis in found.axes]
        if None not in row and math.isfinite(loss):
            places.append(row)
            losses.append(loss)
    if len(losses) < FEWEST_TRIALS or not found.axes:
        return {}
    with restored("KMP_INIT_AT_FORK", "KMP_DUPLICATE_LIB_OK"):  # the import sets them
        from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=0, n_jobs=1)
    forest.fit(places, losses)
    shares = zip((axis.name for axis in found.axes), forest.feature_importances_, strict=True)
    return {name: float(share) for name, share in sorted(shares, key=lambda item: -item[1])}


def driven_s(run: Any) -> float:
    """Total time for which a sweep was driven; 0 if its tag is no number of seconds."""
    driven = lease.holder(run.data.tags)
    return driven.seconds if driven else _or_zero(lambda: Tags(run).seconds(Tag.SECONDS))


def slot_s(run: Any) -> float:
    """Total time for which a sweep had slots, all slots together.

    Since it was closed last that is its slots times the time for which it was driven.
    """
    tags = Tags(run)
    slots = _or_zero(lambda: tags.whole(Tag.SLOTS, 0, default=0))
    since = max(0.0, driven_s(run) - _or_zero(lambda: tags.seconds(Tag.SECONDS)))
    return _or_zero(lambda: tags.seconds(Tag.SLOT_SECONDS)) + slots * since


def expected_left(run: Any) -> float | None:
    """Seconds to the end of a sweep as its driver expects it; None if it has not said that."""
    tags = Tags(run)
    if not tags.get(Tag.EXPECTED_SECONDS):
        return None
    return max(0.0, tags.seconds(Tag.EXPECTED_SECONDS) - driven_s(run))


def _or_zero(read: Callable[[], float]) -> float:
    """What is read from a tag; 0 if that holds something else."""
    try:
        return read()
    except BadRunError:
        return 0.0


def time_tags(sweep: Sweep) -> dict[str, str]:
    spent = sweep.time_spent
    return {
        Tag.SLOT_SECONDS: f"{spent.slot_seconds:.3f}",
        Tag.TIME: json_text(spent.to_dict()),
    }


def stored_time(tags: Tags) -> TimeSpent | None:
    """Where the time of a sweep went when it was closed last; None if nothing says it."""
    try:
        written = tags.json(Tag.TIME, dict)
    except BadRunError:
        return None
    known = {one.name: written.get(one.name) for one in fields(TimeSpent)}
    measured = [known[name] for name in known if (name, known[name]) != ("scoring", None)]
    sound = all(is_finite(seconds) and 0 <= seconds <= MOST_SECONDS for seconds in measured)
    return TimeSpent(**known) if sound else None
