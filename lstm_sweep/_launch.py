"""Launches a sweep, finds one by its name, and lists all."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from lstm_sweep._drive import drive
from lstm_sweep._progress import observer_of
from lstm_sweep._store import StoreLike, settings_of
from lstm_sweep._sweep import Sweep, how_to_go_on, warn_of_left_out
from lstm_sweep.models.errors import InputError, one_of, shown
from lstm_sweep.search.values.spec import OPTIONS, SweepSpec

if TYPE_CHECKING:
    import pandas as pd

    from lstm_sweep.search.actions.remote import Actions

#: a file or folder
PathLike = str | os.PathLike[str]
#: values of a field of a config: one, a list of them, `"low..high"`, or a mapping with `low`,
#: `high`, `step` and `scale`
Values = int | float | str | Sequence[int | float | str] | Mapping[str, int | float | str]


class SweepFields(TypedDict, total=False):
    """What `launch` is given: the fields of a SWEEP.yaml, all of them optional."""

    data: PathLike
    symbols: str
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

    Raises:
        InputError: a field is unknown or has a value that cannot be, or data or store cannot be
            used; the message says what was expected
        StoreError: the store has failed while the sweep ran
    """
    from lstm_sweep.search.actions.local import Local

    return launch_by(Local(settings_of(store)), fields, progress, address)


def launch_by(
    actions: Actions, fields: SweepFields, progress: bool | None, address: str | None = None
) -> Sweep:
    """Run a sweep here, or by a service; see `launch`."""
    from lstm_sweep.search.values.engine_names import ray_address

    spec = spec_of(fields)
    cluster, observer = ray_address(address, spec.on), observer_of(progress)
    result = drive(
        lambda interrupts: actions.launch(spec, observer, interrupts, cluster), advice=how_to_go_on
    )
    return Sweep(result.sweep, actions)


def sweep(name: str, *, store: StoreLike = None) -> Sweep:
    """The sweep of this name.

    Args:
        name: as `sweeps` lists it
        store: as for `launch`

    Raises:
        InputError: there is none, or the store does not answer
        StoreError: the store fails once it has answered
    """
    from lstm_sweep.search.actions.local import Local

    found = Sweep(name, Local(settings_of(store)))
    found.status()
    return found


def sweeps(*, store: StoreLike = None) -> pd.DataFrame:
    """All sweeps, oldest first: a row for each, by its name.

    Columns: `run_id` of MLflow, `state`, `trials_done`, `best_val_loss` (nats) and `data`.

    Args:
        store: as for `launch`

    Raises:
        InputError: the store does not answer
        StoreError: the store fails once it has answered
    """
    from lstm_sweep.search.actions.local import Local

    return sweeps_of(Local(settings_of(store)))


def sweeps_of(actions: Actions) -> pd.DataFrame:
    """All sweeps of a store; see `sweeps`."""
    from lstm_sweep import _tables

    listing = actions.sweeps()
    warn_of_left_out(listing.left_out)
    return _tables.sweeps(listing.to_list())


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

    Raises:
        InputError: a value cannot be, or the store does not answer
        StoreError: the store fails once it has answered
    """
    from lstm_sweep.search.actions.local import Local

    return prune_by(
        Local(settings_of(store)), older_than_days, keep_best=keep_best, dry_run=dry_run
    )


def prune_by(
    actions: Actions, older_than_days: float, *, keep_best: bool, dry_run: bool
) -> pd.DataFrame:
    """Delete sweeps of a store; see `prune`."""
    from lstm_sweep import _tables

    if isinstance(older_than_days, bool) or not isinstance(older_than_days, int | float):
        found = shown(older_than_days)
        raise InputError(f"prune: older_than_days is {found}: expected a number of days")
    listing = actions.prune(older_than_days * 24 * 3600, keep_best=keep_best, dry_run=dry_run)
    warn_of_left_out(listing.left_out)
    return _tables.pruned([one.to_dict() for one in listing.sweeps])


def spec_of(fields: Mapping[str, Any]) -> SweepSpec:
    """The spec that the arguments of `launch` describe.

    Raises:
        InputError: a name is unknown, or a value cannot be.
    """
    known = list(SweepFields.__annotations__)
    for name in fields:
        if name not in known:
            raise InputError(f"launch: {shown(name)} is no field: {one_of(name, known)}")
    given = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in fields.items()
        if value is not None and name != "set"
    }
    spec = SweepSpec.from_mapping(given, "launch")
    changes = fields.get("set") or {}
    return _with_values(spec, changes) if changes else spec


def _with_values(spec: SweepSpec, changes: object) -> SweepSpec:
    """A spec with other values in its space."""
    from lstm_sweep.models.config import check_field
    from lstm_sweep.spaces.field_values import parse

    if not isinstance(changes, Mapping):
        raise InputError(f"launch: set is {shown(changes)}: expected a mapping of fields to values")
    if origin := spec.space.stands_in:
        raise InputError(
            f"launch: set is given with a {origin}, expected none: what varies stands in the "
            f"{origin}"
        )
    dimensions = {}
    for name, values in changes.items():
        try:
            check_field(name)
        except InputError as error:
            raise InputError(f"launch: set: {error}") from None
        dimensions[name] = parse(name, values, "launch: set")
    return dataclasses.replace(spec, space=spec.space.replace(**dimensions))
