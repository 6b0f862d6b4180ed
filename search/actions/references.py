"""What names of sweeps and trials mean, where they are looked for, and what is refused."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from lstm_sweep.models.errors import InputError, NoRoomError, shown
from lstm_sweep.search.driver.resume import resuming
from lstm_sweep.search.engines import open_engine
from lstm_sweep.search.engines.base import Engine
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import store_to_read
from lstm_sweep.search.store.faults import BadRunError, NoSuchRunError, StoreError
from lstm_sweep.search.store.settings import Settings, load
from lstm_sweep.search.store.tags import Tag
from lstm_sweep.search.store.tracking import Begins, MlflowStore, Store
from lstm_sweep.search.values.spec import NAME, SweepSpec, check_name


class SweepExistsError(InputError):
    """A sweep of this name is in the store."""


class SweepRunsError(InputError):
    """Another process drives the sweep."""


class DifferentSearchError(InputError):
    """A sweep was to be resumed with the spec of another search."""


class NothingToDoError(InputError):
    """A sweep that has ended was to go on, but has spent all that it may."""


class QueueFullError(InputError):
    """A user has as many sweeps in the queue of a service as one user may."""


class ServiceEndsError(Exception):
    """A service ends just now, and takes no more requests."""


#: kinds of refusals, by the name that a service gives to each in its problem documents
NAMED: Mapping[str, type[Exception]] = {
    "not-found": NoSuchRunError,
    "sweep-exists": SweepExistsError,
    "sweep-runs": SweepRunsError,
    "different-search": DifferentSearchError,
    "nothing-to-do": NothingToDoError,
    "queue-full": QueueFullError,
    "ending": ServiceEndsError,
    "unreadable-run": BadRunError,
    "store": StoreError,
    "disk": NoRoomError,
    "input": InputError,
}


#: end of the name of a sweep that learns what comes without classes ahead of another
AHEAD = "-unlabelled"
#: what may mean a trial: SWEEP/NUMBER, or a run ID or its beginning
TRIAL = re.compile(rf"{NAME.pattern}/[0-9]{{1,18}}|[0-9A-Za-z]{{1,32}}")
#: what may be a run ID or its beginning
RUN_ID = re.compile("[0-9a-f]{4,32}")
#: what a sweep is to do; to a service also its fields, which then name files that the service has
Wanted: TypeAlias = SweepSpec | Mapping[str, Any]


@dataclass(frozen=True)
class Here:
    """The store in which this process works."""

    #: without one, what the settings of the working folder name when it is needed
    given: Settings | None = None

    @cached_property
    def settings(self) -> Settings:
        return self.given or load(Path.cwd())

    def __str__(self) -> str:
        hint = f"; {self.settings.above} has a store" if self.settings.above else ""
        return f"{self.settings}{hint}"

    def sweep_run(self, name: str) -> tuple[MlflowStore, Any]:
        store = store_of_sweep(name, self.settings)
        return store, reader.existing_sweep(store, name)


def store_of_sweep(name: str, settings: Settings) -> MlflowStore:
    check_name("sweep", name)
    return existing_store(f"sweep '{name}'", settings)


def store_of_trial(reference: str, settings: Settings) -> MlflowStore:
    check_trial(reference)
    return existing_store(f"trial '{reference}'", settings)


def check_trial(reference: object) -> None:
    if not (isinstance(reference, str) and TRIAL.fullmatch(reference)):
        raise InputError(
            f"trial {shown(reference)}: expected SWEEP/NUMBER, the ID of a trial's run, or the "
            f"beginning of one"
        )


def check_sweep_or_trial(reference: object) -> None:
    if not (isinstance(reference, str) and NAME.fullmatch(reference)):
        check_trial(reference)


def means_sweep(here: Here, reference: str) -> bool:
    """Whether a reference means a sweep: it is the name of one, or can mean no trial.

    The name of a sweep is taken for that, be it also the beginning of a run ID.
    """
    check_sweep_or_trial(reference)
    if "/" in reference or not RUN_ID.fullmatch(reference):
        return "/" not in reference
    return reader.find_sweep(existing_store(f"'{reference}'", here.settings), reference) is not None


def existing_store(what: str, settings: Settings) -> MlflowStore:
    """The store in which `what` is looked for; none is made for that. A shared one is only read."""
    if settings.database_file is not None and not settings.database_file.exists():
        elsewhere = f"; {settings.above} has one: run it there" if settings.above else ""
        raise NoSuchRunError(
            f"{what}: no store at {settings} yet, expected one that launch has made{elsewhere}"
        )
    return store_to_read(settings)


#: number at the end of a name, and sweeps of such names that are looked at, the newest
NUMBER, LATEST = re.compile(f"([0-9]{{1,9}})({AHEAD})?"), 20


def engine_of(spec: SweepSpec, ray_address: str | None = None) -> Engine:
    return open_engine(spec.on, workers=spec.workers, per_gpu=spec.per_gpu, address=ray_address)


def is_new(tags: Mapping[str, str]) -> bool:
    """Whether a sweep has only waited in a queue so far; its driver notes its slots."""
    return Tag.SUBMITTED in tags and Tag.SLOTS not in tags


def check_free(store: Store, name: str) -> None:
    run = reader.find_sweep(store, name)
    if run is None:
        return
    state = run.data.tags.get(Tag.STATE, "")
    advice = {
        "finished": f"lstm-sweep trials {name} lists its trials",
        "running": f"lstm-sweep stop {name} ends it, {resuming(name)}",
    }.get(state, resuming(name))
    raise SweepExistsError(
        f"sweep '{name}' exists in {store.settings}, it is {state}: expected a new --name; {advice}"
    )


def free_name(store: Store, data: str) -> str:
    """The name of the data with a number that no sweep of the store has, after that of the last."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in data)
    stem = Path(stem).stem.strip(".-_") or "sweep"
    stem = f"{stem[:80]}-"
    latest, _ = store.select({Tag.ROLE: "sweep", Tag.NAME: Begins(stem)}, LATEST)
    names = [run.data.tags[Tag.NAME] for run in latest]
    numbers = [int(found[1]) for name in names if (found := NUMBER.fullmatch(name[len(stem) :]))]
    first = 1 + max(numbers, default=0)
    return next(
        name
        for number in itertools.count(first)
        if not reader.find_sweep(store, name := f"{stem}{number}")
    )
