"""Reads all that a report shows of a sweep from its runs, and makes the report of it.

What a run does not have, or has in a form that cannot be read, is left out of the report.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from lstm_sweep.models.config import Limit
from lstm_sweep.models.data import source
from lstm_sweep.models.errors import InputError
from lstm_sweep.models.scoring import unknown_text
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.resume import driven_s
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.driver.time_spent import SHARES, shares, stored_time
from lstm_sweep.search.policy import importance
from lstm_sweep.search.process.secrets import without_secrets
from lstm_sweep.search.report.charts import Axis
from lstm_sweep.search.report.findings import Findings
from lstm_sweep.search.report.report_page import report_page
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.curves import (
    best_loss_history,
    confirmed_of,
    with_rounds,
)
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.reader import TrialRecord, apart, last_attempts, run_kind, scored_on
from lstm_sweep.search.store.tags import Tag, Tags, is_finite
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.progress import ranked, shown_name
from lstm_sweep.search.values.trial import Phase

#: the baseline that knows nothing but how frequent each symbol is
UNIGRAM = "unigram"


def read_findings(store: Store, run: Any, matters: Mapping[str, float] | None = None) -> Findings:
    """All that a report shows of the sweep with this run.

    `matters` are the shares of the hyperparameters if they are known already (`importance`).

    Raises:
        BadRunError: the run itself cannot be read.
    """
    tags = Tags(run)
    name, kind = reader.name_of(tags), run_kind(tags)
    spec, left_out = _spec(run), list[BadRunError]()
    children = store.runs({Tag.PARENT: run.info.run_id})
    trained = [one for one in children if one.data.tags.get(Tag.PHASE) in reader.TRAINED]
    records, _ = apart(reader.readable_trials(trained, left_out.append))
    state, driven = lease.state_of(run), driven_s(run)
    last = last_attempts(records, state)
    records = [_as_it_stands(record, last) for record in records]
    attempts = _attempts(store, records)
    baselines = _baselines(children, left_out)
    axes = _axes(spec, kind.limits)
    shares_of = _importance(run, last, baselines) if matters is None else matters
    return Findings(
        sweep=name,
        run_id=tags.run_id,
        state=state,
        why=tags.get(Tag.REASON, "") if state != "running" else "",
        loss_name=kind.objective.name,
        in_nats=kind.objective.nats_per_symbol,
        round_name=kind.objective.round_name,
        scored_on=scored_on(records[0].tags) if records else {},
        attempts=tuple(attempts),
        baselines=baselines,
        entropy=_entropy(run, spec) if kind.objective.nats_per_symbol else None,
        confirmed=tuple(confirmed_of(store, list(last.values()))),
        unconfirmed=tags.get(Tag.UNCONFIRMED, "") if state == "finished" else "",
        axes=axes,
        rate=_rate(spec, axes),
        seconds=driven,
        gains=best_loss_history(store, run, driven),
        training_symbols=_training_symbols(records),
        size_rule=_size_rule(spec),
        trials_wanted=_number(spec, "trials", int),
        minutes=_number(spec, "minutes", float),
        limits=kind.limits,
        space_place=kind.space_place,
        takes_epochs=kind.takes_epochs,
        about=_about(tags, spec, records),
        left_out=len(left_out),
        time=_time(tags, attempts, list(last.values()), state),
        importance={shown_name(name): share for name, share in shares_of.items()},
    )


def _as_it_stands(record: TrialRecord, last: Mapping[int, TrialRecord]) -> TrialRecord:
    """An attempt, which may wait if it is its trial's last."""
    latest = last[record.trial.number]
    return latest if latest.run_id == record.run_id else record


def _spec(run: Any) -> dict[str, Any]:
    """The spec of a sweep as it is written; empty if its version has written none."""
    try:
        return reader.written_spec(run)
    except InputError:
        return {}


