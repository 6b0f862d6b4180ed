"""What a sweep is to do once it is resumed: its spec, with what may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lstm_sweep.models.data.reader import BLOCK_BYTES
from lstm_sweep.models.data.source import file_groups, open_data
from lstm_sweep.models.errors import InputError, one_of, shown
from lstm_sweep.search.api.errors import DifferentSearchError
from lstm_sweep.search.api.references import store_of_sweep
from lstm_sweep.search.driver.tasks import task_kind_of_run
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.settings import Settings
from lstm_sweep.search.store.tags import Tag, Tags
from lstm_sweep.search.values.spec import CHANGEABLE, OPTIONS, SweepSpec
from lstm_sweep.spaces.by_corpus import ByCorpus

#: fields whose defaults leave the choice to the program; a value that is the default counts as not
#: given
LEFT_OPEN = ("ends", "targets", "targets_seed", "adjacent_targets", "rounds_per_epoch")


def resumed_spec(
    was: SweepSpec, name: str, changes: Mapping[str, Any], given: SweepSpec | None
) -> SweepSpec:
    """The spec of a sweep with what may change as it is wanted now.

    A `given` one may have its data or template elsewhere, if their content is the same. What may
    change is changed by `changes` alone.

    Raises:
        InputError: a field may not change.
        DifferentSearchError: `given` describes another search.
    """
    for field in changes:
        if field not in CHANGEABLE:
            raise InputError(f"{shown(field)} may not change: {one_of(field, CHANGEABLE)}")
    if given is None:
        return dataclasses.replace(was, **changes)
    given = _where_it_was(was, given)
    open_fields = [name for name in LEFT_OPEN if getattr(given, name) == OPTIONS[name].default]
    kept = [*CHANGEABLE, *open_fields]
    given = dataclasses.replace(given, **{field: getattr(was, field) for field in kept})
    open_ones = {n: d for n, d in given.space.items() if isinstance(d, ByCorpus)}
    if taken := {n: was.space[n] for n, d in open_ones.items() if d.may_be(was.space.get(n))}:
        given = dataclasses.replace(given, space=given.space.replace(**taken))
    if differences := was.differences(given):
        raise DifferentSearchError(
            f"the spec is not what sweep '{name}' began with: {'; '.join(differences)}; expected "
            f"the same search, or launch a new one"
        )
    return dataclasses.replace(given, **changes, name=was.name)


def named_changes(fields: Mapping[str, Any], spec: SweepSpec) -> dict[str, Any]:
    """What a file or a request with these fields, which make `spec`, changes by naming it."""
    return {field: getattr(spec, field) for field in CHANGEABLE if field in fields}


def _where_it_was(was: SweepSpec, given: SweepSpec) -> SweepSpec:
    """A spec with the path of the data or template that `was` has, if their content is the same."""
    if was.template and given.template:
        is_same = was.template.digest == given.template.digest
        return dataclasses.replace(given, template=was.template) if is_same else given
    if was.template or given.template or not _same_files(was.data, given.data):
        return given
    return dataclasses.replace(given, data=was.data)


def _same_files(one: str, other: str) -> bool:
    """Whether two paths are files or folders with the same content."""
    if one == other or not (Path(one).is_absolute() and Path(other).is_absolute()):
        return one == other
    try:
        found = [
            {file.relative_to(path): file for files in file_groups(path).values() for file in files}
            for path in (Path(one), Path(other))
        ]
        return found[0].keys() == found[1].keys() and all(
            _same_content(file, found[1][name]) for name, file in found[0].items()
        )
    except (InputError, OSError):  # they are not there any more
        return False


def _same_content(one: Path, other: Path) -> bool:
    """Whether two files of data hold the same bytes."""
    with open_data(one) as first, open_data(other) as second:
        while block := first.read(BLOCK_BYTES):
            if second.read(BLOCK_BYTES) != block:
                return False
        return not second.read(1)


def changes_of(
    name: str,
    changes: Mapping[str, Any],
    *,
    settings: Settings,
    spec: SweepSpec | None = None,
    template: str | None = None,
) -> dict[str, Any]:
    """The changes of a sweep that is to be queued again, once they are checked.

    A `spec` is compared with what the sweep began with, as by `lifecycle.resume`. The path of a
    `template` is remembered.

    Raises:
        InputError: there is no such sweep, the changes are none, or it has another template.
        DifferentSearchError: `spec` describes another search.
    """
    store = store_of_sweep(name, settings)
    run = reader.existing_sweep(store, name)
    tags = Tags(run)
    was = task_kind_of_run(tags).read_spec(run, tags, template)
    resumed_spec(was, name, changes, spec)
    return dict(changes)


def waiting_changes(tags: Tags) -> dict[str, Any]:
    """What was changed in a sweep that waits in a queue, and its driver is to begin with.

    Raises:
        BadRunError: the tag holds something else.
    """
    return dict(tags.json(Tag.CHANGES, dict)) if tags.get(Tag.CHANGES) else {}
