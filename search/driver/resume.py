"""Reads an interrupted sweep back from its runs, and says how one is continued."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver.lease import OWNS_NAME, Lease, holder
from lstm_sweep.search.driver.lstm_task import check_stored
from lstm_sweep.search.driver.read_back import OPEN, began_s, driven_s, each_with_rounds, slot_s
from lstm_sweep.search.driver.state import SweepState, with_attempts
from lstm_sweep.search.policy.problem import EarlierBest
from lstm_sweep.search.store import journal, reader
from lstm_sweep.search.store.faults import BadRunError
from lstm_sweep.search.store.journal import WEIGHTS
from lstm_sweep.search.store.reader import TrialRecord, prior_of
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import DONE, STATUSES, Stop, StopReason, SweepStatus
from lstm_sweep.search.values.trial import Attempt, Ended, Outcome, Phase, Trial

DIED = Stop(StopReason.DRIVER_DIED, journal.DRIVER_DIED)


@dataclass(frozen=True)
class Resumed:
    """A sweep that was broken off, whose lease this process holds."""

    #: as its driver left it; without slots
    state: SweepState
    lease: Lease
    #: the best trials of earlier sweeps with whose configs it was begun
    prior: tuple[EarlierBest, ...]
    #: names of the params that its run has
    params: frozenset[str]
    #: the last step of its own metrics; None if it has none
    step: int | None
    #: paused trials whose runs do not say so any more, since it was broken off in order
    wait_again: tuple[Trial, ...]
    #: IDs of runs with stored weights
    weights: Mapping[Attempt, str]
    #: run IDs of baselines that did not finish
    begun_baselines: Mapping[str, str]
    #: whether it has only waited in a queue so far
    is_new: bool = False

    @property
    def is_unclaimed(self) -> bool:
        state = self.state
        return OWNS_NAME not in self.params and not (
            state.finished or state.waiting or state.paused
        )


def rebuild(store: Store, run: Any, spec: SweepSpec | None = None) -> Resumed:
    """Take the lease of a sweep that no process drives, read it back, and close its open runs.

    `run` is the sweep's run as it was when the lease was checked, `spec` its spec if it is known. A
    running trial becomes `LOST` unless its outcome has been written. If this fails, the lease is
    given back.
    """
    spec, before = spec or reader.read_spec(run), run.data.tags
    now = store.tags(run.info.run_id)
    if any(now.get(tag) != before.get(tag) for tag in (Tag.LEASE, Tag.SECONDS)):
        who = holder(now) or "another process"
        raise InputError(
            f"sweep '{before[Tag.NAME]}': {who} resumed it at the same time, only one can; "
            f"expected it to end"
        )
    lease = Lease(store, run.info.run_id, driven_s(run))
    try:
        lease.take()
        return _read(store, run, spec, lease)
    except BaseException:  # the time that was driven, which was in the earlier lease, is too
        lease.give_back(before.get(Tag.LEASE, ""))
        raise


def _read(store: Store, run: Any, spec: SweepSpec, lease: Lease) -> Resumed:
    children = reader.children(store, run)
    for error in children.left_out:
        raise error
    for record in (*children.attempts, *children.doubles):
        _check_trial(record, spec)
    known = _attempts(store, run, children.attempts, keep=lease.keep)
    _attempts(store, run, children.doubles, closing=True, keep=lease.keep)
    over = [one for one in known if one.ended]
    over.sort(key=lambda one: (one.began + one.seconds, one.number))
    in_order = sorted(known, key=lambda one: one.key)
    last = {one.number: one for one in in_order}.values()
    paused = [one for one in in_order if one.paused]
    scheduled = {
        one.run_id for one in children.attempts if not one.ended and one.status == "SCHEDULED"
    }
    state = SweepState(
        name=reader.name_of(Tags(run)),
        run_id=run.info.run_id,
        spec=spec,
        slots=(),
        now=driven_s(run),
        slot_seconds=slot_s(run),
        baselines=children.baselines,
        unfinished=tuple(one for one in over if one.ended and one.ended.unfinished),
    )
    return Resumed(
        state=with_attempts(
            state,
            [one for one in over if one.ended and not one.ended.unfinished],
            [one.next_attempt() for one in last if one.ended and goes_on(one, over)],
            paused,
        ),
        lease=lease,
        prior=prior_of(Tags(run)),
        params=frozenset(run.data.params),
        step=_last_step(store, run),
        wait_again=tuple(one for one in paused if one.run_id not in scheduled),
        weights={one.key: one.run_id for one in children.attempts if one.has_weights},
        begun_baselines=children.begun,
    )


def _check_trial(record: TrialRecord, spec: SweepSpec) -> None:
    check_stored(record, spec.space)
    if not set(record.point) <= set(spec.space.varying):
        raise record.tags.bad(Tag.VALS, "a number for each hyperparameter that varies")
    if record.rounds_per_epoch != (settled := spec.settled_rounds_per_epoch()):
        raise record.tags.bad(Tag.ROUNDS_PER_EPOCH, f"{settled}, as in the sweep's spec")
    if record.steps is not None and record.phase is not Phase.LADDER:
        raise record.tags.bad(Tag.STEPS, "none: the trial is not one of the ladder")
    if record.most_rounds is not None and record.phase is not Phase.CONFIRM:
        raise record.tags.bad(Tag.MOST_ROUNDS, "none: the trial is not one that confirms another")


def close(
    store: Store,
    run: Any,
    on_skipped: Callable[[BadRunError], None],
    why: Stop = DIED,
) -> None:
    """Close the runs of a sweep that no process drives; `why` it ends, or waits if it is paused.

    `on_skipped` is called for each trial that stays open, since it cannot be read.
    """
    reader.written_spec(run)
    children = reader.children(store, run)
    for error in children.left_out:
        on_skipped(error)
    found = _attempts(store, run, [*children.attempts, *children.doubles], closing=True)
    state = STATUSES[why.reason]
    tags = {
        Tag.STATE: str(state),
        Tag.REASON: why.text[: journal.LONGEST_REASON],
        Tag.STOP_REASON: str(why.reason),
        Tag.LEASE: "",
        Tag.SECONDS: f"{driven_s(run):.3f}",
        Tag.SLOT_SECONDS: f"{slot_s(run):.3f}",
        # the last two are of an earlier sitting
        **dict.fromkeys((Tag.STOP, Tag.TIME, Tag.UNCONFIRMED), ""),
    }
    # the best loss was logged as that of a trial that ran, and has no result now
    losses = [one.ranked_loss for one in found if one.ranked_loss is not None]
    has_best = "best_val_loss" in run.data.metrics
    metrics = {"best_val_loss": min(losses, default=math.nan)} if has_best else {}
    store.log(run.info.run_id, tags=tags, metrics=metrics, step=_last_step(store, run) or 0)
    if state is SweepStatus.PAUSED:
        store.reopen(run.info.run_id, "SCHEDULED")
        return
    store.finish(run.info.run_id, state.run_status(has_result=bool(losses)))


def goes_on(progress: Trial, attempts: Iterable[Trial]) -> bool:
    """Whether a trial with this last attempt gets another one.

    Not once it has had `Outcome.most_attempts`; attempts that ended with their driver do not count.
    """
    assert progress.ended
    if progress.ended.unfinished:
        return True
    number, phase = progress.number, progress.phase
    ends = (one.ended for one in attempts if one.number == number)
    failed = sum(end.outcome.is_accident for end in ends if end and not end.unfinished)
    outcome = progress.ended.outcome
    return outcome.is_accident and failed < outcome.most_attempts(phase)


def _last_step(store: Store, run: Any) -> int | None:
    return max(store.history(run.info.run_id, "trials_done"), default=None)


def _attempts(
    store: Store,
    run: Any,
    records: Iterable[TrialRecord],
    *,
    closing: bool = False,
    keep: Callable[[], None] = lambda: None,
) -> list[Trial]:
    """Attempts of trials with their rounds, from their records, earlier ones first.

    Runs that are open are closed, but for those of trials that are paused, unless `closing`. `keep`
    is called at each, since it may take long.
    """
    began, seconds = began_s(run), driven_s(run)
    found = list[Trial]()
    for one in each_with_rounds(store, records):
        keep()
        if not closing and _is_paused(one):
            one = replace(one, paused=one.tags[Tag.PAUSED], waited=True, ended=None)
        else:
            one = _closed(store, one)
        # time in which no process drove the sweep does not count
        start = min(one.opened_at - began, max(0.0, seconds - one.seconds))
        found.append(replace(one.as_driven(), began=start))
    return found


def _is_paused(record: TrialRecord) -> bool:
    may_go_on = record.ended is None or record.ended.unfinished
    return bool(record.tags.get(Tag.PAUSED)) and may_go_on


def _closed(store: Store, record: TrialRecord) -> TrialRecord:
    """An attempt that has ended, or has ended with its driver; its run is closed if it is open."""
    ended = record.ended or Ended(Outcome.LOST, journal.DRIVER_DIED, unfinished=True)
    if record.status in OPEN:
        if not record.ended:
            store.drop_folder(record.run_id, WEIGHTS)  # stored just before the driver died
            store.log(record.run_id, tags=journal.lost_with_driver(ended))
        has_result = record.logged_loss is not None
        store.finish(record.run_id, ended.outcome.status(has_result=has_result))
    return replace(record, ended=ended)


#: limits after which a sweep can continue
LIMITS = (StopReason.TRIALS, StopReason.MINUTES, StopReason.PATIENCE, StopReason.SPACE)


def resuming(name: str, more: str = "") -> str:
    """The command that continues a sweep; `more` is an option with a larger limit."""
    if more:
        return f"lstm-sweep resume {name} {more} goes on with more of them"
    return f"lstm-sweep resume {name} goes on with it"


def how_to_go_on(name: str, tags: Mapping[str, str]) -> str:
    if tags[Tag.STATE] != "finished":
        return resuming(name)
    match _limit(tags):
        case StopReason.MINUTES:
            return resuming(name, "--minutes M")
        case StopReason.PATIENCE:
            return "a new sweep with more --patience searches longer"
        case StopReason.SPACE:
            return "a new sweep with a wider space has more to try"
        case _:
            return resuming(name, "--trials N")


def spent(tags: Mapping[str, str], was: SweepSpec, spec: SweepSpec) -> str:
    """The limit that ended a finished sweep, if `spec` does not raise it; else ""."""
    if tags[Tag.STATE] != "finished":
        return ""
    sentence, limit = tags.get(Tag.REASON, DONE.text), _limit(tags)
    if limit is StopReason.SPACE:
        return f"the whole space ({sentence})"
    before, now = getattr(was, limit), getattr(spec, limit)
    if raised(before, now):
        return ""
    return f"--{limit} {before or 0:g} ({sentence})"


def raised(before: float | None, now: float | None) -> bool:
    """Whether a limit is wider than it was; None is no limit."""
    return before is not None and (now is None or now > before)


def _limit(tags: Mapping[str, str]) -> StopReason:
    return next((one for one in LIMITS if one == tags.get(Tag.STOP_REASON)), StopReason.TRIALS)
