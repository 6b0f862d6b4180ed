"""The values in the answers of a service: read by the types of their fields."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from lstm_sweep.models.config import Config
from lstm_sweep.search.actions.sweeps import TrialDetails
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.sweep import Confirmed
from lstm_sweep.search.values.trial import Ended, Outcome, Phase


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
    return {read_value(kinds[0], k): read_value(kinds[1], x) for k, x in given.items()}


def _fields(kind: Any, given: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    known = [one.name for one in dataclasses.fields(kind) if one.name in given]
    return kind(**{name: read_value(hints[name], given[name]) for name in known})


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _config(values: Mapping[str, Any]) -> Config:
    """A config, of the kind of task whose configs have these fields."""
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
    Confirmed: lambda x: _fields(Confirmed, x | {"is_best": x["verdict"] == "the best"}),
    TrialRecord: _trial,
    TrialDetails: lambda x: TrialDetails(_trial(x), tuple(x["by_epoch"])),
    datetime: datetime.fromisoformat,
}
