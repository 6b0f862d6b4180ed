"""Values from the JSON of a service, by the types of their fields."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lstm_sweep.models.config import FIELDS, Config, TrialConfig
from lstm_sweep.search.actions.listings import TrialDetails
from lstm_sweep.search.policy.confirmation import Confirmed
from lstm_sweep.search.store.reader import TrialRecord
from lstm_sweep.search.store.tags import Tags
from lstm_sweep.search.values.trial import (
    RESULTS,
    RETURNED_LOSS,
    VALIDATION_LOSS,
    Ended,
    Outcome,
    Phase,
    Trial,
)
from lstm_sweep.spaces.template.config import TemplateConfig

Value = TypeVar("Value")


def read(kind: type[Value], given: Any) -> Value:
    """The value of a class that a document says; fields that it has besides are passed over.

    Raises:
        ValueError, TypeError, LookupError: the document says none, as that of another version.
        InputError: a config in it is none.
    """
    value: Value = _read(kind, given)
    return value


def _read(kind: Any, given: Any) -> Any:
    if kind is Any:
        return given
    if kind in OWN:
        return OWN[kind](given)
    if origin := get_origin(kind):
        return _read_generic(origin, get_args(kind), given)
    if hasattr(kind, "from_dict"):
        return kind.from_dict(given)
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        hints = _hints(kind)
        known = [one.name for one in dataclasses.fields(kind) if one.name in given]
        return kind(**{name: _read(hints[name], given[name]) for name in known})
    # a whole number stays one where a fraction may be, as in what is printed
    if not isinstance(given, int | float if kind is float else kind):
        raise TypeError(f"{given!r} is no {kind}")
    return given


def _read_generic(origin: Any, kinds: tuple[Any, ...], given: Any) -> Any:
    if origin in (Union, UnionType):
        others = [kind for kind in kinds if kind is not NoneType]
        if given is None and len(others) < len(kinds):
            return None
        return _read(others[0], given) if len(others) == 1 else given
    if origin is tuple:
        each = [kinds[0]] * len(given) if kinds[-1] is Ellipsis else kinds
        return tuple(_read(kind, one) for kind, one in zip(each, given, strict=True))
    if issubclass(origin, Mapping):
        return {name: _read(kinds[1], one) for name, one in given.items()}
    raise TypeError(f"{origin} is no kind of value that is sent")


def _config(values: Mapping[str, Any]) -> Config:
    """A config: one of our networks if it has all their fields, else one of a template."""
    is_ours = values.keys() == set(FIELDS)
    return TrialConfig.from_dict(values) if is_ours else TemplateConfig.from_dict(values)


def _trial(given: Mapping[str, Any]) -> TrialRecord:
    """A trial from its `document`, perhaps with its `results` and some of its `tags`."""
    sweep, _, number = given["trial"].rpartition("/")
    loss, outcome = given["val_loss"], Outcome.STOPPED if given["waits"] else given["outcome"]
    own = None if given["in_nats"] else loss
    ended = Ended(Outcome(outcome), given["reason"], given["waits"], own) if outcome else None
    return TrialRecord(
        trial=Trial(
            sweep=sweep,
            number=int(number),
            config=_config(given["config"]),
            seed=given["seed"],
            attempt=given["attempt"],
            phase=Phase(given["phase"]),
            objective=VALIDATION_LOSS if given["in_nats"] else RETURNED_LOSS,
            rounds_per_epoch=given["rounds_per_epoch"],
        ),
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
        results=tuple(given.get("results", RESULTS)),
        waits=given["waits"],
        seconds=given["seconds"] or 0.0,
    )


def _details(given: Mapping[str, Any]) -> TrialDetails:
    return TrialDetails(_trial(given), tuple(given["by_epoch"]))


def _confirmed(given: Mapping[str, Any]) -> Confirmed:
    return Confirmed(
        trial=given["trial"],
        first_loss=given["first_loss"],
        losses=tuple(given["losses"]),
        failed={Outcome(word): count for word, count in given["failed"].items()},
        is_best=given["verdict"] == "the best",
        above=given["above"],
        p=given["p"],
    )


#: readers of values whose documents have other fields than they
OWN: Mapping[Any, Callable[[Any], Any]] = {
    Config: _config,
    Confirmed: _confirmed,
    TrialRecord: _trial,
    TrialDetails: _details,
    datetime: datetime.fromisoformat,
}


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)
