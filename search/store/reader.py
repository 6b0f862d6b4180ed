"""Reads sweeps and trials from the store, as `journal` has written them."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from typing_extensions import override

from lstm_sweep.models.config import (
    CLASS_LIMITS,
    LIMITS,
    ClassConfig,
    Config,
    Limit,
    TrialConfig,
)
from lstm_sweep.models.data.source import Source
from lstm_sweep.models.data.windows import Scoring
from lstm_sweep.models.errors import InputError, cut, shown
from lstm_sweep.search.policy.problem import MOST_EARLIER, EarlierBest
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError
from lstm_sweep.search.store.journal import FORMAT
from lstm_sweep.search.store.tags import (
    LARGEST,
    WHOLE,
    Tag,
    Tags,
    finite,
    is_finite,
    point_of,
    scoring_of,
    source_of,
)
from lstm_sweep.search.store.tracking import Begins, Store
from lstm_sweep.search.values.options import CORPUS as OF_SYMBOLS
from lstm_sweep.search.values.spec import NAME, SweepSpec, digest_of
from lstm_sweep.search.values.sweep import GOING_ON, SweepStatus
from lstm_sweep.search.values.trial import (
    RESULTS,
    RETURNED_LOSS,
    VALIDATION_LOSS,
    Ended,
    Objective,
    Outcome,
    Phase,
    Trial,
    comparable,
)
from lstm_sweep.spaces.template.template import Template, TemplateConfig


@dataclass(frozen=True, kw_only=True)
class TrialRecord(Trial):
    """A trial as its run has it; its `rounds` are there once `with_rounds` has read them."""

    tags: Tags
    #: status of the run in MLflow
    status: str = "FINISHED"
    parameters_per_symbol: float = 0.0
    #: what its run says of its rounds: the lowest loss, or what it has returned; after
    #: which round that was, and how many there are
    logged_loss: float | None = None
    logged_best: int | None = None
    logged_rounds: int = 0
    has_weights: bool = False
    #: run that this one repeats; empty if it is none
    rerun_of: str = ""
    #: metrics of its rounds that depend on the trial alone, not on the machine's speed
    results: tuple[str, ...] = RESULTS
    #: whether it has ended with its sweep, and waits to go on as the sweep does
    waits: bool = False
    #: whether its driver has written to its run
    is_written: bool = True
    #: when its run was opened, and closed, in seconds since 1970; None for one that is open
    opened_at: float = 0.0
    closed_at: float | None = None

    @property
    @override
    def state(self) -> str:
        if self.waits or (not self.ended and self.status == "SCHEDULED"):
            return "paused"
        return self.outcome or self.status.lower()

    @cached_property
    @override
    def best_round(self) -> int | None:
        return super().best_round if self.rounds else self.logged_best

    @property
    @override
    def rounds_done(self) -> int:
        return len(self.rounds) or self.logged_rounds

    @cached_property
    @override
    def best_loss(self) -> float | None:
        own = self.rounds or self.objective.returned
        return super().best_loss if own else self.logged_loss

    @property
    @override
    def is_open(self) -> bool:
        return self.waits or not self.ended

    @override
    def seconds_by(self, now: float) -> float:
        return self.seconds

    def to_dict(self) -> dict[str, Any]:
        return {
            "trial": self.id,
            "run_id": self.run_id,
            "status": self.status,
            "outcome": None if self.waits else self.outcome or None,
            "phase": str(self.phase),
            "attempt": self.attempt,
            "val_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "rounds_per_epoch": self.rounds_per_epoch,
            "parameters": self.parameters,
            "seed": self.seed,
            "config": self.config.to_dict(),
        }

    def document(self) -> dict[str, Any]:
        return self.to_dict() | {
            "reason": self.reason,
            "waits": self.waits,
            "measured": self.objective.name,
            "has_weights": self.has_weights,
            "rerun_of": self.rerun_of,
            "seconds": self.seconds if self.closed_at else None,
        }


def apart(records: Iterable[TrialRecord]) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """The records of attempts, by number, earlier ones first; and doubles of them.

    A server may carry out a request to create a run after the driver has given it up, and has made
    another one; the double has no params.
    """
    every = sorted(records, key=lambda one: (one.number, one.attempt, one.is_written))
    own = {(one.number, one.attempt): one for one in every}
    used = {one.run_id for one in own.values()}
    return [*own.values()], [one for one in every if one.run_id not in used]


def last_attempts(records: Iterable[TrialRecord], sweep_state: str) -> dict[int, TrialRecord]:
    """The record of the last attempt of each trial, by number.

    While the sweep goes on, or waits to, one that ended with it `waits`.
    """
    last = {record.number: record for record in apart(records)[0]}
    if sweep_state not in GOING_ON:
        return last
    return {
        number: replace(one, waits=bool(one.ended and one.ended.unfinished))
        for number, one in last.items()
    }


@dataclass(frozen=True)
class RunKind:
    """How the runs of one kind of task are recognized and read."""

    #: tag that its runs have, and those of no other kind
    tag: str
    objective: Objective
    #: makes a config from the values that a run has; raises `InputError` if they are none
    config: Callable[[Mapping[str, Any]], Config]
    #: metrics of a round that depend on the trial alone, by the names of all that a run has
    results: Callable[[Mapping[str, float]], tuple[str, ...]]
    #: tags of which two trials have the same values if their losses can be compared; none: `tag`
    scored_on: tuple[str, ...] = ()
    #: limits of the hyperparameters that `--set` takes, by their names
    limits: Mapping[str, Limit] = field(default_factory=dict)
    #: where its other hyperparameters are given more values, for people
    space_place: str = "in a new sweep"
    #: whether `--epochs` says how long its trials are trained
    takes_epochs: bool = False
    #: the baseline that has learned nothing of what comes before; empty: none
    untrained: str = ""


def _template_config(written: Mapping[str, Any]) -> TemplateConfig:
    for label, value in written.items():
        name, *places = label.split(":")
        named = name.isidentifier() and 1 <= len(places) <= 2
        if not named or not all(place.isdecimal() for place in places):
            raise InputError(
                f"{shown(label)} is no hyperparameter of a template, expected name:line"
            )
        if not (isinstance(value, str) or is_finite(value)):
            raise InputError(f"{shown(label)} is {shown(value)}: expected a number or a text")
    return TemplateConfig.from_dict(written)


def _template_results(metrics: Mapping[str, float]) -> tuple[str, ...]:
    found = sorted(name for name in metrics if name.startswith(("train_", "val_")))
    return tuple(sorted(found, key=lambda name: name not in RESULTS))


#: LSTMs on a corpus
CORPUS = RunKind(
    Tag.DATA,
    VALIDATION_LOSS,
    TrialConfig.from_dict,
    lambda _: RESULTS,
    scored_on=(Tag.CORPUS_DIGEST, Tag.SCORING),
    limits=LIMITS,
    takes_epochs=True,
    untrained="unigram",
)
#: the same that predict the class of a sequence
CLASSES = RunKind(
    Tag.CLASSES,
    Objective(name="log loss (nats per sequence)"),
    ClassConfig.from_dict,
    lambda _: ("train_loss", "val_loss", "val_accuracy", "val_macro_f1"),
    scored_on=(Tag.CORPUS_DIGEST,),
    limits=CLASS_LIMITS,
    takes_epochs=True,
    untrained="majority",
)
#: a user's template
TEMPLATE = RunKind(
    Tag.TEMPLATE,
    RETURNED_LOSS,
    _template_config,
    _template_results,
    space_place="in the template",
)
#: all kinds; that of a run is the first whose tag it has
KINDS: tuple[RunKind, ...] = (TEMPLATE, CLASSES, CORPUS)


def run_kind(tags: Tags) -> RunKind:
    found = next((kind for kind in KINDS if kind.tag in tags), None)
    if found is None:
        known = " or ".join(kind.tag for kind in KINDS)
        raise BadRunError(f"run {tags.run_id}: it says not what it trains: expected tag {known}")
    return found


def prior_of(tags: Tags) -> tuple[EarlierBest, ...]:
    written = tags.json(Tag.PRIOR, list, "[]")
    pairs = (isinstance(one, list) and list(map(type, one)) == [str, dict] for one in written)
    if len(written) > MOST_EARLIER or not all(pairs):
        raise tags.bad(Tag.PRIOR, "trials with their configs, as `launch` has written them")
    try:
        config = run_kind(tags).config
        return tuple(EarlierBest(trial, config(values)) for trial, values in written)
    except InputError as error:
        raise BadRunError(f"run {tags.run_id}: tag {Tag.PRIOR}: {error}") from None


def kind_of_config(values: Mapping[str, Any]) -> RunKind:
    """The kind of task whose configs have these values; a template's have any."""
    return next((kind for kind in KINDS if kind.limits.keys() == values.keys()), TEMPLATE)


