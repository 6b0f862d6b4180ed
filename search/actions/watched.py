"""What a service answers, as values, and a sweep that it drives, as observers here are shown it."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from typing_extensions import override

from lstm_sweep.models.config import Config
from lstm_sweep.search.actions.classification import Classification, Classified
from lstm_sweep.search.actions.connection import Event
from lstm_sweep.search.actions.sweeps import SweepResult, SweepStatusReport, TrialDetails
from lstm_sweep.search.driver.state import Observer, SweepState, Viewer
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.spec import SweepSpec
from lstm_sweep.search.values.sweep import Confirmed, Stop, StopReason, SweepStatus
from lstm_sweep.search.values.trial import Ended, Outcome, Phase, Slot, Trial, ranked


def read_value(kind: Any, given: Any) -> Any:
    """The value of a class that a document says; fields that it has besides are passed over.

    Raises:
        ValueError, TypeError, LookupError: the document says none, as that of another version.
        InputError: a config in it is none.
    """
    if kind is Any:
        return given
    if kind in OWN:
        return OWN[kind](given)
    if origin := get_origin(kind):
        return _read_generic(origin, get_args(kind), given)
    if hasattr(kind, "from_dict"):
        return kind.from_dict(given)
    if dataclasses.is_dataclass(kind):
        return _fields(kind, given)
    if issubclass(kind, Enum):
        return kind(given)
    # a whole number stays one where a fraction may be, as in what is printed
    if not isinstance(given, int | float if kind is float else kind):
        raise TypeError(f"{given!r} is no {kind}")
    return given


def _read_generic(origin: Any, kinds: tuple[Any, ...], given: Any) -> Any:
    if origin in (Union, UnionType):
        others = [one for one in kinds if one is not NoneType]
        if given is None and len(others) < len(kinds):
            return None
        return read_value(others[0], given) if len(others) == 1 else given
    if origin is tuple:
        each = [kinds[0]] * len(given) if kinds[-1] is Ellipsis else kinds
        return tuple(read_value(one, x) for one, x in zip(each, given, strict=True))
    if origin is list:
        return [read_value(kinds[0], x) for x in given]
    return {read_value(kinds[0], k): read_value(kinds[1], x) for k, x in given.items()}


def _fields(kind: Any, given: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    known = [one.name for one in dataclasses.fields(kind) if one.name in given]
    return kind(**{name: read_value(hints[name], given[name]) for name in known})


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _config(values: Mapping[str, Any]) -> Config:
    return reader.kind_of_config(values).config(values)


def _trial(given: Mapping[str, Any]) -> TrialRecord:
    """A trial from its `document`, perhaps with its `results` and some of its `tags`."""
    sweep, _, number = given["trial"].rpartition("/")
    loss, outcome = given["val_loss"], Outcome.STOPPED if given["waits"] else given["outcome"]
    kind = next(kind for kind in reader.KINDS if kind.objective.name == given["measured"])
    own = loss if kind.objective.returned else None
    ended = Ended(Outcome(outcome), given["reason"], given["waits"], own) if outcome else None
    return TrialRecord(
        sweep=sweep,
        number=int(number),
        config=kind.config(given["config"]),
        seed=given["seed"],
        attempt=given["attempt"],
        phase=Phase(given["phase"]),
        objective=kind.objective,
        rounds_per_epoch=given["rounds_per_epoch"],
        run_id=given["run_id"],
        status=given["status"],
        ended=ended,
        parameters=given["parameters"],
        logged_loss=given["val_loss"],
        logged_best=round((given["best_epoch"] or 0) * given["rounds_per_epoch"]) or None,
        logged_rounds=round(given["epochs"] * given["rounds_per_epoch"]),
        has_weights=given["has_weights"],
        tags=Tags.of(given["run_id"], given.get("tags", {})),
        rerun_of=given["rerun_of"],
        results=tuple(given.get("results", kind.results({}))),
        waits=given["waits"],
        seconds=given["seconds"] or 0.0,
    )


#: readers of values whose documents have other fields than they
OWN: Mapping[Any, Callable[[Any], Any]] = {
    Config: _config,
    Classified: lambda x: _fields(Classified, x | {"said": x["class"]}),
    Classification: lambda x: _fields(
        Classification, x | {"trial": x["bundle"], "of": (x["threshold"] or {}).get("class")}
    ),
    Confirmed: lambda x: _fields(Confirmed, x | {"is_best": x["verdict"] == "the best"}),
    TrialRecord: _trial,
    TrialDetails: lambda x: TrialDetails(_trial(x), tuple(x["by_epoch"])),
    datetime: datetime.fromisoformat,
}


#: why a sweep has ended, by how
REASONS = {
    SweepStatus.FAILED: StopReason.FAILED,
    SweepStatus.PAUSED: StopReason.PAUSED,
    SweepStatus.STOPPED: StopReason.ASKED,
    SweepStatus.INTERRUPTED: StopReason.INTERRUPTED,
}


@dataclass(frozen=True)
class RemoteSlot(Slot):
    """A slot of which the service does not say where it is."""

    @override
    def __str__(self) -> str:
        return f"slot {self.index + 1}"


class Watched:
    """Tells an observer of a sweep by the events of the service that drives it."""

    def __init__(
        self,
        name: str,
        spec: SweepSpec,
        observer: Observer,
        read: Callable[[Any, Any], Any] = read_value,
        clock: Callable[[], float] = time.monotonic,
        told: Collection[tuple[str, bool]] = (),
    ) -> None:
        """`read` reads a value of a class; `told` are runs of which people know how they stand.

        Each with whether it was open.
        """
        self.name = name
        self._observer, self._read, self._clock, self._told = Viewer(observer), read, clock, told
        self._state, self._began = SweepState(name=name, spec=spec, slots=()), clock()
        #: trials that run or are paused, and those that have ended in the order of their ends, by
        #: number
        self._open, self._ended = dict[int, Trial](), dict[int, Trial]()
        #: trials as they were told before the state of the sweep was
        self._before: list[Mapping[str, Any]] | None = []
        self._waits = ""

    def hear(self, event: Event) -> None:
        self._state = replace(self._state, now=self._clock() - self._began)
        if event.name == "status":
            self._status(self._read(SweepStatusReport, event.data))
        elif event.name == "trial" and self._before is None:
            self._trial(event.data)
        elif event.name == "trial" and self._before is not None:
            self._before.append(event.data)
        if self._before is None:
            self._observer.update(self._sweep())

    def end(self, result: SweepResult) -> None:
        status = SweepStatus(result.state) if result.has_ended else SweepStatus.INTERRUPTED
        closed = Stop(REASONS.get(status, StopReason.TRIALS), result.why)
        self._start()
        self._state = replace(self._state, now=result.seconds, closed=closed)
        self._observer.ended(self._sweep())

    def _sweep(self) -> SweepState:
        return replace(
            self._state,
            running={one.slot: one for one in self._open.values() if not one.paused},
            paused={number: one for number, one in self._open.items() if one.paused},
            finished=tuple(self._ended.values()),
            ends=dict(self._ended),
            ranked=tuple(ranked(self._ended.values())),
        )

    def _start(self) -> None:
        """Show that the sweep runs, and what has happened in it before."""
        if self._before is not None:
            before, self._before = self._before, None
            for trial in before:
                record = self._read(TrialRecord, trial)
                if (record.run_id, record.is_open) in self._told:
                    self._trial(trial, is_news=False)
            self._observer.started(self._sweep())
            for trial in before:
                self._trial(trial)

    def _status(self, found: SweepStatusReport) -> None:
        if found.state == "queued":
            if (found.why or "") != self._waits:
                self._waits = found.why or ""
                why = f" ({self._waits})" if self._waits else ""
                self._observer.said(f"sweep {self.name}: queued{why}")
            return
        if self._before is not None and found.started:
            gone = max(0.0, (datetime.now(UTC) - found.started).total_seconds())
            self._began = self._clock() - gone
            self._state = replace(self._state, now=gone)
        left = found.eta_seconds
        expected_end = None if left is None else self._state.now + left
        self._add_slots(found.slots or 0)
        self._state = replace(self._state, run_id=found.run_id, expected_end=expected_end)
        self._start()

    def _add_slots(self, count: int) -> None:
        slots = self._state.slots
        slots = (*slots, *map(RemoteSlot, range(len(slots), count)))
        self._state = replace(self._state, slots=slots)

    def _trial(self, told: Mapping[str, Any], *, is_news: bool = True) -> None:
        """Note how a trial stands now."""
        record = self._read(TrialRecord, told)
        number, is_open = record.number, record.state in ("running", "paused")
        ended = self._ended.get(number)
        if ended and ended.attempt == record.attempt and not is_open:
            return  # it was told before the stream has broken
        self._ended.pop(number, None)  # it was tried again
        known = self._open.pop(number, None)
        before = known if known and known.attempt == record.attempt else None
        progress = replace(
            record.planned(),
            run_id=record.run_id,
            slot=known.slot if known and not known.paused else self._free_slot(),
            rounds=tuple({"val_loss": loss} for loss in told["losses"]),
            began=before.began if before else self._state.now,
            waited=bool(before and before.waited),
        )
        if record.state == "running":
            self._open[number] = progress
            self._add_slots(progress.slot.index + 1)
        elif record.state == "paused":
            why = f"after epoch {record.epoch_text(len(progress.rounds))}"
            self._open[number] = replace(progress, paused=why, waited=True)
        else:
            progress = replace(progress, ended=record.ended, seconds=record.seconds)
            self._ended[number] = progress
            if is_news:
                self._observer.trial_ended(progress, self._sweep())

    def _free_slot(self) -> Slot:
        used = {one.slot for one in self._open.values() if not one.paused}
        free = (slot for slot in self._state.slots if slot not in used)
        return next(free, RemoteSlot(len(self._state.slots)))
