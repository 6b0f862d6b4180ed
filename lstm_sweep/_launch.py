"""Launches a sweep, here or by a service, finds one by its name, and lists all."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from lstm_sweep import _tables
from lstm_sweep._sweep import (
    PathLike,
    Sweep,
    drive,
    how_to_go_on,
    observer_of,
    warn_of_left_out,
)
from lstm_sweep.models.errors import InputError, check_text, is_number, path_text, shown
from lstm_sweep.search.values.spec import OPTIONS, TOKEN, SweepSpec, ray_address

if TYPE_CHECKING:
    import pandas as pd

    from lstm_sweep.search.actions.remote import Actions
    from lstm_sweep.search.store.settings import Settings


#: a folder, an address such as `sqlite:////path/mlflow.db` or `http://host:5000`, or what the
#: command line takes in the working folder: `mlflow.yaml` and `MLFLOW_TRACKING_URI`
StoreLike = str | os.PathLike[str] | None


def settings_of(store: StoreLike) -> Settings:
    """Settings of the store that a caller names.

    In a folder, its `mlflow.yaml` is obeyed; without one, runs are in `mlflow.db` and their files
    in `mlartifacts` there. Relative paths start at the working folder.
    """
    from lstm_sweep.search.store import settings

    if store is None:
        return settings.load(Path.cwd())
    given = path_text("store", store)
    if "://" in given:
        return settings.load(Path.cwd(), given=given)
    try:
        folder = Path(given).expanduser().resolve()
        is_file = folder.is_file()
    except (OSError, RuntimeError, ValueError):
        is_file = True
    if not given or is_file:
        raise InputError(f"store is {shown(given)}: expected a folder or an address")
    if os.path.lexists(folder / settings.FILE):
        others = {"MLFLOW_TRACKING_URI", settings.NAMED}
        kept = {name: value for name, value in os.environ.items() if name not in others}
        return settings.load(folder, kept)
    return settings.load(folder, {}, given="sqlite:///mlflow.db")


#: values of a field of a config: one, a list of them, `"low..high"`, or a mapping with `low`,
#: `high`, `step` and `scale`
Values = int | float | str | Sequence[int | float | str] | Mapping[str, int | float | str]


class SweepFields(TypedDict, total=False):
    """What `launch` is given: the fields of a SWEEP.yaml, all of them optional."""

    data: PathLike
    task: str
    symbols: str
    session_by: str
    header: str
    templates: str
    template_settings: str
    vocabulary: int
    lower_case: bool
    label: str | int
    text: str | int
    group: str | int
    labels: str
    pretrained: str
    unlabelled: str
    split: Sequence[float]
    ends: bool | str
    template: PathLike
    learning_rate_field: str
    name: str
    space: PathLike | Mapping[str, Values]
    set: Mapping[str, Values]
    trials: int
    minutes: float
    workers: int
    per_gpu: int
    on: str
    algo: str
    ladder: bool
    halving: bool
    prior: bool
    early_stopping: int
    patience: int
    confirm_configs: int
    confirm_seeds: int
    max_failures: int
    seed: int
    size_rule: str
    size_low: float
    size_high: float
    targets: int | str
    targets_seed: int
    adjacent_targets: int | str
    rounds_per_epoch: int | str
    keep: int


SweepFields.__doc__ = "\n".join(
    [
        f"{SweepFields.__doc__}\n",
        "Fields:",
        *(f"    {name}: {one.described}" for name, one in OPTIONS.items()),
        "    set: values that take the place of those of the space, by field",
    ]
)


def launch(
    *,
    store: StoreLike = None,
    progress: bool | None = None,
    address: str | None = None,
    **fields: Unpack[SweepFields],
) -> Sweep:
    """Run a sweep to the end of its budget, and return it.

    The call blocks; its trials run in processes of their own. `on="inline"`, which is for a
    debugger, trains in this one: it sets the random seeds, and lets TensorFlow compute on the CPU,
    with one thread and deterministic operations. Ctrl-C (in a notebook: interrupt the kernel) ends
    the sweep in order, and `sweep(NAME).resume()` goes on with it; a note on the
    `KeyboardInterrupt` has the name.

    Args:
        store: where runs are kept: a folder, or an address such as `http://host:5000`; by default
            what the command line takes in the working folder
        progress: whether it is shown; by default in a notebook, as a table. Elsewhere `True` writes
            a line for each trial to standard error
        address: of the cluster of which this machine is a node, with `on="ray"`: `"auto"` or
            `"HEAD:6379"` (by default what the variable RAY_ADDRESS says)
        fields: what to search; see `SweepFields`
    """
    return _here(store)._run(fields, progress, address)


def sweep(name: str, *, store: StoreLike = None) -> Sweep:
    """The sweep of this name.

    Args:
        name: as `sweeps` lists it
        store: as for `launch`
    """
    return _here(store).sweep(name)


def sweeps(*, store: StoreLike = None) -> pd.DataFrame:
    """All sweeps, the newest first: a row for each, by its name.

    Columns: `run_id` of MLflow, `state`, `trials_done`, `best_val_loss` (nats) and `data`.

    Args:
        store: as for `launch`
    """
    return _here(store).sweeps()


def prune(
    *,
    older_than_days: float,
    keep_best: bool = False,
    dry_run: bool = False,
    store: StoreLike = None,
) -> pd.DataFrame:
    """Delete sweeps that ended long ago: a row for each, by its name.

    Columns: `runs` and `bytes` of files that were deleted, `kept`, versions of registered models
    that stay with the files of their model, and `keeps_best`.

    Args:
        older_than_days: days since the end of a sweep
        keep_best: keep the run of each sweep, its baselines and its best trial, with their files
        dry_run: only say what would be deleted
        store: as for `launch`
    """
    return _here(store).prune(older_than_days=older_than_days, keep_best=keep_best, dry_run=dry_run)


def _here(store: StoreLike) -> Service:
    """What runs sweeps in this process, with the methods of a service."""
    from lstm_sweep.search.actions.local import Local

    return Service(Local(settings_of(store)))


def spec_of(fields: Mapping[str, Any]) -> SweepSpec:
    from lstm_sweep.spaces.space import from_mapping

    given = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in fields.items()
        if value is not None and name != "set"
    }
    spec = SweepSpec.from_mapping(given, "launch")
    changes = fields.get("set")
    if not changes:
        return spec
    if origin := spec.space.stands_in:
        raise InputError(
            f"launch: set is given with a {origin}, expected none: what varies stands in the "
            f"{origin}"
        )
    made = from_mapping(changes, "launch: set")
    return dataclasses.replace(spec, space=spec.space.replace(**{n: made[n] for n in changes}))


def connect(url: str, *, token: str | None = None) -> Service:
    """A service, which runs sweeps that are launched with it, and shows those of its store.

    Nothing is asked of it before one of its methods is called.

    Args:
        url: its address, such as `http://host:8000`
        token: for a service that wants one; by default what the variable LSTM_SWEEP_TOKEN says
    """
    from lstm_sweep.search.actions.connection import Connection, check_address
    from lstm_sweep.search.actions.remote import Remote

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    given = os.environ.get(TOKEN, "") if token is None else token
    check_text("url", url)
    check_text("token", given)
    return Service(Remote(Connection(check_address(url, "url"), given, say=say)))


class Service:
    """Sweeps that a service runs, with the functions of this package for its store.

    Each may raise `StoreError` if the service does not answer for a while.
    """

    def __init__(self, actions: Actions) -> None:
        self._actions = actions

    def __repr__(self) -> str:
        return f"<Service {self._actions}>"

    def launch(self, *, progress: bool | None = None, **fields: Unpack[SweepFields]) -> Sweep:
        """Send a sweep with its data, wait for its end, and return it; as `lstm_sweep.launch`.

        Ctrl-C ends the waiting alone; `sweep(NAME).stop()` ends the sweep.
        """
        return self._run(fields, progress)

    def _run(self, fields: SweepFields, progress: bool | None, address: str | None = None) -> Sweep:
        spec = spec_of(fields)
        cluster, observer = ray_address(address, spec.on), observer_of(progress)
        result = drive(
            lambda interrupts: self._actions.launch(spec, observer, interrupts, cluster),
            advice=how_to_go_on,
        )
        return Sweep(result.sweep, self._actions)

    def sweep(self, name: str) -> Sweep:
        """The sweep of this name; as `lstm_sweep.sweep`."""
        found = Sweep(name, self._actions)
        found.status()
        return found

    def sweeps(self) -> pd.DataFrame:
        """All sweeps, the newest first; as `lstm_sweep.sweeps`."""
        listing = self._actions.sweeps()
        warn_of_left_out(listing.left_out)
        return _tables.frame(listing.to_list(), _tables.SWEEP, "sweep")

    def prune(
        self, *, older_than_days: float, keep_best: bool = False, dry_run: bool = False
    ) -> pd.DataFrame:
        """Delete sweeps of yours that ended long ago; as `lstm_sweep.prune`."""
        if not (is_number(older_than_days) and 0 <= older_than_days < math.inf):
            found = shown(older_than_days)
            raise InputError(f"prune: older_than_days is {found}: expected a number of days from 0")
        seconds = older_than_days * 24 * 3600
        listing = self._actions.prune(seconds, keep_best=keep_best, dry_run=dry_run)
        warn_of_left_out(listing.left_out)
        rows = [one.to_dict() for one in listing.sweeps]
        return _tables.frame(rows, _tables.PRUNED, "sweep")