def scored_on(tags: Tags) -> dict[str, str | None]:
    """What a trial was scored on: its loss can be compared with those of trials with the same."""
    kind = run_kind(tags)
    return {tag: tags.get(tag) for tag in kind.scored_on or (kind.tag,)}


#: phases of the trials of a sweep: no baselines, no reruns
TRAINED = (Phase.LADDER, Phase.SEARCH, Phase.CONFIRM)
#: run IDs, and prefixes of them that are accepted
PREFIX = re.compile("[0-9a-f]{4,32}")
#: runs that are named if several have a prefix, and sweeps if none has a name
MATCHING, NAMED = 5, 5
#: the largest number that a trial may have
MOST_TRIALS = 1_000_000

Read = TypeVar("Read")
#: told of each run that is skipped
OnSkipped = Callable[[BadRunError], object]


def written_spec(run: Any) -> dict[str, Any]:
    """The spec in the tags of a sweep's run, unchecked but for its digest."""
    tags = Tags(run)
    name = name_of(tags)
    parts = itertools.takewhile(bool, (tags.get(f"{Tag.SPEC}{n}") for n in itertools.count()))
    text = "".join(filter(None, parts))
    if not text:
        raise InputError(f"sweep '{name}': run {tags.run_id} has no spec, expected tag {Tag.SPEC}0")
    try:  # parts of a longer, earlier spec may follow
        written, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        written = None
    if not isinstance(written, dict):
        raise tags.bad(f"{Tag.SPEC}0", "the beginning of a spec in JSON")
    found, expected = digest_of(written), tags.get(Tag.SPEC_DIGEST)
    if found != expected:
        raise InputError(
            f"sweep '{name}': its spec has digest {found}, expected {expected}: tags of run "
            f"{tags.run_id} were changed"
        )
    return written


