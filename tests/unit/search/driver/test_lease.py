from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lstm_sweep.models.errors import InputError
from lstm_sweep.search.driver import lease
from lstm_sweep.search.driver.lease import (
    OWNS_NAME,
    Holder,
    Lease,
    find_driver,
    holder,
    reserve_name,
)
from lstm_sweep.search.process.scoped import start_ticks
from lstm_sweep.search.store.tags import Tag


class Died(BaseException):
    """A driver that is gone in the middle of what it does."""


class Runs:
    """A store of runs in memory: what it is asked is done at once and as a whole."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def create(self, run_id: str, start_time: int) -> None:
        info = SimpleNamespace(run_id=run_id, start_time=start_time, status="RUNNING")
        data = SimpleNamespace(params={})
        self.kept[run_id] = SimpleNamespace(info=info, data=data, role="sweep")

    def runs(self, tags: dict[str, str]) -> list[Any]:
        return [run for run in self.kept.values() if run.role == tags["sweep.role"]]

    def log(self, run_id: str, *, tags: dict[str, str]) -> None:
        self.kept[run_id].role = tags["sweep.role"]

    def log_once(self, run_id: str, key: str, value: str) -> bool:
        return bool(self.kept[run_id].data.params.setdefault(key, value) == value)


class Waits(BaseException):
    """It is not the turn of a driver."""


class Turn:
    """The store as one driver sees it: as it has answered before, and then one request more."""

    def __init__(self, store: Runs, log: list[Any], dies_at: int) -> None:
        self._store, self._log, self._dies_at = store, log, dies_at
        self._known, self._at = len(log), 0

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            self._at += 1
            if self._at == self._dies_at:
                raise Died
            if self._at > self._known + 1:
                raise Waits
            if self._at > self._known:
                self._log.append(deepcopy(getattr(self._store, name)(*args, **kwargs)))
            return self._log[self._at - 1]

        return ask


class World:
    """Drivers `a` and `b`, whose starts were noted before their runs were asked for."""

    def __init__(self, starts: tuple[int, int], dies_at: int = 0) -> None:
        self.starts, self.dies_at = starts, dies_at
        self.store = Runs()
        self.logs: list[list[Any]] = [[], []]
        #: who has come to an end, and whether the name is its own
        self.owns: dict[int, bool | None] = {}

    def step(self, number: int) -> None:
        """Let a driver make one request; `a` may die before it."""
        turn: Any = Turn(self.store, self.logs[number], 0 if number else self.dies_at)
        with contextlib.suppress(Waits):
            try:
                turn.create("ab"[number], self.starts[number])
                self.owns[number] = reserve_name(turn, "s", "ab"[number])
            except Died:
                self.owns[number] = None

    def ends(self) -> Iterator[World]:
        """What comes of all orders of their requests."""
        waiting = {0, 1} - set(self.owns)
        if not waiting:
            yield self
        for number in waiting:
            following = deepcopy(self)
            following.step(number)
            yield from following.ends()


@pytest.mark.parametrize("dies_at", range(6))
@pytest.mark.parametrize("starts", [(10, 11), (11, 10), (10, 10)])
def test_one_of_two_owns_the_name_in_every_order_whatever_their_clocks_say_and_if_one_dies(
    starts: tuple[int, int], dies_at: int
) -> None:
    played = 0
    for world in World(starts, dies_at).ends():
        played += 1
        kept = world.store.kept
        roles = {name: run.role for name, run in kept.items()}
        owns = {name: run.data.params.get(OWNS_NAME) == "yes" for name, run in kept.items()}
        assert sum(owns.values()) <= 1 and "sweep" in roles.values()
        assert "a" in kept or world.owns[1]
        if not dies_at:  # the other is no sweep any more
            assert sorted(map(bool, world.owns.values())) == [False, True]
            assert {name: role == "sweep" for name, role in roles.items()} == owns
            assert [owns["a"], owns["b"]] == [world.owns[0], world.owns[1]]
    assert played > 20 or dies_at


class Tags:
    """A store of one run that has tags only."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def tags(self, run_id: str) -> dict[str, str]:
        return dict(self.kept)

    def log(self, run_id: str, *, tags: dict[str, str]) -> None:
        self.kept |= tags


