"""What others write to a store, a real one: it stops no sweep of anybody else, and drives none."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lstm_sweep.models.data.source import open_only_below
from lstm_sweep.models.errors import InputError
from lstm_sweep.search.service import jobs, queue
from lstm_sweep.search.service.jobs import KEY
from lstm_sweep.search.service.service import Service
from lstm_sweep.search.service.supervisor import MOST_DEATHS
from lstm_sweep.search.store import reader
from lstm_sweep.search.store.journal import spec_tags
from lstm_sweep.search.store.tags import Signer, Tag
from lstm_sweep.search.store.tracking import Store
from lstm_sweep.search.values.spec import digest_of
from tests.contract.test_sweep_queue import folder, service, spec_of, store

__all__ = ["folder", "service", "store"]  # fixtures

#: what is no text of ours, no number, and no value of a spec as JSON can say it
TEXTS = (
    "", "abc", "-1", "1.5", "nan", "inf", "1e400", "9" * 5000, "null", "[]", "{}", "true",
    "[" * 900 + "]" * 900, '{"a": NaN}', '{"trials": 1e999}', "é\ud800",
)  # fmt: skip
NUMBERS = (math.nan, math.inf, -1.0, 0.5, 1e308)
VALUES: tuple[Any, ...] = (None, "abc", [1], {}, True, -1, 0, 1.5, math.nan, math.inf, 10**400)


@pytest.fixture
def runs(store: Store, data: Path) -> tuple[Any, Any]:
    """The runs of two sweeps that are queued."""
    for name in "ab":
        queue.submit(store, spec_of(data, name), owner="ann")
    return reader.existing_sweep(store, "a"), reader.existing_sweep(store, "b")


def changed(run: Any) -> Iterator[Any]:
    """A run with one odd value, for each of its tags, params, metrics and fields of its spec."""
    wanted = {Tag.CHANGES, Tag.LEASE, Tag.EXPECTED_SECONDS, Tag.SECONDS, Tag.STARTED}
    for name in {*run.data.tags, *wanted}:
        for text in TEXTS:
            (other := copy.deepcopy(run)).data.tags[name] = text
            yield other
    for name in ("trials_done", "best_val_loss"):
        for number in NUMBERS:
            (other := copy.deepcopy(run)).data.metrics[name] = number
            yield other
    written = reader.written_spec(run)
    for field in written:
        for value in VALUES:
            given = written | {field: value}
            (other := copy.deepcopy(run)).data.tags[f"{Tag.SPEC}0"] = json.dumps(given)
            other.data.tags[Tag.SPEC_DIGEST] = digest_of(given)
            yield other
    for holder in ({"pid": -1}, {"pid": 10**30}, {"beat": "x"}, {"seconds": math.nan}):
        lease = {"host": "h", "machine": "m", "pid": 1, "born": 1, "token": "t"} | holder
        (other := copy.deepcopy(run)).data.tags[Tag.LEASE] = json.dumps(lease)
        yield other


def test_one_run_that_cannot_be_read_stops_no_other(runs: tuple[Any, Any]) -> None:
    good, victim = runs
    count = 0
    for count, bad in enumerate(changed(victim), 1):  # noqa: B007
        found = {one.run_id: one for one in queue.read([bad, good])}
        assert good.info.run_id in found, bad.data
        if other := found.get(bad.info.run_id):
            assert datetime.fromtimestamp(other.submitted, UTC)
            assert other.trials_left >= 1
            assert other.workers is None or other.workers >= 1
    assert count > 500


def test_a_run_that_is_left_out_is_named_once_in_the_log(
    runs: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = runs
    bad.data.tags[Tag.SUBMITTED] = "soon"
    for _ in range(3):
        assert [one.name for one in queue.read([bad, good])] == ["a"]
    said = [one.getMessage() for one in caplog.records if bad.info.run_id in one.getMessage()]
    assert len(said) == 1
    assert "is left out of the queue: " in said[0]
    assert "'soon': expected a number of seconds" in said[0]


def is_driven(service: Service, store: Store, name: str) -> bool:
    """Whether a service drives a sweep once it has looked, and has it in its queue."""
    run_id = reader.existing_sweep(store, name).info.run_id
    service._look()
    service._look()
    driven = service._supervisor.pid(run_id) is not None
    assert driven == (name in [one.sweep for one in service.queue()])
    return driven


def test_a_run_that_somebody_has_written_to_the_store_is_shown_and_never_driven(
    service: Service, store: Store, data: Path
) -> None:
    queue.submit(store, spec_of(data, "s"), owner="admin", priority=100)
    assert not is_driven(service, store, "s")
    report = service.status("s")
    assert (report.state, report.why) == ("queued", queue.NOT_SIGNED)
    assert [row.sweep for row in service.sweeps()] == ["s"]
    assert service.owner("s") is None
    with pytest.raises(InputError, match="is not queued"):
        service.prioritise("s", 1)


def other_spec(store: Store, run: Any, data: Path) -> dict[str, str]:
    return spec_tags(spec_of(data.with_name("secret.txt"), "s"), "s")


def a_copy(store: Store, run: Any, data: Path) -> dict[str, str]:
    """Another run with all tags of the first, which is withdrawn."""
    store.reopen(store.create_run("s", run.data.tags), "SCHEDULED")
    return {Tag.ROLE: "withdrawn"}


CHANGED: list[Callable[[Store, Any, Path], dict[str, str]] | dict[str, str]] = [
    other_spec, a_copy, {Tag.PRIORITY: "100"}, {Tag.OWNER: "bob"}, {Tag.SUBMITTED: "1.0"},
    {Tag.CHANGES: '{"on": "ray"}'}, {Tag.NAME: "t"}, {Tag.SPEC_SIGNATURE: "0" * 64},
    {Tag.QUEUE_SIGNATURE: "\u00e9"},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGED)
def test_what_somebody_has_changed_is_not_driven_until_it_is_queued_again(
    service: Service, store: Store, data: Path, tmp_path: Path,
    change: Callable[[Store, Any, Path], dict[str, str]] | dict[str, str],
) -> None:  # fmt: skip
    data.with_name("secret.txt").write_bytes(data.read_bytes())
    name = service.submit(spec_of(data, "s"), owner="ann", priority=3)
    run = reader.existing_sweep(store, name)
    service._supervisor.end([run.info.run_id])
    new = change(store, run, data) if callable(change) else change
    store.log(run.info.run_id, tags=new)
    name = new.get(Tag.NAME, name)
    assert not is_driven(service, store, name)
    run_id = reader.existing_sweep(store, name).info.run_id
    shutil.copy2(service.settings.state / KEY, tmp_path / KEY)
    (tmp_path / "lock").touch()
    assert jobs.main(run_id, tmp_path / "lock") == jobs.DONE
    assert reader.existing_sweep(store, name).info.status == "SCHEDULED"
    service.resume(name, owner="carl")
    assert is_driven(service, store, name)
    assert (service.owner(name), service.queue()[0].priority) == ("carl", 0)


def test_what_the_service_changes_itself_stays_signed(
    service: Service, store: Store, data: Path
) -> None:
    service.submit(spec_of(data, "s"), owner="ann")
    assert service.prioritise("s", 7).priority == 7
    assert is_driven(service, store, "s")
    service.pause("s")
    assert not is_driven(service, store, "s")
    service.resume("s", {"trials": 5}, owner="bob")
    assert is_driven(service, store, "s")
    [one] = service.queue()
    assert (one.owner, one.priority) == ("ann", 7)


@pytest.mark.parametrize(
    ("odd", "state"), [({Tag.SLOTS: "x"}, "failed"), ({f"{Tag.SPEC}0": "no spec"}, "queued")]
)
def test_a_sweep_whose_driver_dies_again_and_again_leaves_the_queue_whatever_it_holds(
    service: Service, store: Store, data: Path, odd: dict[str, str], state: str
) -> None:
    service.submit(spec_of(data, "s"), owner="ann")
    assert is_driven(service, store, "s")
    [one] = queue.read(queue.queued_runs(service._store))
    store.log(one.run_id, tags=odd)
    for _ in range(MOST_DEATHS):
        service._supervisor._note_end(one)
    tags = store.tags(one.run_id)
    assert (tags[Tag.QUEUED], tags[Tag.STATE]) == (queue.LEFT, state)


def test_a_user_prunes_what_this_user_has_submitted_by_signature(
    service: Service, store: Store, data: Path
) -> None:
    for name, owner in (("a", "ann"), ("b", "bob")):
        service.submit(spec_of(data, name), owner=owner)
        service.stop(name)

    def prune(owner: str | None, *, dry_run: bool = False) -> list[str]:
        found = service.prune(older_than_s=0, keep_best=False, dry_run=dry_run, owner=owner)
        return [one.sweep for one in found.sweeps]

    store.log(reader.existing_sweep(store, "b").info.run_id, tags={Tag.OWNER: "ann"})
    assert prune(None, dry_run=True) == ["a", "b"]
    assert prune("ann") == ["a"]
    assert [row.sweep for row in service.sweeps()] == ["b"]
    assert prune(None) == ["b"]


def test_a_sweep_that_was_launched_elsewhere_is_queued_if_its_data_may_be_read(
    service: Service, store: Store, data: Path
) -> None:
    queue.submit(store, spec_of(data, "s"), owner="ann")
    open_only_below([data.parent / "elsewhere"])
    with pytest.raises(InputError, match="leads out of the folders"):
        service.resume("s", owner="bob")
    assert not is_driven(service, store, "s")
    open_only_below([data.parent])
    service.resume("s", owner="bob")
    assert is_driven(service, store, "s")


def test_a_submission_that_was_cut_off_before_it_was_signed_is_made_anew(
    service: Service, store: Store, data: Path
) -> None:
    _, half = queue.submit(store, spec_of(data, "s"), owner="ann", client_token="t")
    assert service.submit(spec_of(data, "s"), owner="ann", client_token="t") == "s"
    run = reader.existing_sweep(store, "s")
    assert run.info.run_id != half
    assert is_driven(service, store, "s")


def test_a_key_is_made_once_and_for_one_user_alone(tmp_path: Path) -> None:
    first = Signer(tmp_path / KEY)
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600
    tags = {Tag.NAME: "s", Tag.OWNER: "ann"}
    assert Signer(tmp_path / KEY).of_place("r", tags) == first.of_place("r", tags)
    (tmp_path / KEY).chmod(0o644)
    with pytest.raises(InputError, match="only you may read"):
        Signer(tmp_path / KEY)
    (tmp_path / KEY).unlink()
    assert Signer(tmp_path / KEY).of_place("r", tags) != first.of_place("r", tags)