def read_spec(run: Any, template: Template | None = None) -> SweepSpec:
    written, tags = written_spec(run), Tags(run)
    digest = written.pop("template_digest", None)
    same = (template and template.digest) == digest
    if not same or (written.get("template") is not None) != bool(template):
        raise tags.bad(Tag.TEMPLATE, "the same template as in the spec of the sweep")
    if template:
        written |= {"template": template}
        written.pop("space", None)
    else:  # no version but the first left it out, which predicted symbols alone
        written = {"task": OF_SYMBOLS} | written
    try:
        return SweepSpec.from_mapping(written, f"sweep '{name_of(tags)}'")
    except InputError as error:
        raise BadRunError(f"run {tags.run_id}: {error}") from None


def name_of(tags: Tags) -> str:
    return tags.text(Tag.NAME, NAME.pattern, "the name of a sweep")


def state_of(tags: Tags) -> str:
    return tags.word(Tag.STATE, SweepStatus, "queued", "running")


def is_readable(tags: Mapping[str, str]) -> bool:
    return tags.get(Tag.FORMAT) == str(FORMAT)


def check_format(run: Any) -> None:
    tags = run.data.tags
    if not is_readable(tags):
        name, found = cut(tags.get(Tag.NAME, "")), cut(tags.get(Tag.FORMAT, "none"))
        raise BadRunError(
            f"sweep '{name}' has format {found}, expected {FORMAT}: another version of lstm-sweep "
            f"made it"
        )