@pytest.fixture
def store() -> Any:
    return Tags()


def elsewhere(**changes: Any) -> str:
    mine = Lease(Tags(), "r").mine  # type: ignore[arg-type]
    return json.dumps(vars(replace(mine, host="another", machine="m", token="other", **changes)))


@pytest.mark.parametrize(
    "other, who", [(elsewhere(), r"process \d+ on another"), ("", "another process")]
)
def test_of_two_that_take_it_at_once_one_is_refused(other: str, who: str) -> None:
    class Late(Tags):
        def log(self, run_id: str, *, tags: dict[str, str]) -> None:
            super().log(run_id, tags=tags)
            self.kept[Tag.LEASE] = other

    with pytest.raises(InputError, match=f"^{who} is driving this sweep too"):
        Lease(Late(), "r").take()  # type: ignore[arg-type]


def here(pid: int, born: int) -> str:
    return json.dumps(vars(replace(Lease(Tags(), "r").mine, pid=pid, born=born)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "then", "drives", "waited"),
    [
        (here(os.getpid(), start_ticks(os.getpid())), None, True, 0),  # though it may be busy
        (here(os.getpid(), 1), None, False, 0),  # another process has its number now
        (elsewhere(beat=3), elsewhere(beat=4), True, 1),
        (elsewhere(beat=3), "", False, 1),
        (elsewhere(beat=3), None, False, lease.STALE_S),  # whatever its clock says
    ],
)
def test_a_sweep_is_driven_by_a_process_that_lives_or_renews_its_lease_while_one_watches(
    store: Any, first: str, then: str | None, drives: bool, waited: float
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        store.kept[Tag.LEASE] = first if then is None else then

    store.kept[Tag.LEASE] = first
    found = find_driver(store, "r", sleep=sleep)
    assert found == (holder({Tag.LEASE: then or first}) if drives else None)
    assert sum(slept) == waited


def test_stop_waits_until_the_driver_has_left(store: Any) -> None:
    store.kept[Tag.LEASE] = elsewhere(beat=3)
    steps = iter([elsewhere(beat=4), ""])

    def sleep(seconds: float) -> None:
        assert store.kept[Tag.STOP] == "yes"
        store.kept[Tag.LEASE] = next(steps)

    assert lease.stop(store, "r", sleep) is True


@pytest.mark.parametrize("left", ["", elsewhere(beat=3)])
def test_stop_says_when_nobody_is_there(store: Any, left: str) -> None:
    store.kept[Tag.LEASE] = left
    assert lease.stop(store, "r", lambda seconds: None) is False


def test_a_lease_is_renewed_while_a_sweep_is_read_if_that_is_due(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Lease(store, "r", 7.0)
    mine.take()
    for beat_s, expected in ((60.0, 0), (-1.0, 1)):
        monkeypatch.setattr(lease, "BEAT_S", beat_s)
        mine.keep()
        found = holder(store.kept)
        assert found and (found.beat, found.seconds) == (expected, 7.0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 3}', "null"])
def test_a_lease_that_cannot_be_read_is_nobodys(text: str) -> None:
    assert holder({Tag.LEASE: text}) is None


@pytest.mark.parametrize("seconds", ["NaN", "-1", "1e300", "1e999", "true", "9" * 400, '"1"'])
def test_neither_is_one_whose_seconds_cannot_be_counted_with(seconds: str) -> None:
    text = json.dumps(vars(Holder("h", "m", 1, 2, "t"))).replace(" 0.0", f" {seconds}")
    assert holder({Tag.LEASE: text.replace(seconds, "4.5")}) is not None
    assert holder({Tag.LEASE: text}) is None
