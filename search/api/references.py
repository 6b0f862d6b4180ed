"""What the names of sweeps and trials mean, and the store in which they are looked for."""

from __future__ import annotations

import re

from lstm_sweep.models.errors import InputError, shown
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.cache import store_to_read
from lstm_sweep.search.store.faults import NoSuchRunError
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tracking import MlflowStore
from lstm_sweep.search.values.spec import NAME, check_name

#: what may mean a trial: SWEEP/NUMBER, or a run ID or its beginning
TRIAL = re.compile(rf"{NAME.pattern}/[0-9]{{1,18}}|[0-9A-Za-z]{{1,32}}")
#: what may be a run ID or its beginning
RUN_ID = re.compile("[0-9a-f]{4,32}")


def store_of_sweep(name: str, settings: Settings) -> MlflowStore:
    """The store in which a sweep is looked for.

    Raises:
        InputError: this is no name of a sweep, or there is no store yet.
    """
    check_name("sweep", name)
    return existing_store(f"sweep '{name}'", settings)


def store_of_trial(reference: str, settings: Settings) -> MlflowStore:
    """The store in which a trial is looked for.

    Raises:
        InputError: this can mean no trial, or there is no store yet.
    """
    check_trial(reference)
    return existing_store(f"trial '{reference}'", settings)


def check_trial(reference: object) -> None:
    """Refuse what can mean no trial."""
    if not (isinstance(reference, str) and TRIAL.fullmatch(reference)):
        raise InputError(
            f"trial {shown(reference)}: expected SWEEP/NUMBER, the ID of a trial's run, or the "
            f"beginning of one"
        )


def check_sweep_or_trial(reference: object) -> None:
    """Refuse what can mean neither a sweep nor a trial."""
    if not (isinstance(reference, str) and NAME.fullmatch(reference)):
        check_trial(reference)


def means_sweep(reference: str, *, settings: Settings) -> bool:
    """Whether a reference means a sweep: it is the name of one, or can mean no trial.

    The name of a sweep is taken for that, be it also the beginning of a run ID.

    Raises:
        InputError: this can be neither, or there is no store yet.
    """
    check_sweep_or_trial(reference)
    if "/" in reference:
        return False
    if not RUN_ID.fullmatch(reference):
        return True
    return reader.find_sweep(existing_store(f"'{reference}'", settings), reference) is not None


def existing_store(what: str, settings: Settings) -> MlflowStore:
    """The store in which `what` is looked for; none is made for that. A shared one is only read.

    Raises:
        NoSuchRunError: there is no store yet.
        InputError: it cannot be reached.
    """
    if settings.database_file is not None and not settings.database_file.exists():
        elsewhere = f"; {settings.above} has one: run it there" if settings.above else ""
        raise NoSuchRunError(
            f"{what}: no store at {settings} yet, expected one that launch has made{elsewhere}"
        )
    return store_to_read(settings)