def read_trial(run: Any) -> TrialRecord:
    check_format(run)
    tags, params, metrics = Tags(run), run.data.params, run.data.metrics
    kind = run_kind(tags)
    try:
        config = kind.config(tags.json(Tag.CONFIG, dict))
    except InputError as error:
        raise BadRunError(f"run {tags.run_id}: tag {Tag.CONFIG}: {error}") from None
    per_epoch = tags.whole(Tag.ROUNDS_PER_EPOCH, 1, default=1)
    found, per_symbol = params.get("parameters", ""), 0.0
    with contextlib.suppress(ValueError):
        per_symbol = float(params.get("parameters_per_symbol", ""))
    loss, waited = comparable(metrics.get("best_val_loss")), Tag.SECONDS in tags
    opened = run.info.start_time or 0
    closed = run.info.end_time or opened
    ended = None
    if outcome := tags.word(Tag.OUTCOME, Outcome, ""):
        own = loss if kind.objective.returned else None
        unfinished = tags.get(Tag.UNFINISHED) == "yes"
        ended = Ended(Outcome(outcome), tags.get(Tag.REASON, ""), unfinished, own)
    return TrialRecord(
        sweep=name_of(tags),
        number=tags.whole(Tag.TRIAL, 0, high=MOST_TRIALS),
        config=config,
        seed=tags.whole(Tag.SEED, 0),
        point=point_of(tags),
        attempt=tags.whole(Tag.ATTEMPT, 1, default=1),
        phase=Phase(tags.word(Tag.PHASE, Phase)),
        objective=kind.objective,
        rounds_per_epoch=per_epoch,
        steps=tags.whole(Tag.STEPS, 1) if Tag.STEPS in tags else None,
        most_rounds=tags.whole(Tag.MOST_ROUNDS, 1) if Tag.MOST_ROUNDS in tags else None,
        run_id=tags.run_id,
        ended=ended,
        # by its end, or, if it has waited, for which it had a slot
        seconds=tags.seconds(Tag.SECONDS) if waited else max(0.0, float(closed - opened) / 1000),
        waited=waited,
        tags=tags,
        status=run.info.status,
        parameters=int(found) if WHOLE.fullmatch(found) else 0,
        parameters_per_symbol=per_symbol,
        logged_loss=loss,
        logged_best=_rounds(metrics, "best_epoch", per_epoch) or None,
        logged_rounds=_rounds(metrics, "epochs_done", per_epoch),
        has_weights=tags.get(Tag.WEIGHTS) == "kept",
        rerun_of=tags.get(Tag.RERUN_OF, ""),
        results=kind.results(metrics),
        is_written=bool(params),
        opened_at=opened / 1000,
        closed_at=closed / 1000 if run.info.end_time else None,
    )


def _rounds(metrics: Mapping[str, float], name: str, per_epoch: int) -> int:
    """A metric that is a number of epochs, as rounds; 0 if it is missing or unusable."""
    found = (finite(metrics, name) or 0.0) * per_epoch
    return round(found) if 0 <= found <= LARGEST else 0


def read_source(record: TrialRecord) -> tuple[Source, Scoring]:
    return source_of(record.tags), scoring_of(record.tags)


def sweeps(store: Store, on_skipped: OnSkipped = str) -> list[Any]:
    return _named(store.runs({Tag.ROLE: "sweep"}), on_skipped)


def newest_sweeps(
    store: Store, most: int, token: str = "", on_skipped: OnSkipped = str
) -> tuple[list[Any], str]:
    """Parent runs of so many sweeps, newest first, and what names those after them.

    There are fewer if some cannot be read.
    """
    found, more = store.select({Tag.ROLE: "sweep"}, most, token)
    return _named(found, on_skipped), more


def _named(runs: Iterable[Any], on_skipped: OnSkipped) -> list[Any]:
    return [run for run, _ in _readable(runs, lambda run: (run, name_of(Tags(run))), on_skipped)]


def _known_sweeps(store: Store) -> str:
    runs, more = newest_sweeps(store, NAMED)
    names = ", ".join(run.data.tags[Tag.NAME] for run in runs) or "none"
    return f"{names} and older ones" if more else names


def _readable(
    runs: Iterable[Any], read: Callable[[Any], Read], on_skipped: OnSkipped
) -> list[Read]:
    """What is read of runs; those that cannot be read are skipped and reported."""
    found = []
    for run in runs:
        try:
            found.append(read(run))
        except BadRunError as error:
            run_id = run.info.run_id
            on_skipped(error if run_id in str(error) else BadRunError(f"run {run_id}: {error}"))
    return found