def _number(spec: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    found = spec.get(name)
    return kind(found) if is_finite(found) else None


def _attempts(store: Store, records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Each attempt with its rounds, by the numbers of trials, earlier attempts first."""
    found = list[TrialRecord]()
    #: rounds of the last attempt of each trial
    before = dict[int, Sequence[Mapping[str, float]]]()
    for record in sorted(records, key=lambda one: (one.trial.number, one.trial.attempt)):
        number = record.trial.number
        with contextlib.suppress(BadRunError):
            record = with_rounds(store, record, before.get(number, ()))
        found.append(record)
        before[number] = record.rounds
    return found


def _baselines(children: Iterable[Any], left_out: list[BadRunError]) -> dict[str, float]:
    found = {}
    for run in children:
        if run.data.tags.get(Tag.PHASE) == Phase.BASELINE and run.info.status == "FINISHED":
            try:
                name, loss = reader.read_baseline(run)
            except BadRunError as error:
                left_out.append(error)
            else:
                found[name] = loss
    return found


def _entropy(run: Any, spec: Mapping[str, Any]) -> float | None:
    """Entropy of the data, nats per symbol; known of the sample that was generated."""
    data = spec.get("data", run.data.params.get("data"))
    ends = bool(spec.get("ends"))
    return source.WORKFLOW.entropy(ends=ends) if data == "workflow-log" else None


def _axes(spec: Mapping[str, Any], limits: Mapping[str, Limit]) -> tuple[Axis, ...]:
    """The hyperparameters that vary, from a space as `Space.describe` has written it."""
    space: Any = spec.get("space")
    found = space.items() if isinstance(space, dict) else ()
    drawn = (_axis(name, values, limits.get(name)) for name, values in found)
    return tuple(axis for axis in drawn if axis)


def _axis(name: str, written: object, limit: Limit | None) -> Axis | None:
    shown = shown_name(name)
    is_whole = limit is not None and limit.kind is int
    if isinstance(written, list) and len(written) > 1:
        if all(map(is_finite, written)):
            marks = tuple(sorted(map(float, written)))
            log = marks[0] > 0 and limit is not None and limit.ratio
            return Axis(shown, marks[0], marks[-1], log, is_whole=is_whole, marks=marks)
        return Axis(shown, words=tuple(dict.fromkeys(map(str, written))))
    if not isinstance(written, dict):
        return None
    log = written.get("scale") == "log"
    low: Any = written.get("low")
    high: Any = written.get("high")
    if low is None and is_finite(written.get("mu")) and is_finite(written.get("sigma")):
        low, high = (written["mu"] + n * written["sigma"] for n in (-2, 2))  # a normal distribution
        low, high = (math.exp(min(x, 700.0)) if log else x for x in (low, high))
    if not (is_finite(low) and is_finite(high)) or low >= high or (log and low <= 0):
        return None
    return Axis(shown, low, high, log=log, is_whole=is_whole)


def _rate(spec: Mapping[str, Any], axes: Sequence[Axis]) -> str | None:
    """The hyperparameter that is the learning rate, as it is shown."""
    field = spec.get("learning_rate_field") if spec.get("template") else "learning_rate"
    names = [axis.name for axis in axes]
    same = (name for name in names if isinstance(field, str) and name.split(" ")[0] == field)
    return shown_name(field) if field in names else next(same, None)


def _training_symbols(records: Iterable[TrialRecord]) -> int:
    """About how many symbols there are to train on, by the sizes of the networks; else 0."""
    # the largest is rounded least
    sized = (one for one in records if 0 < one.parameters_per_symbol < math.inf)
    largest = max(sized, key=lambda one: one.parameters_per_symbol, default=None)
    return round(largest.parameters / largest.parameters_per_symbol) if largest else 0


def _size_rule(spec: Mapping[str, Any]) -> tuple[float, float] | None:
    low: Any = spec.get("size_low")
    high: Any = spec.get("size_high")
    if spec.get("size_rule") == "off" or not (is_finite(low) and is_finite(high)):
        return None
    return (float(low), float(high)) if 0 < low < high else None


def _time(
    tags: Tags, attempts: Sequence[TrialRecord], trials: list[TrialRecord], state: str
) -> dict[str, float]:
    """Seconds of slots by what they were used for; of a sweep that runs, of its trials so far."""
    spent = None
    with contextlib.suppress(BadRunError):
        spent = stored_time(tags) if state != "running" else None
    if spent:
        return {words: getattr(spent, name) for name, words in SHARES.items()}
    best = next(iter(ranked(trials, of_running=state == "running")), None)
    so_far = shares([(one, one.seconds) for one in attempts], best.trial.number if best else None)
    return {words: so_far[name] for name, words in SHARES.items()}


def _about(tags: Tags, spec: Mapping[str, Any], records: Sequence[TrialRecord]) -> dict[str, str]:
    """Further facts: data, seed, devices, versions."""
    devices = dict.fromkeys(device for one in records if (device := one.tags.get(Tag.DEVICE)))
    facts = {
        "data": spec.get("data"),
        "template": spec.get("template"),
        "digest of the data": tags.get(Tag.CORPUS_DIGEST),
        "validation targets": spec.get("targets"),
        "unknown symbols": _unknown(tags),
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


def _unknown(tags: Tags) -> str:
    with contextlib.suppress(BadRunError):
        return unknown_text(tags.share(Tag.UNKNOWN_SHARE))
    return ""


def _importance(
    run: Any, last: Mapping[int, TrialRecord], baselines: Mapping[str, float]
) -> dict[str, float]:
    """Shares of the hyperparameters; none if the trials are too few or the space is not known."""
    worst = baselines.get(UNIGRAM, math.inf)
    found = {
        one.trial.config: min(math.inf if one.best_loss is None else one.best_loss, worst)
        for one in last.values()
        if one.trial.phase is not Phase.CONFIRM and one.outcome
    }
    finite = {config: loss for config, loss in found.items() if math.isfinite(loss)}
    if len(finite) < importance.FEWEST_TRIALS:
        return {}
    try:
        tags = Tags(run)
        spec = task_kind_of_run(tags).read_spec(run, tags, None)
        return importance.shares(spec.space, finite, spec.seed) or {}
    except (InputError, ValueError, KeyError):  # a template that is not on this machine
        return {}


#: name of the report among the files of a sweep's run
REPORT = "report.html"


def keep_report(store: Store, run_id: str, matters: Mapping[str, float] | None) -> None:
    """Store the report of a sweep with its run; `matters` as for `read_findings`."""
    found = read_findings(store, store.run(run_id), matters or {})
    store.keep_text(run_id, page_of(found), REPORT)


def read_report(store: Store, run: Any) -> tuple[Findings, str]:
    """What there is of a sweep, and the page that shows it.

    Raises:
        BadRunError: the run of the sweep cannot be read.
    """
    found = read_findings(store, run)
    return found, page_of(found)


def page_of(found: Findings) -> str:
    """The report as an HTML page that says when it was written; without secrets."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    version = metadata.version("lstm-sweep")
    return without_secrets(report_page(found, f"Written by lstm-sweep {version} on {now}."))