def find_sweep(store: Store, name: str) -> Any:
    if not NAME.fullmatch(name):
        return None
    found = store.runs({Tag.ROLE: "sweep", Tag.NAME: name})
    if not found:
        return None
    known = [run for run in found if is_readable(run.data.tags)]
    if not known:
        check_format(found[-1])
    return known[-1]


def existing_sweep(store: Store, name: str) -> Any:
    """Parent run of a sweep; a `NoSuchRunError` names the newest ones."""
    if run := find_sweep(store, name):
        return run
    known = _known_sweeps(store)
    raise NoSuchRunError(f"sweep '{name}': no such sweep in {store.settings}; sweeps: {known}")


def trials(store: Store, sweep: str, on_skipped: OnSkipped = str) -> list[TrialRecord]:
    """The last attempt of each trial of a sweep, by number; no reruns."""
    parent = find_sweep(store, sweep)
    if parent is None:
        return []
    found, state = children(store, parent), parent.data.tags.get(Tag.STATE, "")
    for error in found.left_out:
        on_skipped(error)
    return [*last_attempts(found.attempts, state).values()]


@dataclass(frozen=True)
class Children:
    """What the runs of a sweep say but its own."""

    #: attempts of trials, by number, earlier ones first; and doubles of them, as of `apart`
    attempts: list[TrialRecord]
    doubles: list[TrialRecord]
    #: loss of each finished baseline, nats; the runs of the others
    baselines: dict[str, float]
    begun: dict[str, str]
    #: why runs cannot be read
    left_out: list[BadRunError]


def children(store: Store, run: Any) -> Children:
    runs, left_out = store.runs({Tag.PARENT: run.info.run_id}), list[BadRunError]()
    trained = [one for one in runs if one.data.tags.get(Tag.PHASE) in TRAINED]
    scored = [one for one in runs if one.data.tags.get(Tag.PHASE) == Phase.BASELINE]
    ended = [one for one in scored if one.info.status == "FINISHED"]
    begun = [one for one in scored if one.info.status != "FINISHED"]
    return Children(
        *apart(readable_trials(trained, left_out.append)),
        dict(_readable(ended, read_baseline, left_out.append)),
        dict(_readable(begun, lambda one: (baseline_of(one), one.info.run_id), left_out.append)),
        left_out,
    )


def readable_trials(runs: Iterable[Any], on_skipped: OnSkipped = str) -> list[TrialRecord]:
    return _readable(runs, read_trial, on_skipped)


def read_baseline(run: Any) -> tuple[str, float]:
    """Name and loss of a finished baseline, nats."""
    loss = comparable(run.data.metrics.get("best_val_loss"))
    if loss is None:
        raise BadRunError(
            f"run {run.info.run_id}: metric best_val_loss is no finite number: expected a loss"
        )
    return baseline_of(run), loss


def baseline_of(run: Any) -> str:
    return Tags(run).text(Tag.BASELINE, "[a-z_]{1,40}", "the name of a baseline")


def find_trial(store: Store, reference: str) -> TrialRecord:
    """The trial with a reference: `SWEEP/NUMBER`, a run ID, or a unique prefix of a run ID."""
    name, slash, number = reference.rpartition("/")
    if slash:
        bad = list[BadRunError]()
        records = trials(store, name, bad.append)
        if found := next((one for one in records if str(one.number) == number), None):
            return found
        if bad:
            raise bad[0]
        has = f"sweep '{name}' has {len(records)} trials, expected one of them"
        if not records:
            has = f"expected one of a sweep that has some; sweeps: {_known_sweeps(store)}"
        raise NoSuchRunError(f"trial '{reference}': no such trial; {has}")
    alike = store.runs({"": Begins(reference)}) if PREFIX.fullmatch(reference) else []
    matching = [run for run in alike if Tag.TRIAL in run.data.tags]
    if len(matching) == 1:
        return read_trial(matching[0])
    if matching:
        names = ", ".join(f"{r.info.run_id} ({r.info.run_name})" for r in matching[-MATCHING:])
        raise InputError(f"trial '{reference}': expected more of one of these run IDs: {names}")
    raise NoSuchRunError(
        f"trial '{reference}': expected SWEEP/NUMBER, the ID of a trial's run, or the beginning "
        "of one; `lstm-sweep trials NAME` lists them"
    )
